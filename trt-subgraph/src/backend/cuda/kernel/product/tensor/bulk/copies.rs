//! The copies that a kernel begins, one thread for all.

use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::render::indent;
use super::factors::Factors;
use super::{Bulk, parts};

/// Code that begins the copies of step `s` into stage `at`: this block's part of the rows, for all blocks that share them, and of the columns.
pub struct Copies {
    /// What they need of a tile.
    pub per_tile: String,
    pub left: String,
    pub right: String,
}

impl Copies {
    pub fn of(f: &Factors, bulk: Bulk) -> Copies {
        let ([rows, columns], [along, across], stage) = (bulk.tile, bulk.cluster, bulk.stage());
        let [per_left, per_right] = [rows / across, columns / along];
        let every: usize = (0..across).map(|j| 1 << (along * j)).sum();
        let shared = |blocks: String, alone: bool| if alone { "0".to_string() } else { blocks };
        let left_to = shared(format!("{every}u << rank_m"), across == 1);
        let right_to = shared(format!("{}u << rank_n * {along}", (1 << along) - 1), along == 1);
        let to_left = format!("pool + at * {stage} + rank_n * {}", per_left * ROW);
        let to_right = format!("pool + at * {stage} + {} + rank_m * {}", bulk.columns_at(), per_right * ROW);
        let all_taps = f.taps[0] * f.taps[1];
        let (k, tap) = match bulk.area {
            None => (format!("s % {} * {}", f.steps, ROW / 2), format!("s / {}", f.steps)),
            Some(_) => (format!("s / {all_taps} * {}", ROW / 2), format!("s % {all_taps}")),
        };
        let (first_row, first_column) =
            (format!("m0 + rank_n * {per_left}"), format!("n0 + rank_m * {per_right}"));
        if bulk.in_parts {
            let boxes = format!(
                "begin_box({to_left}, x, &full[at], {left_to}, {k}, {first_row});
begin_box({to_left} + {}, x, &full[at], {left_to}, {k} + {}, {first_row});
",
                rows * ROW,
                ROW / 4,
            );
            let of_part = format!("{to_right} + part * {}", columns * ROW);
            return Copies {
                per_tile: String::new(),
                left: boxes,
                right: format!(
                    "for (int part = 0; part < {}; ++part) begin_box({of_part}, w, &full[at], {right_to}, {k}, {first_column}, part);\n",
                    parts::PARTS
                ),
            };
        }
        let Some(w) = &f.windows else {
            return Copies {
                per_tile: String::new(),
                left: format!("begin_box({to_left}, x, &full[at], {left_to}, {k}, {first_row});\n"),
                right: format!("begin_box({to_right}, w, &full[at], {right_to}, {k}, {first_column});\n"),
            };
        };
        let right = format!("begin_box({to_right}, w, &full[at], {right_to}, {k}, {tap}, {first_column});\n");
        if bulk.area.is_some() {
            return Copies { per_tile: String::new(), left: String::new(), right };
        }
        let ([high, wide], taps) = (w.places, f.taps[1]);
        Copies {
            per_tile: format!(
                "const int place = {first_row}, image = place / {}, row = place / {wide} % {high} * {} - {}, column = place % {wide} * {} - {};\n",
                high * wide,
                w.stride[0],
                w.before[0],
                w.stride[1],
                w.before[1],
            ),
            left: format!(
                "const int tap = {tap};
begin_windows({to_left}, x, &full[at], {left_to}, {k}, column, row, image, tap % {taps} * {}, tap / {taps} * {});
",
                w.dilation[1], w.dilation[0],
            ),
            right,
        }
    }

    /// Code that begins the copies of weights of the first steps, which are there before the kernels ahead are done.
    pub fn ahead_of_all(&self, bulk: Bulk, steps: usize, where_it_is: &str, ty: &str) -> String {
        format!(
            "if (names) {{
    const {ty} tile = BLOCK;
{}    for (int at = 0; at < {steps} && first + at < last; ++at) {{
        const int s = first + at;
        expect_bytes(&full[at], {});
{}    }}
}}
",
            indent(where_it_is),
            bulk.stage(),
            indent(&indent(&self.right)),
        )
    }
}
