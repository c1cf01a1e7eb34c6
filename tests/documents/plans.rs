//! What goes wrong with plans and with networks by hand.

use super::Scratch;
use trt_subgraph::backend::CompileOptions;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::reference::Reference;
use trt_subgraph::define::Definition;
use trt_subgraph::plan::Plan;
use trt_subgraph::session::Session;
use trt_subgraph::{DType, Literal, TensorType};

/// The rows of `table[2, 3]` at `row[2]`.
fn rows() -> Definition {
    let mut n = Definition::new();
    let row = n.input("row", DType::I64, &[2]).expect("the name is free");
    let value = Literal::from_f64(TensorType::new(DType::F32, [2, 3]), (0..6).map(f64::from));
    let table = n.weight("table", value.expect("six elements")).expect("the name is free");
    let found = n.gather(table, row, 0).expect("it fits");
    n.output("found", found).expect("the name is free");
    n
}

/// The messages.
pub fn errors() -> Vec<String> {
    let options = CompileOptions::default();
    let plan = rows().build(&Reference, &options).expect("it makes a plan");
    let bytes: Vec<u8> = plan.bytes().to_vec();
    let changed = |at: usize, by: u8| {
        let mut other = bytes.clone();
        other[at] ^= by;
        Plan::from_bytes(other).expect_err("it is not what was written").to_string()
    };
    let file =
        Scratch::new("text.plan", b"<!doctype html> of more than eight bytes, and of more than 32 too");
    let bare = plan.prepared(&Cpu, &options, false);
    let bare = Plan::from_bytes(bare.expect("it can be prepared")).expect("it is one");
    let other = vec![Literal::scalar(DType::F32, 0.0)];
    let mut session = Session::new(&plan, &Reference, &options).expect("the reference runs everywhere");
    let positions = |at: [i64; 2]| Literal::from_i64(TensorType::new(DType::I64, [2]), at).expect("two");
    session.set("row", &positions([0, 7])).expect("it fits");
    let mut narrow = Definition::new();
    let x = narrow.input("x", DType::F32, &[64, 64]).expect("the name is free");
    let squared = narrow.matmul(x, x).and_then(|y| narrow.softmax(y, 1)).and_then(|y| narrow.matmul(y, x));
    narrow.output("y", squared.expect("it fits")).expect("the name is free");
    narrow.workspace_limit(64);
    let twice = rows().input("row", DType::F32, &[1]).expect_err("the name is taken");
    vec![
        Plan::open("no/such/model.plan").expect_err("it is not there").to_string(),
        Plan::open(&file.0).expect_err("it is text").to_string(),
        changed(8, 0x40),
        changed(bytes.len() - 1, 1),
        Plan::from_bytes(bytes[..bytes.len() - 64].to_vec()).expect_err("its end is missing").to_string(),
        bare.engine(&Reference, &options).err().expect("it has no weights").to_string(),
        plan.engine_with(&Reference, &options, &other).err().expect("it is a number").to_string(),
        session.set("column", &positions([0, 0])).expect_err("there is no such input").to_string(),
        session.set("row", &Literal::scalar(DType::F32, 0.0)).expect_err("it is a number").to_string(),
        session.run().expect_err("there is no row 7").to_string(),
        twice.to_string(),
        narrow.build(&Cpu, &options).expect_err("it needs some").to_string(),
    ]
}
