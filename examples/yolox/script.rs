//! YOLOX (Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430) as TorchScript: the text of its `forward`, and the
//! variables, under the names that the authors' checkpoints have.

use anyhow::Result;
use std::fmt::Write;
use tch::Tensor;
use tch::nn::{self, BatchNormConfig, ConvConfig, Init, VarStore};
use tch_bridge::jit::{Initial, Module};

/// Classes of COCO.
pub const CLASSES: i64 = 80;

/// Boxes that survive to the suppression of doubles.
const CANDIDATES: i64 = 100;

/// Boxes of a lower score are none; of two that overlap more than this, as a part of what both cover, the better one stays.
const SCORE: f64 = 0.3;
const OVERLAP: f64 = 0.45;

/// Channels of the first layer and blocks of the first stage: size m.
const WIDTH: i64 = 48;
const DEPTH: i64 = 2;

/// The network for images `[1, 3, side, side]`: BGR in 0 to 255; `side` is a multiple of 32. It gives `[boxes, 6]`: left, top, right,
/// bottom in pixels, score, class. Makes its variables in `vs`.
pub fn module(vs: &VarStore, side: i64) -> Result<Module> {
    let mut script = Script { vs: vs.root(), text: String::from("def forward(self, image):\n"), values: 0 };
    script.network();
    script.text += &detections();
    let mut attributes: Vec<(String, Initial)> = Vec::new();
    for (name, tensor) in vs.variables() {
        let statistic = name.contains("running");
        attributes.push((name, if statistic { Initial::Buffer(tensor) } else { Initial::Parameter(tensor) }));
    }
    let (corner, stride) = grid(side);
    let [corner, stride] = [corner, stride].map(|t| t.to_device(vs.device()));
    attributes.extend([
        ("corner".to_string(), Initial::Buffer(corner)),
        ("stride".to_string(), Initial::Buffer(stride)),
    ]);
    attributes.sort_by(|a, b| a.0.cmp(&b.0));
    let module = Module::from_source(&script.text, &attributes)?;
    module.set_training(false)?;
    Ok(module)
}

/// Gives the norms statistics, as random weights need it: those of one pass in training mode over shifted copies of an image, as many as
/// have the pixels of the usual size, with noise, without which an image of one colour would have no spread.
pub fn observe(module: &Module, image: &Tensor) -> Result<()> {
    let side = image.size()[3];
    let copies = (640 / side).pow(2).max(1);
    const NOISE: f64 = 16.0;
    let shifted = |copy| image.roll([37 * copy, 53 * copy], [2, 3]) + image.randn_like() * NOISE;
    let images = Tensor::f_cat(&(0..copies).map(shifted).collect::<Vec<_>>(), 0)?;
    module.set_training(true)?;
    drop(module.to_cmodule().forward_ts(&[images])?);
    Ok(module.set_training(false)?)
}

/// The cells that boxes are told from: their columns and rows `[cells, 2]`, and their sizes `[cells, 1]` in pixels.
fn grid(side: i64) -> (Tensor, Tensor) {
    let (mut corners, mut strides) = (Vec::new(), Vec::new());
    for stride in [8, 16, 32] {
        let n = side / stride;
        corners.extend((0..n * n).flat_map(|cell| [(cell % n) as f32, (cell / n) as f32]));
        strides.extend((0..n * n).map(|_| stride as f32));
    }
    (Tensor::from_slice(&corners).view([-1, 2]), Tensor::from_slice(&strides).view([-1, 1]))
}

/// From `prediction[1, cells, 85]` to boxes: decoding and overlaps are an engine's, the loop is the host's.
fn detections() -> String {
    format!(
        "
    p = prediction[0]
    middle = (p[:, 0:2] + self.corner) * self.stride
    half = torch.exp(p[:, 2:4]) * self.stride * 0.5
    boxes = torch.cat([middle - half, middle + half], 1)
    best, kind = torch.max(p[:, 5:] * p[:, 4:5], 1)
    score, order = torch.topk(best, min({CANDIDATES}, best.size(0)))
    boxes = torch.index_select(boxes, 0, order)
    kind = torch.index_select(kind, 0, order)

    apart = boxes + (kind * 8192).unsqueeze(1)
    size = apart[:, 2:] - apart[:, :2]
    area = size[:, 0] * size[:, 1]
    first = torch.maximum(apart[:, :2].unsqueeze(1), apart[:, :2].unsqueeze(0))
    last = torch.minimum(apart[:, 2:].unsqueeze(1), apart[:, 2:].unsqueeze(0))
    shared = torch.clamp(last - first, min=0.0)
    both = shared[:, :, 0] * shared[:, :, 1]
    overlap = both / (area.unsqueeze(1) + area.unsqueeze(0) - both) > {OVERLAP}
    rivals = torch.logical_and(overlap, torch.triu(torch.ones_like(both), 1) > 0)

    stays = score > {SCORE}
    for i in range(score.size(0)):
        if bool(stays[i]):
            stays = torch.logical_and(stays, torch.logical_not(rivals[i]))
    found = torch.cat([boxes, score.unsqueeze(1), kind.to(score.dtype).unsqueeze(1)], 1)
    return found[stays]
"
    )
}

/// TorchScript that is being written, line by line.
struct Script<'a> {
    vs: nn::Path<'a>,
    text: String,
    values: usize,
}

impl Script<'_> {
    /// A line that computes a value; gives its name.
    fn line(&mut self, expression: String) -> String {
        self.values += 1;
        let name = format!("v{}", self.values);
        writeln!(self.text, "    {name} = {expression}").expect("a string takes it");
        name
    }

    fn path(&self, name: &str) -> nn::Path<'_> {
        name.split('.').fold(self.vs.clone(), |path, part| path / part)
    }

    fn convolution(
        &mut self,
        name: &str,
        x: &str,
        [inputs, outputs]: [i64; 2],
        window: i64,
        stride: i64,
        bias: bool,
    ) -> String {
        // Boxes and scores of random weights are to be neither all alike nor beyond all bounds.
        let deviation = if bias { 0.5 } else { 1.4 } / ((inputs * window * window) as f64).sqrt();
        let ws_init = Init::Randn { mean: 0.0, stdev: deviation };
        let config = ConvConfig { bias, ws_init, ..ConvConfig::default() };
        nn::conv2d(self.path(name), inputs, outputs, window, config);
        let weight = attribute(&format!("{name}.weight"));
        let bias = if bias { attribute(&format!("{name}.bias")) } else { "None".into() };
        let padding = window / 2;
        self.line(format!(
            "torch.conv2d({x}, {weight}, {bias}, [{stride}, {stride}], [{padding}, {padding}], [1, 1], 1)"
        ))
    }

    /// Convolution, batch norm, SiLU. In training mode the norm's statistics become those of the pass.
    fn unit(&mut self, name: &str, x: &str, channels: [i64; 2], window: i64, stride: i64) -> String {
        let y = self.convolution(&format!("{name}.conv"), x, channels, window, stride, false);
        let config = BatchNormConfig { ws_init: Init::Const(1.0), ..BatchNormConfig::default() };
        nn::batch_norm2d(self.path(&format!("{name}.bn")), channels[1], config);
        let [weight, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| attribute(&format!("{name}.bn.{part}")));
        self.line(format!("torch.silu(torch.batch_norm({y}, {weight}, {bias}, {mean}, {variance}, self.training, 1.0, 0.001, False))"))
    }

    /// Two branches, one of them with `blocks` bottlenecks, joined.
    fn stage(
        &mut self,
        name: &str,
        x: &str,
        [inputs, outputs]: [i64; 2],
        blocks: i64,
        residual: bool,
    ) -> String {
        let hidden = outputs / 2;
        let mut first = self.unit(&format!("{name}.conv1"), x, [inputs, hidden], 1, 1);
        let second = self.unit(&format!("{name}.conv2"), x, [inputs, hidden], 1, 1);
        for block in 0..blocks {
            let y = self.unit(&format!("{name}.m.{block}.conv1"), &first, [hidden, hidden], 1, 1);
            let y = self.unit(&format!("{name}.m.{block}.conv2"), &y, [hidden, hidden], 3, 1);
            first = if residual { self.line(format!("{y} + {first}")) } else { y };
        }
        let both = self.line(format!("torch.cat([{first}, {second}], 1)"));
        self.unit(&format!("{name}.conv3"), &both, [2 * hidden, outputs], 1, 1)
    }

    /// Up to `prediction[1, cells, 85]`: middles and sizes of boxes, their score, the score of each class.
    fn network(&mut self) {
        let [c1, c2, c3, c4, c5] = [1, 2, 4, 8, 16].map(|factor| factor * WIDTH);
        let part = |down, right| format!("image[:, :, {down}::2, {right}::2]");
        let quarters = [part(0, 0), part(1, 0), part(0, 1), part(1, 1)].join(", ");
        let x = self.line(format!("torch.cat([{quarters}], 1)"));
        let x = self.unit("backbone.backbone.stem.conv", &x, [12, c1], 3, 1);
        let dark = |stage: i64, layer: i64| format!("backbone.backbone.dark{stage}.{layer}");
        let x = self.unit(&dark(2, 0), &x, [c1, c2], 3, 2);
        let x = self.stage(&dark(2, 1), &x, [c2, c2], DEPTH, true);
        let x = self.unit(&dark(3, 0), &x, [c2, c3], 3, 2);
        let dark3 = self.stage(&dark(3, 1), &x, [c3, c3], 3 * DEPTH, true);
        let x = self.unit(&dark(4, 0), &dark3, [c3, c4], 3, 2);
        let dark4 = self.stage(&dark(4, 1), &x, [c4, c4], 3 * DEPTH, true);
        let x = self.unit(&dark(5, 0), &dark4, [c4, c5], 3, 2);
        let x = self.unit(&format!("{}.conv1", dark(5, 1)), &x, [c5, c4], 1, 1);
        let pool = |n: i64| format!("torch.max_pool2d({x}, [{n}, {n}], [1, 1], [{0}, {0}])", n / 2);
        let pools = self.line(format!("torch.cat([{x}, {}, {}, {}], 1)", pool(5), pool(9), pool(13)));
        let x = self.unit(&format!("{}.conv2", dark(5, 1)), &pools, [4 * c4, c5], 1, 1);
        let dark5 = self.stage(&dark(5, 2), &x, [c5, c5], DEPTH, false);

        // Down to fine cells, and up again.
        let lateral = self.unit("backbone.lateral_conv0", &dark5, [c5, c4], 1, 1);
        let x = self
            .line(format!("torch.cat([torch.upsample_nearest2d({lateral}, None, [2.0, 2.0]), {dark4}], 1)"));
        let x = self.stage("backbone.C3_p4", &x, [2 * c4, c4], DEPTH, false);
        let reduced = self.unit("backbone.reduce_conv1", &x, [c4, c3], 1, 1);
        let x = self
            .line(format!("torch.cat([torch.upsample_nearest2d({reduced}, None, [2.0, 2.0]), {dark3}], 1)"));
        let fine = self.stage("backbone.C3_p3", &x, [2 * c3, c3], DEPTH, false);
        let x = self.unit("backbone.bu_conv2", &fine, [c3, c3], 3, 2);
        let x = self.line(format!("torch.cat([{x}, {reduced}], 1)"));
        let middle = self.stage("backbone.C3_n3", &x, [2 * c3, c4], DEPTH, false);
        let x = self.unit("backbone.bu_conv1", &middle, [c4, c4], 3, 2);
        let x = self.line(format!("torch.cat([{x}, {lateral}], 1)"));
        let coarse = self.stage("backbone.C3_n4", &x, [2 * c4, c5], DEPTH, false);

        let levels: Vec<String> = [(fine, c3), (middle, c4), (coarse, c5)]
            .into_iter()
            .enumerate()
            .map(|(level, (x, channels))| self.head(level, &x, channels))
            .collect();
        writeln!(self.text, "    prediction = torch.cat([{}], 1)", levels.join(", "))
            .expect("a string takes it");
    }

    fn head(&mut self, level: usize, x: &str, channels: i64) -> String {
        let width = 4 * WIDTH;
        let x = self.unit(&format!("head.stems.{level}"), x, [channels, width], 1, 1);
        let mut branch = |name: &str| {
            let y = self.unit(&format!("head.{name}.{level}.0"), &x, [width, width], 3, 1);
            self.unit(&format!("head.{name}.{level}.1"), &y, [width, width], 3, 1)
        };
        let (kind, place) = (branch("cls_convs"), branch("reg_convs"));
        let mut last = |name: &str, x: &str, outputs| {
            self.convolution(&format!("head.{name}.{level}"), x, [width, outputs], 1, 1, true)
        };
        let kind = last("cls_preds", &kind, CLASSES);
        let [bounds, object] = [("reg_preds", 4), ("obj_preds", 1)].map(|(name, n)| last(name, &place, n));
        let all = format!("torch.cat([{bounds}, torch.sigmoid({object}), torch.sigmoid({kind})], 1)");
        self.line(format!("torch.flatten({all}, 2).permute(0, 2, 1)"))
    }
}

/// `a.0.b` of the module, in TorchScript: `getattr(self.a, "0").b`.
fn attribute(name: &str) -> String {
    name.split('.').fold("self".into(), |of, part| match part.parse::<usize>() {
        Ok(_) => format!("getattr({of}, \"{part}\")"),
        Err(_) => format!("{of}.{part}"),
    })
}
