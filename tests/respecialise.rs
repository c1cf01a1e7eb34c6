//! What it costs to meet a new batch: the engine of ResNet-50 at full size for another number of images is built beside the first one.

use std::fmt::Write;
use std::time::{Duration, Instant};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::report::{ShapeReport, State};
use tch_bridge::{Options, TrtModule};
use tests::{assert_close, engines_on};

/// No batch may take longer to build for.
const LIMIT: Duration = Duration::from_millis(300);

/// TorchScript of a residual network, written layer by layer, and its weights.
#[derive(Default)]
struct Resnet {
    source: String,
    attributes: Vec<(String, Initial)>,
}

impl Resnet {
    /// ResNet-50: bottlenecks of 3, 4, 6 and 3.
    fn bottlenecks() -> Resnet {
        let mut net = Resnet { source: "def forward(self, x):\n".to_string(), ..Resnet::default() };
        net.convolution("x = torch.relu(", "x", [3, 64, 7, 2]);
        net.line("x = torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])");
        let mut inner = 64;
        for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
            let width = 64 << stage;
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                net.convolution("y = torch.relu(", "x", [inner, width, 1, 1]);
                net.convolution("y = torch.relu(", "y", [width, width, 3, stride]);
                net.convolution("y = (", "y", [width, 4 * width, 1, 1]);
                if block == 0 {
                    net.convolution("x = (", "x", [inner, 4 * width, 1, stride]);
                }
                net.line("x = torch.relu(y + x)");
                inner = 4 * width;
            }
        }
        net.line("x = torch.flatten(torch.adaptive_avg_pool2d(x, [1, 1]), 1)");
        let weight = net.attribute(Initial::Parameter(floats(&[1000, inner]) * 0.02));
        net.line(&format!("return torch.linear(x, {weight})"));
        net
    }

    /// A convolution of `[from, to, kernel, stride]` and its norm.
    fn convolution(&mut self, before: &str, of: &str, [from, to, kernel, stride]: [i64; 4]) {
        let scale = (2.0 / (from * kernel * kernel) as f64).sqrt();
        let weight = self.attribute(Initial::Parameter(floats(&[to, from, kernel, kernel]) * scale));
        let norm = [floats(&[to]) * 0.1 + 1.0, floats(&[to]), floats(&[to]), floats(&[to]).abs() + 0.5];
        let [gain, bias, mean, var] = norm.map(|t| self.attribute(Initial::Buffer(t)));
        let padding = kernel / 2;
        self.line(&format!(
            "{before}torch.batch_norm(torch.conv2d({of}, {weight}, None, [{stride}, {stride}], [{padding}, {padding}]), {gain}, {bias}, {mean}, {var}, False, 0.1, 1e-5, False))"
        ));
    }

    fn line(&mut self, text: &str) {
        writeln!(self.source, "    {text}").expect("a string takes it");
    }

    fn attribute(&mut self, value: Initial) -> String {
        let name = format!("a{}", self.attributes.len());
        let read = format!("self.{name}");
        self.attributes.push((name, value));
        read
    }

    fn module(&self) -> Module {
        let attributes: Vec<(&str, Initial)> =
            self.attributes.iter().map(|(n, v)| (&**n, shared(v))).collect();
        Module::from_source(&self.source, &attributes).expect("the source compiles")
    }
}

fn shared(value: &Initial) -> Initial {
    match value {
        Initial::Parameter(t) => Initial::Parameter(t.shallow_clone()),
        Initial::Buffer(t) => Initial::Buffer(t.shallow_clone()),
        Initial::Value(_) => unreachable!("a network of tensors"),
    }
}

fn floats(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

/// The shapes of the only engine, newest first.
fn shapes(module: &TrtModule) -> Vec<ShapeReport> {
    let report = module.report();
    let [method] = &report.methods[..] else { panic!("one form\n{report}") };
    let State::Divided { engines, .. } = &method.state else { panic!("engines\n{report}") };
    let [engine] = &engines[..] else { panic!("one engine\n{report}") };
    engine.shapes.clone()
}

#[test]
#[ignore = "measures a machine that does nothing else: cargo test --release --workspace --test respecialise -- --ignored --nocapture"]
fn resnet_50_meets_a_new_batch() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);
    let network = Resnet::bottlenecks();
    let host = network.module().method("forward").expect("it is defined");
    let module =
        TrtModule::wrap(network.module().to_cmodule(), &Options::waiting()).expect("it can be wrapped");
    for batch in [1, 2, 8, 4, 3, 16, 5] {
        let x = floats(&[batch, 3, 224, 224]);
        let timed = || {
            let start = Instant::now();
            (module.forward_ts(&[&x]).expect("it runs"), start.elapsed())
        };
        let (found, with_build) = timed();
        let plain = timed().1.min(timed().1);
        let Ok(IValue::Tensor(want)) = host.run(&[IValue::Tensor(x)]) else { panic!("the host runs it") };
        assert_close(&found, &want);
        let newest = shapes(&module).remove(0);
        let more = with_build.saturating_sub(plain);
        println!(
            "batch {batch}: the first call takes {more:.1?} more than the next ones ({plain:.1?}); building {:.1?}, weights {}",
            newest.build,
            if newest.shares_weights { "shared" } else { "packed" }
        );
        if batch > 1 {
            assert!(newest.shares_weights, "weights are packed once\n{}", module.report());
            assert!(more < LIMIT, "{more:?}");
        }
    }
}
