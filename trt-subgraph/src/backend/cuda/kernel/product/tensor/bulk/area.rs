//! Areas of images: what the windows of a tile see of 64 channels comes once, and all taps read their rows from there, each as far behind
//! the first tap's as it is from that.
//!
//! Eight rows of a product are places beside each other, and groups of eight lie in even steps. Either a tile is eight places wide, and a
//! step leads to the next line of the area. Or a tile has whole lines of an image, with the area's border behind them, so that rows follow
//! the places of the area one by one; those of the border are not stored. The zeros ahead of a line serve the line before it too.

use super::super::super::super::super::assemble::Assembler;
use super::super::super::super::super::boxes::ROW;
use super::Bulk;
use crate::network::{Layer, LayerKind};

/// How a convolution's places are cut into tiles, and what the windows of one see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// Images, lines and places of a line of a tile; those of the border count.
    pub places: [usize; 3],
    /// Of all results.
    all: [usize; 3],
    /// Tiles along each.
    tiles: [usize; 3],
    /// Lines and places of the area in each image.
    size: [usize; 2],
    /// Zeros ahead of the image.
    before: [usize; 2],
    /// Zeros that the last line needs behind the area.
    behind: usize,
    /// Taps along each axis, and places from one to the next.
    taps: [usize; 2],
    dilation: [usize; 2],
    /// Areas in shared memory.
    pub buffers: usize,
}

impl Area {
    /// Every way to cut a convolution into tiles of so many rows.
    pub fn all(a: &Assembler, layer: &Layer, rows: usize) -> Vec<Area> {
        let LayerKind::Convolution(c) = &layer.kind else { return vec![] };
        let y = &a.network.ty(layer.outputs[0]).shape;
        let (w, x) = (&a.network.ty(layer.inputs[1]).shape, &a.network.ty(layer.inputs[0]).shape);
        let several = w[2..].iter().product::<usize>() > 1;
        if c.stride != [1, 1] || c.groups != 1 || c.transposed || !several {
            return vec![];
        }
        let two = |v: &[usize]| -> [usize; 2] { [v[0], v[1]] };
        let (taps, dilation, all) = (two(&w[2..]), two(&c.dilation), [y[0], y[2], y[3]]);
        let reach = [0, 1].map(|i| (taps[i] - 1) * dilation[i]);
        let of = |places: [usize; 3], line: usize| Area {
            places,
            all,
            tiles: [0, 1, 2].map(|i| all[i].div_ceil(places[i])),
            size: [places[1] + reach[0], line],
            before: [c.padding[0].0, c.padding[1].0],
            behind: 0,
            taps,
            dilation,
            buffers: if w[1] > ROW / 2 { 2 } else { 1 },
        };
        let mut found = Vec::new();
        let high = (rows / 8).min(all[1].next_multiple_of(8));
        if (rows / 8).is_multiple_of(high) {
            found.push(of([rows / 8 / high, high, 8], 8 + reach[1]));
        }
        // A line and the zeros behind it, which are those ahead of the next one as well.
        let line = (x[3] + c.padding[1].0.max(c.padding[1].1)).max(all[2]);
        if line <= rows {
            let high = all[1].div_ceil(all[1].div_ceil(rows / line));
            let behind = (x[3] + c.padding[1].0 + c.padding[1].1).saturating_sub(line);
            found.push(Area { behind, ..of([1, high, line], line) });
        }
        // Bulk copies bring no larger ones; tiles that are mostly empty are none to try.
        let most = 8 * all.iter().product::<usize>().max(rows);
        found.retain(|area| {
            let told = area.size.iter().chain(&area.places).all(|n| *n <= 256);
            told && area.tiles() * rows <= most.min(1 << 30)
        });
        found
    }

    /// With room for the next tile's, where teams take turns.
    pub fn of_teams(self, teams: usize) -> Area {
        Area { buffers: self.buffers.max(teams), ..self }
    }

    /// Is a tile of whole lines?
    pub fn lines(&self) -> bool {
        self.places[2] == self.size[1]
    }

    /// Rows of the product that have a place in the area.
    pub fn rows(&self) -> usize {
        self.places.iter().product()
    }

    pub fn tiles(&self) -> usize {
        self.tiles.iter().product()
    }

    fn taps(&self) -> usize {
        self.taps[0] * self.taps[1]
    }

    /// Bytes that come.
    pub fn comes(&self) -> usize {
        self.places[0] * self.size[0] * self.size[1] * ROW
    }

    /// Bytes that come for each tap, about.
    pub fn comes_at_a_tap(&self) -> usize {
        self.comes() / self.taps()
    }

    /// Bytes of shared memory for one area of a tile of so many rows: products reach beyond what comes.
    pub fn bytes(&self, rows: usize) -> usize {
        let farthest = self.start(rows / 64 - 1) + 7 * self.step() + 8 + self.moved(self.taps() - 1);
        (farthest * ROW).max(self.comes() + self.behind * ROW).next_multiple_of(1024)
    }

    /// Places from a group of eight rows to the next.
    pub fn step(&self) -> usize {
        if self.lines() { 8 } else { self.size[1] }
    }

    /// Where the rows of the 64 of this number start.
    fn start(&self, number: usize) -> usize {
        if self.lines() {
            return number * 64;
        }
        let line = number * 8;
        (line / self.places[1] * self.size[0] + line % self.places[1]) * self.size[1]
    }

    /// How far behind the first tap's places a tap's are.
    fn moved(&self, tap: usize) -> usize {
        tap / self.taps[1] * self.dilation[0] * self.size[1] + tap % self.taps[1] * self.dilation[1]
    }

    /// Elements of a matrix of results along each axis where its rows are places, lines and images: of all, of a tile, and of the eight
    /// lines of eight places that 64 rows are.
    pub fn results(&self) -> [[usize; 3]; 3] {
        let axes = |[images, lines, places]: [usize; 3]| [places, lines, images];
        [axes(self.all), axes(self.places), [8, 8, 1]]
    }

    /// Code for the places, lines and images that the 64 rows of a warpgroup's part `i` begin at.
    pub fn corner_of_part(&self) -> String {
        let high = self.places[1];
        format!("place0, line0 + (wm / 64 + i) * 8 % {high}, image0 + (wm / 64 + i) * 8 / {high}")
    }

    /// The image seen as one box of channels, places, lines and images.
    pub fn extents(&self) -> Vec<u32> {
        [ROW / 2, self.size[1], self.size[0], self.places[0]].map(|n| n as u32).to_vec()
    }

    /// Code that says where a tile is that starts at row `m0` of all tiles' rows.
    pub fn corner(&self, rows: usize) -> String {
        let ([images, high, wide], [_, down, across]) = (self.places, self.tiles);
        format!(
            "const int corner = m0 / {rows}, image0 = corner / {} * {images}, line0 = corner / {across} % {down} * {high}, place0 = corner % {across} * {wide};\n",
            down * across,
        )
    }

    /// Code that says which row of the product `row` of the tile is, and whether there is such a one.
    pub fn place(&self, ty: &str, bulk: Bulk) -> (String, String) {
        let ([images, high, wide], [_, lines, places]) = (self.places, self.all);
        let (line, image) = match images {
            1 => (format!("line0 + row / {wide}"), "image0".to_string()),
            _ => (format!("line0 + row / {wide} % {high}"), format!("image0 + row / {}", wide * high)),
        };
        let code = format!(
            "const {ty} of_place = place0 + row % {wide}, of_line = {line}, of_image = {image};
const {ty} m = (of_image * {lines} + of_line) * {places} + of_place;\n",
        );
        let mut exists = Vec::new();
        for (at, name) in ["of_image", "of_line", "of_place"].into_iter().enumerate() {
            // Clusters may reach beyond the last image.
            let beyond = at == 0 && !self.tiles().is_multiple_of(bulk.cluster[0]);
            if beyond || !self.all[at].is_multiple_of(self.places[at]) {
                exists.push(format!("{name} < {}", self.all[at]));
            }
        }
        if self.rows() < bulk.tile[0] {
            exists.push(format!("row < {}", self.rows()));
        }
        if exists.is_empty() {
            exists.push("true".to_string());
        }
        (code, exists.join(" && "))
    }

    /// Code that declares barriers behind all others, and what one thread begins with: areas that are there, and that are used no more.
    pub fn begin(&self, bulk: Bulk) -> (String, String) {
        let Area { buffers, behind, .. } = *self;
        let declared = format!(
            "u64 *const seen = next + {}, *const used = seen + {buffers};\n",
            bulk.barriers_of_teams()
        );
        let mut begun = format!(
            "    for (int b = 0; b < {buffers}; ++b) {{
        begin_barrier(&seen[b], 1);
        begin_barrier(&used[b], {});
    }}
",
            bulk.groups(),
        );
        if behind > 0 {
            let each = behind * ROW / 8;
            begun.push_str(&format!(
                "    for (int u = 0; u < {}; ++u)
        *reinterpret_cast<u64*>(pool + {} + u / {each} * {} + u % {each} * 8) = 0;
",
                buffers * each,
                bulk.areas() + self.comes(),
                self.bytes(bulk.tile[0]),
            ));
        }
        (declared, begun)
    }

    /// Code that begins to copy the area that step `s` is the first to need, if it is.
    pub fn fetch(&self, bulk: Bulk) -> String {
        format!(
            "if (s == first || s % {taps} == 0) {{
    await_bytes(&used[area], in_use);
    expect_bytes(&seen[area], {});
    begin_area(pool + {} + area * {}, x, &seen[area], s / {taps} * {}, place0 - {}, line0 - {}, image0);
    if (++area == {}) area = 0, in_use ^= 1;
}}
",
            self.comes(),
            bulk.areas(),
            self.bytes(bulk.tile[0]),
            ROW / 2,
            self.before[1],
            self.before[0],
            self.buffers,
            taps = self.taps(),
        )
    }

    /// The code of a warpgroup's steps: `body` makes that of one loop over some of them, from what waits, what multiplies so many quarters
    /// of a step and what follows it. Of the last channels there may be fewer quarters.
    pub fn steps(&self, bulk: Bulk, channels: usize, body: impl Fn(&str, &str, usize) -> String) -> String {
        let chunks = channels.div_ceil(ROW / 2);
        let last = (channels - (chunks - 1) * (ROW / 2)).div_ceil(ROW / 8);
        let whole = (chunks - 1) * self.taps();
        let loops = match last {
            4 => body("first", "last", 4),
            _ if whole == 0 => body("first", "last", last),
            _ => {
                body("first", &format!("min(last, {whole})"), 4)
                    + &body(&format!("max(first, {whole})"), "last", last)
            }
        };
        let buffers = self.buffers;
        format!(
            "int tap = first % {taps}, area = turn * {chunks} % {buffers}, in_use = turn * {chunks} / {buffers} & 1, area_before = area;
const unsigned char* rows_at[{subtiles}];
#pragma unroll
for (int i = 0; i < {subtiles}; ++i) rows_at[i] = pool + {areas} + ({start}) * {ROW};
{loops}",
            taps = self.taps(),
            subtiles = bulk.part[0] / 64,
            areas = bulk.areas(),
            start = self.starts(),
        )
    }

    /// [`Area::start`] of part `i` of a warpgroup, as code.
    fn starts(&self) -> String {
        let ([images, high, _], [lines, line]) = (self.places, self.size);
        match (self.lines(), images) {
            (true, _) => "wm / 64 * 64 + i * 64".to_string(),
            (false, 1) => format!("(wm / 64 + i) * {}", 8 * line),
            (false, _) => {
                format!("((wm / 64 + i) * 8 / {high} * {lines} + (wm / 64 + i) * 8 % {high}) * {line}")
            }
        }
    }

    /// Before a step: waits for the area that it is the first to need.
    pub fn awaited(&self) -> String {
        "if (s == first || tap == 0) await_bytes(&seen[area], in_use);\n".to_string()
    }

    /// Code for where the rows of part `i` lie at the step's tap.
    pub fn left(&self, rows: usize) -> String {
        let ([_, across], [down, right]) = (self.taps, self.dilation);
        format!(
            "rows_at[i] + area * {} + (tap / {across} * {} + tap % {across} * {right}) * {ROW}",
            self.bytes(rows),
            down * self.size[1],
        )
    }

    /// When the products of the step before are done: the area may be filled again that was the last one's.
    pub fn released(&self) -> String {
        "if (s > first && tap == 0 && THREAD % 128 == 0) arrive(&used[area_before]);\n".to_string()
    }

    /// When a tile's products are done.
    pub fn left_to_others(&self) -> String {
        "if (THREAD % 128 == 0) arrive(&used[area_before]);\n".to_string()
    }

    /// After a step.
    pub fn next(&self) -> String {
        format!(
            "area_before = area;
if (++tap == {}) {{
    tap = 0;
    if (++area == {}) area = 0, in_use ^= 1;
}}
",
            self.taps(),
            self.buffers
        )
    }

    /// For reports, and to be found again by.
    pub fn name(&self) -> String {
        let [images, high, wide] = self.places;
        format!(", of areas of {images}x{high}x{wide}")
    }
}
