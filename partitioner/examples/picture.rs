//! Draws the partition of a small network with operators that no engine runs:
//! `cargo run -p partitioner --example picture > partition.svg`; the report goes to standard error.

use partitioner::{
    Code, Cost, Crossing, FlowGraph, GraphError, Node, Policy, Report, Role, ValueId, Verdict, partition,
    picture,
};

struct Net(FlowGraph);

impl Net {
    fn call(
        &mut self,
        name: &str,
        reads: &[ValueId],
        shape: [usize; 4],
        mega: f64,
    ) -> Result<ValueId, GraphError> {
        let bytes = 4.0 * shape.iter().product::<usize>() as f64;
        let refused = Verdict::refuse(Code::NoSuchOp, format!("{name} is unknown to every backend"));
        let view = matches!(name, "aten::flatten" | "aten::permute");
        let node = self.0.add(Node {
            name: name.into(),
            place: format!("detector.py:{}", 20 + self.0.len()),
            verdict: if name.starts_with("torchvision::") { refused } else { Verdict::Accept },
            role: if view { Role::Free } else { Role::Compute },
            kernels: 1,
            cost: Cost { operations: mega * 1e6, bytes: bytes * (1.0 + reads.len() as f64) },
            effect: false,
        });
        reads.iter().try_for_each(|&value| self.0.read(node, value))?;
        let [n, c, h, w] = shape;
        self.0.produce(node, Crossing::Free, bytes, format!("f32[{n},{c},{h},{w}]"))
    }

    fn block(&mut self, x: ValueId, shape: [usize; 4]) -> Result<ValueId, GraphError> {
        let mut y = self.call("aten::conv2d", &[x], shape, 115.0)?;
        y = self.call("aten::batch_norm", &[y], shape, 0.4)?;
        y = self.call("aten::relu", &[y], shape, 0.2)?;
        y = self.call("aten::conv2d", &[y], shape, 115.0)?;
        y = self.call("aten::add", &[y, x], shape, 0.2)?;
        self.call("aten::relu", &[y], shape, 0.2)
    }
}

fn main() -> Result<(), GraphError> {
    let mut net = Net(FlowGraph::new());
    let image = net.0.input(Crossing::Free, 602_112.0, "f32[1,3,224,224]");
    let mut x = net.call("aten::conv2d", &[image], [1, 64, 112, 112], 236.0)?;
    x = net.call("aten::relu", &[x], [1, 64, 112, 112], 0.8)?;
    x = net.call("aten::max_pool2d", &[x], [1, 64, 56, 56], 1.8)?;
    x = net.block(x, [1, 64, 56, 56])?;
    let features = net.block(x, [1, 64, 56, 56])?;
    let scores = net.call("aten::conv2d", &[features], [1, 12, 56, 56], 4.8)?;
    let scores = net.call("aten::sigmoid", &[scores], [1, 12, 56, 56], 0.2)?;
    let boxes = net.call("aten::conv2d", &[features], [1, 48, 56, 56], 19.0)?;
    let scores = net.call("aten::flatten", &[scores], [1, 1, 1, 37_632], 0.0)?;
    let kept = net.call("torchvision::nms", &[scores, boxes], [1, 1, 100, 4], 0.1)?;
    let regions = net.call("torchvision::roi_align", &[features, kept], [100, 64, 7, 7], 5.0)?;
    let mut y = net.call("aten::flatten", &[regions], [1, 1, 100, 3136], 0.0)?;
    y = net.call("aten::linear", &[y], [1, 1, 100, 256], 160.0)?;
    y = net.call("aten::relu", &[y], [1, 1, 100, 256], 0.1)?;
    y = net.call("aten::linear", &[y], [1, 1, 100, 21], 1.1)?;
    y = net.call("aten::softmax", &[y], [1, 1, 100, 21], 0.1)?;
    net.0.escape(y)?;
    net.0.escape(kept)?;
    let partition = partition(&net.0, &Policy::cpu());
    eprintln!("{}", Report::new(&net.0, &partition));
    println!("{}", picture(&net.0, &partition, "A detector under USE_TRT=1"));
    Ok(())
}
