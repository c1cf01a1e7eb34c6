//! The first convolution of many networks and the maximum pool after it in one kernel, on tensor cores: an image of few channels, many more
//! of the result, of which the pool keeps a quarter and the rest is never in memory.
//!
//! In shared memory, as many neighbours of a row as the convolution steps over are one unit of 16 bytes, those of a channel next to each
//! other. What a window has of a row is a run of units: rows of the product overlap, and lie nowhere twice. A team of warps goes down a strip of
//! the image, some rows of results at a time, and keeps those that the next windows of the pool see. Two teams take turns at the tensor cores: one
//! multiplies while the other stores.

mod find;
mod plan;

pub use find::{Stem, find};

use super::super::assemble::{Assembler, Fault, Packing};
use super::super::layout::channels_last;
use super::super::render::{Draft, Tail, indent, index_type, split, storage_type};
use super::super::tactic::STEM;
use super::pad;
use crate::DType;
use crate::backend::view::View;
use crate::network::layer::PadMode;
use crate::network::{Layer, ValueId};
use find::UNIT;
use plan::{Plan, Sizes, TILES, WARPS};
use std::fmt::Write;

const THREADS: usize = 32 * WARPS;

/// Emits the stem, whose pool is `layer`.
pub fn assemble(a: &mut Assembler, layer: &Layer, stem: &Stem) -> Result<(), Fault> {
    let network = a.network;
    let from = &network.layers[stem.convolution];
    let (x, filters) = (a.view(from.inputs[0]), from.inputs[1]);
    let conv = network.ty(from.outputs[0]).clone();
    let (sizes, plan) = (stem.sizes, stem.plan);
    a.program.ways.push(STEM.to_string());
    let w = weights(a, filters, &sizes)?;
    let operands: Vec<View> = from.inputs[2..].iter().map(|&v| a.view(v).stretch(&conv.shape)).collect();
    let mut typing = vec![x.dtype];
    typing.extend(operands.iter().map(|v| v.dtype));
    let own = Tail::of(View::row_major(x.slot, &conv), from.epilogue.clone(), typing, operands);
    let tail = a.tail(layer, &channels_last(4))?;
    let kernel = Kernel { sizes, plan, x, w, own, tail };
    a.launch(kernel.draft())
}

/// The filters, for each channel of the result rows of units.
fn weights(a: &mut Assembler, value: ValueId, s: &Sizes) -> Result<View, Fault> {
    let ty = a.network.ty(value).clone();
    let [outputs, inputs, high, wide] = [0, 1, 2, 3].map(|axis| ty.shape[axis]);
    let all = s.units * s.together;
    let whole = ty.with_shape([outputs, s.channels(), high, all]);
    let form = ty.with_shape([outputs, high * s.units * UNIT]);
    let border = [(0, 0), (0, s.channels() - inputs), (0, 0), (s.ahead, all - s.ahead - wide)];
    let apart = [outputs, s.channels(), high, s.units, s.together];
    let told = format!("stem {border:?} {apart:?}");
    let pack = move |a: &mut Assembler, from: View, slot, offset| {
        let to = a.temporary(&whole, &[0, 1, 2, 3]);
        pad::emit(a, &from, &border, PadMode::Constant(0.0), to.clone())?;
        let from = to.reshape(&apart).ok_or("filters that do not lie in rows")?.permute(&[0, 2, 3, 1, 4]);
        let to = View::row_major(slot, &from.ty());
        a.copy(&from, View { offset, ..to })
    };
    let (slot, offset) = a.packed(value, form.bytes(), Packing::new(told, Box::new(pack)))?;
    Ok(View { offset, ..View::row_major(slot, &form) })
}

struct Kernel {
    sizes: Sizes,
    plan: Plan,
    x: View,
    w: View,
    /// The end of the convolution.
    own: Tail,
    /// That of the pool.
    tail: Tail,
}

impl Kernel {
    fn draft(&self) -> Draft {
        let Kernel { sizes: s, plan, x, w, own, tail } = self;
        let mut views = vec![x, w];
        views.extend(own.operands.iter());
        views.extend(tail.views());
        let ty = index_type(&views, tail.out.elements());
        let pack = tail.pack(1).min(UNIT);
        let (tiles, teams) = (plan.tiles(s), plan.teams);
        let blocks = [s.outputs / plan.outputs, tiles.iter().product::<usize>().div_ceil(teams)];
        let mut draft = Draft::new("stem");
        (draft.threads, draft.beside, draft.waits) = (THREADS * teams, plan.beside, true);
        (draft.grid, draft.shared) = ([blocks.iter().product(), 1, 1], plan.shared(s));
        draft.read("x", x);
        let pairs = self.pairs();
        if pairs {
            draft.aligned(4);
        }
        draft.read("w", w);
        draft.aligned(16);
        for (i, view) in own.operands.iter().enumerate() {
            draft.read(&format!("s{}", i + 1), view);
        }
        tail.parameters_packed(&mut draft, 1, pack);
        let element = storage_type(x.dtype);
        let [image, filters, _] = plan.memory(s);
        let (of_filter, pitch) = (s.taps[0] * s.units, plan.filter_pitch(s));
        let (row, place, ring) = (plan.row(s), plan.place(), plan.ring(s));
        let mut body = format!("DYNAMIC_SHARED(pool, {});\n", plan.shared(s));
        body.push_str(&split(&blocks, "BLOCK", ty, "block"));
        let _ = write!(
            body,
            "const int lane = THREAD % 32, warp = THREAD / 32 % {WARPS}, team = THREAD / {THREADS}, worker = THREAD % {THREADS};
const {ty} mine = block1 * {teams} + team, own = min(mine, ({ty}){last});
",
            last = tiles.iter().product::<usize>() - 1,
        );
        body.push_str(&split(&tiles, "own", ty, "tile"));
        let _ = write!(
            body,
            "const {ty} b = tile0, q0 = tile1 * {rows_of_part}, c0 = tile2 * {strip}, n0 = block0 * {outputs};
const {ty} row0 = q0 * {down} - {above}, column0 = c0 * {along} - {left};
unsigned char *const filters = pool, *const images = filters + {filters} + team * {of_team}, *const kept = images + 2 * {image};
for (int u = THREAD; u < {all_filters}; u += {THREADS} * {teams})
    begin_copy(filters + u / {of_filter} * {pitch} + u % {of_filter} * 16, w + (n0 + u / {of_filter}) * {per_filter} + u % {of_filter} * {UNIT}, true);
end_group();
for (int u = worker; u < 2 * {image} / 16; u += {THREADS}) *reinterpret_cast<Pack<unsigned, 4>*>(images + u * 16) = {{}};
wait_groups<0>();
__syncthreads();
await_previous();
auto fetch = [&](int step) {{
    const {ty} top = (row0 + step * {high}) * {step_down} - {before};
    #pragma unroll 4
    for (int e = worker; e < {seen}; e += {THREADS}) {{
        const int line = e / {wide}, unit = e % {wide};
        const {ty} py = top + line, px = (column0 + unit) * {together} - {shifted};
        unsigned char* const to = images + step % 2 * {image} + line * {row} + unit * 16;
{load}    }}
    end_group();
}};
fetch(0);
int done = 0;
#pragma unroll 1
for (int step = 0; step < {steps}{unless_done}; ++step) {{
    const {ty} top = row0 + step * {high};
    wait_groups<0>();
    warpgroup_barrier();
    if (step + 1 < {steps}) fetch(step + 1);
    const unsigned char* const image = images + step % 2 * {image};
    const unsigned char* left_at[{TILES}];
    #pragma unroll
    for (int i = 0; i < {TILES}; ++i) {{
        const int tile = warp * {TILES} + i;
        left_at[i] = image + tile / {across} * {step_down} * {row} + (tile % {across} * 16 + lane % 16) * 16 + lane / 16 * 16;
    }}
    f32 sums[{TILES}][{eighths}][4] = {{}};
{my_turn}    #pragma unroll
    for (int tap = 0; tap < {taps}; ++tap)
        #pragma unroll
        for (int two = 0; two < {twos}; ++two) {{
            Four left[{TILES}], right[{sixteenths}];
            #pragma unroll
            for (int j = 0; j < {sixteenths}; ++j)
                right[j] = load_matrices(filters + (j * 16 + lane / 16 * 8 + lane % 8) * {pitch} + lane / 8 % 2 * 16 + (tap * {units} + two * 2) * 16);
            #pragma unroll
            for (int i = 0; i < {TILES}; ++i) left[i] = load_matrices(left_at[i] + tap * {row} + two * 32);
            #pragma unroll
            for (int i = 0; i < {TILES}; ++i)
                #pragma unroll
                for (int j = 0; j < {sixteenths}; ++j) {{
                    multiply(sums[i][2 * j], left[i], right[j].at[0], right[j].at[1], {element}());
                    multiply(sums[i][2 * j + 1], left[i], right[j].at[2], right[j].at[3], {element}());
                }}
        }}
{others_turn}{again}    unsigned char* to[{TILES}][2];
    #pragma unroll
    for (int i = 0; i < {TILES}; ++i)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {{
            const int tile = warp * {TILES} + i, line = tile / {across}, column = tile % {across} * 16 + half * 8 + lane / 4;
            to[i][half] = kept + ((step * {high} + line) % {ring} * {columns} + column) * {place} + lane % 4 * 4;
        }}
    #pragma unroll
    for (int j = 0; j < {eighths}; ++j)
        #pragma unroll
        for (int i = 0; i < {TILES}; ++i)
            #pragma unroll
            for (int half = 0; half < 2; ++half) {{
                Pack<{element}, 2> two;
                #pragma unroll
                for (int k = 0; k < 2; ++k) {{
                    const {ty} n = n0 + j * 8 + lane % 4 * 2 + k;
{value}                }}
                *reinterpret_cast<Pack<{element}, 2>*>(to[i][half] + j * 16) = two;
            }}
    // Places beyond the edge never win.
    if (top < 0 || top + {high} > {conv_rows} || column0 < 0 || column0 + {columns} > {conv_columns}) {{
        #pragma unroll
        for (int i = 0; i < {TILES}; ++i)
            #pragma unroll
            for (int half = 0; half < 2; ++half) {{
                const int tile = warp * {TILES} + i;
                const {ty} oy = top + tile / {across}, ox = column0 + tile % {across} * 16 + half * 8 + lane / 4;
                if (oy >= 0 && oy < {conv_rows} && ox >= 0 && ox < {conv_columns}) continue;
                #pragma unroll
                for (int j = 0; j < {eighths}; ++j) *reinterpret_cast<unsigned*>(to[i][half] + j * 16) = {least};
            }}
    }}
    warpgroup_barrier();
    const int ready = min({rows_of_part}, (step * {high} + {high} - {window0}) / {down} + 1);
    for (int e = worker; e < (ready - done) * {strip_units}; e += {THREADS}) {{
        const int u = e % {of_place}, q = e / {of_place} % {strip}, p = done + e / {strip_units};
        const {ty} o0 = b, o2 = q0 + p, o3 = c0 + q;
        if (mine > own || o2 >= {pooled_rows} || o3 >= {pooled_columns}) continue;
        Pack<unsigned, 4> most;
        #pragma unroll
        for (int dy = 0; dy < {window0}; ++dy)
            #pragma unroll
            for (int dx = 0; dx < {window1}; ++dx) {{
                const auto seen = *reinterpret_cast<const Pack<unsigned, 4>*>(kept + ((p * {down} + dy) % {ring} * {columns} + q * {along} + dx) * {place} + u * 16);
                #pragma unroll
                for (int k = 0; k < 4; ++k) most.at[k] = dy + dx == 0 ? seen.at[k] : larger_of(most.at[k], seen.at[k], {element}());
            }}
        const auto eight = *reinterpret_cast<const Pack<{element}, {UNIT}>*>(&most);
        #pragma unroll
        for (int part = 0; part < {packs}; ++part) {{
            const {ty} o1 = n0 + u * {UNIT} + part * {pack};
            f32 values[{pack}];
            #pragma unroll
            for (int k = 0; k < {pack}; ++k) values[k] = get(eight.at[part * {pack} + k]);
{store}        }}
    }}
    done = ready;
}}
",
            of_team = plan.of_team(s),
            // Teams that take turns are through with theirs at the same time.
            unless_done = if teams > 1 { String::new() } else { format!(" && q0 + done < {}", s.pooled[0]) },
            my_turn = if teams > 1 { "    if (step + team > 0) await_turn(team);\n" } else { "" },
            others_turn = match teams {
                1 => String::new(),
                _ => format!("    if (step + 1 < {} || team == 0) pass_turn(1 - team);\n", plan.steps(s)),
            },
            rows_of_part = plan.part,
            strip = plan.strip,
            outputs = plan.outputs,
            down = s.pool_stride[0],
            along = s.pool_stride[1],
            above = s.pool_before[0],
            left = s.pool_before[1],
            all_filters = plan.outputs * of_filter,
            per_filter = w.strides[0],
            across = plan.across,
            step_down = s.stride,
            steps = plan.steps(s),
            pooled_rows = s.pooled[0],
            pooled_columns = s.pooled[1],
            high = plan.high(),
            seen = plan.lines(s) * plan.wide(s),
            wide = plan.wide(s),
            before = s.before[0],
            together = s.together,
            shifted = s.before[1] + s.ahead,
            load = indent(&indent(&self.load(ty, pairs))),
            eighths = plan.outputs / 8,
            sixteenths = plan.outputs / 16,
            taps = s.taps[0],
            twos = s.units / 2,
            units = s.units,
            conv_rows = s.places[0],
            conv_columns = s.places[1],
            value = indent(&indent(&indent(&indent(&indent(&self.value(ty)))))),
            again = indent(&self.again()),
            least = if x.dtype == DType::F16 { "0xfc00fc00" } else { "0xff80ff80" },
            columns = plan.columns(),
            window0 = s.window[0],
            window1 = s.window[1],
            strip_units = plan.strip * plan.outputs / UNIT,
            of_place = plan.outputs / UNIT,
            packs = UNIT / pack,
            store = indent(&indent(&indent(&tail.store_packed(
                "values",
                &["o0", "o1", "o2", "o3"].map(str::to_string),
                (1, pack),
                ty
            )))),
        );
        draft.body = body;
        draft
    }

    /// Can two neighbours of a row be loaded at once, and are both inside the image or outside?
    fn pairs(&self) -> bool {
        let (s, x) = (&self.sizes, &self.x);
        let even = |n: isize| n % 2 == 0;
        s.together.is_multiple_of(2)
            && x.strides[3] == 1
            && [0, 1, 2].iter().all(|&axis| even(x.strides[axis]))
            && x.offset.rem_euclid(4) == 0
            && x.shape[3].is_multiple_of(2)
            && (s.before[1] + s.ahead).is_multiple_of(2)
    }

    /// Code that brings what there is of a unit, from place `px` of row `py` on, to `to`; zeros where there is nothing.
    fn load(&self, ty: &str, pairs: bool) -> String {
        let (s, x) = (&self.sizes, &self.x);
        let (many, bring) = match pairs {
            true => (2, "begin_word(at, exists ? from : x, exists);\n".to_string()),
            false => {
                let element = storage_type(x.dtype);
                let bring = format!(
                    "{element} v = {{}};\nif (exists) v = *from;\n*reinterpret_cast<{element}*>(at) = v;\n"
                );
                (1, bring)
            }
        };
        format!(
            "#pragma unroll
for (int p = 0; p < {together}; p += {many}) {{
    const bool exists = py >= 0 && py < {rows} && px + p >= 0 && px + p < {columns};
    #pragma unroll
    for (int c = 0; c < {channels}; ++c) {{
        const auto from = x + ({ty})(b * {} + c * {} + py * {} + (px + p) * {});
        unsigned char* const at = to + (c * {together} + p) * 2;
{bring}    }}
}}
",
            x.strides[0],
            x.strides[1],
            x.strides[2],
            x.strides[3],
            together = s.together,
            rows = x.shape[2],
            columns = x.shape[3],
            channels = x.shape[1],
            bring = indent(&indent(&bring)),
        )
    }

    /// Code that computes a thread's sums that are NaN again: a run of units has neighbours that the window does not see, whose factors are 0,
    /// and they may be infinite.
    fn again(&self) -> String {
        let (s, plan) = (&self.sizes, &self.plan);
        let element = storage_type(self.x.dtype);
        let each = |what: &str| {
            format!(
                "#pragma unroll
for (int i = 0; i < {TILES}; ++i)
    #pragma unroll
    for (int j = 0; j < {}; ++j)
        #pragma unroll
        for (int c = 0; c < 4; ++c) {what}
",
                plan.outputs / 8
            )
        };
        let here = format!("if (e == (i * {} + j) * 4 + c)", plan.outputs / 8);
        let one = format!(
            "f32 sum = 0.0f;
{find}if (sum == sum) continue;
sum = 0.0f;
const int tile = warp * {TILES} + e / {of_tile}, n = e / 4 % {eighths} * 8 + lane % 4 * 2 + e % 2;
const int line = tile / {across} * {down}, column = tile % {across} * 16 + e % 4 / 2 * 8 + lane / 4;
#pragma unroll 1
for (int tap = 0; tap < {taps}; ++tap) {{
    const int y = tap / {wide}, at = tap % {wide} + {ahead}, unit = at / {together};
    const {element}* const seen = reinterpret_cast<const {element}*>(image + (line + y) * {row} + (column + unit) * 16) + at % {together};
    const {element}* const filter = reinterpret_cast<const {element}*>(filters + n * {pitch} + (y * {units} + unit) * 16) + at % {together};
    for (int k = 0; k < {inputs}; ++k) sum = fmaf(get(seen[k * {together}]), get(filter[k * {together}]), sum);
}}
{set}",
            find = each(&format!("{here} sum = sums[i][j][c];")),
            set = each(&format!("{here} sums[i][j][c] = sum;")),
            of_tile = plan.outputs / 2,
            eighths = plan.outputs / 8,
            across = plan.across,
            down = s.stride,
            taps = s.taps[0] * s.taps[1],
            wide = s.taps[1],
            ahead = s.ahead,
            together = s.together,
            row = plan.row(s),
            pitch = plan.filter_pitch(s),
            units = s.units,
            inputs = self.x.shape[1],
        );
        let all = TILES * plan.outputs / 2;
        // NaN if one of them is; so may sums of infinities be, which are looked at one by one.
        let all_of = each("all[j % 4] += sums[i][j][c];");
        format!(
            "f32 all[4] = {{}};\n{all_of}const f32 whole = all[0] + all[1] + (all[2] + all[3]);\nif (whole != whole) {{\n    #pragma unroll 1\n    for (int e = 0; e < {all}; ++e) {{\n{}    }}\n}}\n",
            indent(&indent(&one))
        )
    }

    /// Code that puts the value of channel `n` into `two.at[k]`.
    fn value(&self, ty: &str) -> String {
        let positions = ["0", "n", "0", "0"].map(str::to_string);
        let (code, value) = self.own.value("s", "sums[i][j][half * 2 + k]", &positions, ty);
        format!("{code}put(two.at[k], {value});\n")
    }
}
