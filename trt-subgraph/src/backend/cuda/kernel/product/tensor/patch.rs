//! Convolutions on tensor cores whose blocks hold all they need at once: the part of the image under their windows, which the taps share,
//! and their filters. One wait for memory, then products alone.

use super::super::super::super::assemble::{Assembler, Fault};
use super::super::super::super::channels;
use super::super::super::super::program::WEIGHTS;
use super::super::super::super::render::{Draft, indent, split, storage_type};
use super::super::super::super::target::Target;
use super::super::convolution::of_operands;
use super::{Tile, cut, fragments, results, sums_to_memory};
use crate::DType;
use crate::backend::Tf32;
use crate::network::layer::Convolution;
use crate::network::{Layer, LayerKind};
use std::fmt::Write;

/// How a convolution is cut into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Rows and columns of places of the result.
    places: [usize; 2],
    /// Channels of the result.
    outputs: usize,
    /// Blocks that share the sums, each of a part of the image's channels.
    shares: usize,
}

/// The sizes that decide.
#[derive(Clone, Debug)]
struct Sizes {
    dtype: DType,
    images: usize,
    outputs: usize,
    /// Channels of the image, in whole units of 16 bytes.
    channels: usize,
    /// Of the result.
    places: [usize; 2],
    taps: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
}

/// Bytes of a row of shared memory besides its own: other rows in other banks.
const GAP: usize = 16;

impl Sizes {
    /// Of a layer that can be computed like this and may be with TF32.
    fn of(a: &Assembler, layer: &Layer, tf32: Tf32) -> Option<Sizes> {
        let LayerKind::Convolution(c) = &layer.kind else { return None };
        let (x, w) = (a.network.ty(layer.inputs[0]), a.network.ty(layer.inputs[1]));
        let y = &a.network.ty(layer.outputs[0]).shape;
        let unit = match x.dtype {
            DType::F16 | DType::BF16 => 8,
            DType::F32 if tf32.convolution => 4,
            _ => return None,
        };
        let two = |v: &[usize]| -> [usize; 2] { [v[0], v[1]] };
        let fits = c.stride.len() == 2 && c.groups == 1 && !c.transposed && w.shape[2] * w.shape[3] > 1;
        fits.then(|| Sizes {
            dtype: x.dtype,
            images: x.shape[0],
            outputs: y[1],
            channels: x.shape[1].next_multiple_of(unit),
            places: two(&y[2..]),
            taps: two(&w.shape[2..]),
            stride: two(&c.stride),
            dilation: two(&c.dilation),
        })
    }

    fn taps(&self) -> usize {
        self.taps[0] * self.taps[1]
    }
}

impl Patch {
    /// Rows of the product.
    fn rows(&self) -> usize {
        self.places[0] * self.places[1]
    }

    /// Warps along the rows, and along the columns.
    fn warps(&self) -> [usize; 2] {
        let (high, wide) = (self.rows().div_ceil(16), self.outputs / 16);
        let along = high.min(8);
        let across = (1..=8 / along).rev().find(|n| wide.is_multiple_of(*n)).unwrap_or(1);
        [along, across]
    }

    fn threads(&self) -> usize {
        32 * self.warps().iter().product::<usize>()
    }

    /// Rows and columns of the part of the image.
    fn window(&self, s: &Sizes) -> [usize; 2] {
        [0, 1].map(|i| (self.places[i] - 1) * s.stride[i] + (s.taps[i] - 1) * s.dilation[i] + 1)
    }

    /// Bytes of a block's channels of a place.
    fn depth(&self, s: &Sizes) -> usize {
        s.channels / self.shares * s.dtype.size()
    }

    /// Bytes of the image's part, of the filters, and of the results, which take their place.
    fn memory(&self, s: &Sizes) -> [usize; 3] {
        let window: usize = self.window(s).iter().product();
        let rows = self.rows().next_multiple_of(16);
        [
            window * (self.depth(s) + GAP),
            self.outputs * (s.taps() * self.depth(s) + GAP),
            rows * (self.outputs + cut::GAP) * 4,
        ]
    }

    fn shared(&self, s: &Sizes) -> usize {
        let [image, filters, results] = self.memory(s);
        (image + filters).max(results)
    }

    fn blocks(&self, s: &Sizes) -> usize {
        let places = [0, 1].map(|i| s.places[i].div_ceil(self.places[i]));
        s.images * places[0] * places[1] * s.outputs.div_ceil(self.outputs) * self.shares
    }

    /// Cycles, about; `None` where a block cannot hold it all.
    fn cost(&self, s: &Sizes, target: &Target) -> Option<f64> {
        let (depth, room) = (self.depth(s), target.shared() - 1024);
        let whole = s.channels.is_multiple_of(self.shares) && depth.is_multiple_of(32) && depth > 0;
        if !whole || self.shared(s) > room {
            return None;
        }
        let [image, filters, _] = self.memory(s);
        let area = (self.rows().next_multiple_of(16) * self.outputs) as f64;
        let products = area * (s.taps() * depth) as f64 / 1500.0;
        let together = ((room / (self.shared(s) + 1024)) as f64).clamp(1.0, 4.0);
        let waves = self.blocks(s).div_ceil(target.multiprocessors) as f64;
        let ends = 900.0 + area / 16.0 + if self.shares > 1 { 500.0 } else { 0.0 };
        Some(waves * ((image + filters) as f64 / 40.0 + products) + (waves / together).max(1.0) * ends)
    }

    /// For reports, and to be found again by.
    pub fn name(&self) -> String {
        let Patch { places: [rows, columns], outputs, shares } = self;
        format!("own patches {rows}x{columns} of {outputs} by {shares}")
    }
}

/// The cuts of a convolution that promise most, at most `most`; none where it is none, or has one tap.
pub fn patches(a: &Assembler, layer: &Layer, tf32: Tf32, clusters: bool, most: usize) -> Vec<Patch> {
    /// Most rows of a product.
    const ROWS: [usize; 3] = [32, 64, 128];
    let Some(s) = Sizes::of(a, layer, tf32) else { return vec![] };
    let mut found: Vec<(f64, Patch)> = Vec::new();
    for rows in ROWS {
        let parts = s.places[1].div_ceil(rows);
        let width = s.places[1].div_ceil(parts.max(1)).max(1);
        let places = [(rows / width).clamp(1, s.places[0].max(1)), width];
        for outputs in [16, 32, 64] {
            for shares in [1, 2, 4, 8] {
                let patch = Patch { places, outputs, shares };
                let twice = found.iter().any(|(_, p)| *p == patch);
                let narrow = outputs > 16 && outputs / 2 >= s.outputs;
                if twice || narrow || (shares > 1 && !clusters) {
                    continue;
                }
                found.extend(patch.cost(&s, &a.target).map(|cost| (cost, patch)));
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().take(most).map(|(_, patch)| patch).collect()
}

/// Emits the convolution.
pub fn emit(a: &mut Assembler, layer: &Layer, c: &Convolution, patch: Patch) -> Result<(), Fault> {
    let any = Tf32 { convolution: true, ..Tf32::default() };
    let s = Sizes::of(a, layer, any).ok_or("no convolution of several taps")?;
    let x = channels::image(a, layer.inputs[0], s.channels)?;
    let w = channels::filter(a, layer.inputs[1], s.channels)?;
    if w.slot != WEIGHTS {
        return Err("filters that are computed in every call".to_string());
    }
    let p = of_operands(a, layer, c, x.clone(), w.clone(), "k")?;
    let (ty, pack, size) = (p.index(), p.tail.pack(p.column_axis), s.dtype.size());
    let [along, across] = patch.warps();
    let (threads, shares) = (patch.threads(), patch.shares);
    let (high, wide) = (patch.rows().div_ceil(16).div_ceil(along), patch.outputs / across / 16);
    let [height, width] = patch.window(&s);
    let (depth, [image, ..]) = (patch.depth(&s), patch.memory(&s));
    let (units, pitch, row) = (depth / 16, depth + GAP, s.taps() * depth + GAP);
    let parts = [0, 1].map(|i| s.places[i].div_ceil(patch.places[i]));
    let tiles = [s.images, parts[0], parts[1], s.outputs.div_ceil(patch.outputs), shares];
    let mut draft = Draft::new(p.what);
    (draft.threads, draft.cluster, draft.waits) = (threads, shares, true);
    (draft.grid, draft.shared) = ([tiles.iter().product(), 1, 1], patch.shared(&s));
    draft.read("x", &x);
    draft.aligned(16);
    draft.read("w", &w);
    draft.aligned(16);
    p.tail.parameters_packed(&mut draft, p.column_axis, pack);
    let tile =
        Tile { rows: patch.rows(), columns: patch.outputs, pitch: patch.outputs + cut::GAP, shares, threads };
    let place = format!(
        "const {ty} oy = y0 + row / {}, ox = x0 + row % {}, m = (tile0 * {} + oy) * {} + ox, n = n0 + column;
const bool exists = oy < {} && ox < {} && n < {};\n",
        patch.places[1], patch.places[1], s.places[0], s.places[1], s.places[0], s.places[1], s.outputs
    );
    let results = results(&p, tile, &place, "tile4", pack);
    let products = fragments(
        (high, "left_at[i] + moved + part * 32"),
        (wide, &format!("right_at[j] + tap * {depth} + part * 32")),
        storage_type(s.dtype),
    );
    let mut body = format!("DYNAMIC_SHARED(pool, {});\n", patch.shared(&s));
    body.push_str(&split(&tiles, "BLOCK", ty, "tile"));
    let _ = write!(
        body,
        "const {ty} b = 0, y0 = tile1 * {rows}, x0 = tile2 * {columns}, n0 = tile3 * {outputs}, channel = tile4 * {channels};
const int lane = THREAD % 32, wm = THREAD / 32 % {along} * {warp_rows}, wn = THREAD / 32 / {along} * {warp_columns};
unsigned char* const filters = pool + {image};
#pragma unroll 4
for (int u = THREAD; u < {of_filters}; u += {threads}) {{
    const int n = u / {of_filter}, tap = u % {of_filter} / {units}, unit = u % {units};
    const bool exists = n0 + n < {all_outputs};
    const auto from = w + ((n0 + n) * {per_output} + tap / {taps1} * {per_row} + tap % {taps1} * {per_column} + channel + unit * {elements});
    begin_copy(filters + n * {row} + (tap * {units} + unit) * 16, exists ? from : w, exists);
}}
await_previous();
#pragma unroll 4
for (int u = THREAD; u < {of_image}; u += {threads}) {{
    const int place = u / {units}, unit = u % {units};
    const {ty} py = y0 * {stride0} - {before0} + place / {width}, px = x0 * {stride1} - {before1} + place % {width};
    const bool exists = py >= 0 && py < {image_rows} && px >= 0 && px < {image_columns};
    const auto from = x + (tile0 * {xs0} + py * {xs2} + px * {xs3} + channel + unit * {elements});
    begin_copy(pool + place * {pitch} + unit * 16, exists ? from : x, exists);
}}
end_group();
{ahead}f32 sums[{high}][{double}][4] = {{}};
const unsigned char *left_at[{high}], *right_at[{wide}];
#pragma unroll
for (int i = 0; i < {high}; ++i) {{
    const int place = min(wm + i * 16 + lane % 16, {last});
    left_at[i] = pool + (place / {columns} * {stride0} * {width} + place % {columns} * {stride1}) * {pitch} + lane / 16 * 16;
}}
#pragma unroll
for (int j = 0; j < {wide}; ++j)
    right_at[j] = filters + (wn + j * 16 + lane / 16 * 8 + lane % 8) * {row} + lane / 8 % 2 * 16;
wait_groups<0>();
__syncthreads();
#pragma unroll {unroll}
for (int tap = 0; tap < {taps}; ++tap) {{
    const int moved = (tap / {taps1} * {dilation0} * {width} + tap % {taps1} * {dilation1}) * {pitch};
    #pragma unroll 4
    for (int part = 0; part < {steps}; ++part) {{
{products}    }}
}}
",
        ahead = results.ahead,
        rows = patch.places[0],
        columns = patch.places[1],
        outputs = patch.outputs,
        channels = s.channels / shares,
        warp_rows = high * 16,
        warp_columns = wide * 16,
        of_filter = s.taps() * units,
        of_filters = patch.outputs * s.taps() * units,
        all_outputs = s.outputs,
        per_output = w.strides[0],
        per_row = w.strides[2],
        per_column = w.strides[3],
        taps = s.taps(),
        taps1 = s.taps[1],
        elements = 16 / size,
        of_image = height * width * units,
        stride0 = s.stride[0],
        stride1 = s.stride[1],
        before0 = c.padding[0].0,
        before1 = c.padding[1].0,
        image_rows = x.shape[2],
        image_columns = x.shape[3],
        xs0 = x.strides[0],
        xs2 = x.strides[2],
        xs3 = x.strides[3],
        double = 2 * wide,
        last = patch.rows() - 1,
        unroll = if s.taps() <= 9 { s.taps() } else { 1 },
        dilation0 = s.dilation[0],
        dilation1 = s.dilation[1],
        steps = depth / 32,
        products = indent(&indent(&products)),
    );
    let rows = patch.rows().next_multiple_of(16);
    body.push_str(&sums_to_memory(high, 2 * wide, tile.pitch, Some(rows)));
    body.push_str(&results.store);
    draft.body = body;
    a.launch(draft)
}
