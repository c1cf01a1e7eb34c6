//! Into which tiles a product is cut, and who shares one.

/// How a product is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Rows of a tile.
    pub rows: usize,
    /// Columns of a tile.
    pub columns: usize,
    /// Warps along the rows; the others lie along the columns.
    pub warps: usize,
    /// Blocks that share the sums of one tile.
    pub shares: usize,
}

/// The cuts that promise most for a batch of products of `m` rows, `n` columns and so many steps along `k`, at most `most` of them.
pub fn cuts(
    (batch, m, n, steps): (usize, usize, usize, usize),
    multiprocessors: usize,
    clusters: bool,
    most: usize,
) -> Vec<Cut> {
    const TILES: [(usize, usize, usize); 8] = [
        (128, 64, 2),
        (64, 128, 2),
        (64, 64, 2),
        (128, 32, 4),
        (64, 32, 2),
        (32, 32, 2),
        (128, 16, 4),
        (64, 16, 4),
    ];
    let mut found: Vec<(f64, Cut)> = Vec::new();
    for (rows, columns, warps) in TILES {
        for shares in [1, 2, 4, 8] {
            let steps = steps.div_ceil(shares);
            if shares > 1 && (!clusters || steps < 2) {
                continue;
            }
            let blocks = batch * m.div_ceil(rows) * n.div_ceil(columns) * shares;
            // Two blocks to a multiprocessor; a step costs the copies of both factors and the products, a block its beginning and end.
            let waves = blocks.div_ceil(2 * multiprocessors) as f64;
            let step = 0.5 * (rows + columns) as f64 + (rows * columns) as f64 / 32.0;
            let ends = 300.0 + (rows * columns) as f64 / 16.0 + if shares > 1 { 150.0 } else { 0.0 };
            found
                .push((waves * (steps as f64 * step.max(60.0) + ends), Cut { rows, columns, warps, shares }));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().take(most).map(|(_, cut)| cut).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{GAP, ROW, SHARED, THREADS};
    use super::*;

    #[test]
    fn cuts_fit_the_product() {
        let best =
            |(batch, m, n, k): (usize, usize, usize, usize)| cuts((batch, m, n, k / 32), 132, true, 4)[0];
        // Many rows of few columns; few tiles of long sums; a large product.
        assert_eq!(best((1, 16384, 16, 144)).columns, 16);
        assert!(best((1, 49, 512, 4608)).shares > 1);
        assert_eq!(best((1, 50_000, 512, 2304)).shares, 1);
        assert!(cuts((1, 49, 512, 144), 108, false, 4).iter().all(|c| c.shares == 1));
    }

    #[test]
    fn tiles_fit_into_shared_memory_and_warps() {
        for cut in cuts((1, 1000, 1000, 30), 132, true, usize::MAX) {
            assert!((cut.rows + cut.columns) * ROW * 3 <= SHARED, "three stages: {cut:?}");
            assert!(cut.rows * (cut.columns + GAP) * 4 <= SHARED, "{cut:?}");
            let wide = cut.columns / (THREADS / 32 / cut.warps);
            assert!((cut.rows / cut.warps).is_multiple_of(16) && wide.is_multiple_of(16), "{cut:?}");
        }
    }
}
