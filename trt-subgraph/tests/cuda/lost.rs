//! A device that does no more work.

use super::{compiled, gpu};
use trt_subgraph::backend::{Io, RunError, Stream};
use trt_subgraph::network::expr::Unary;
use trt_subgraph::network::{Builder, Expr, LayerKind};
use trt_subgraph::{DType, TensorType};

/// In the environment of a process of this program that is to lose its device.
const LOSES: &str = "LOSES_ITS_DEVICE";

/// A kernel that reads where no memory is ends the device's work in its process, so another one does it.
#[test]
fn a_lost_device_is_told_from_a_failed_call() {
    let Some(_) = gpu() else { return };
    let run = |blocking: &str| {
        let program = std::env::current_exe().expect("this program");
        let arguments = ["lost::loses_its_device_when_asked", "--exact", "--nocapture"];
        let mut command = std::process::Command::new(program);
        let out = command.args(arguments).env(LOSES, "1").env("CUDA_LAUNCH_BLOCKING", blocking).output();
        String::from_utf8_lossy(&out.expect("starts").stdout).into_owned()
    };
    let told = run("0");
    assert!(told.contains("lost: ") && told.contains("does no more work"), "{told}");
    let told = run("1");
    assert!(told.contains("lost: ") && told.contains("the one at fault"), "{told}");
}

/// Does nothing by itself: see above.
#[test]
fn loses_its_device_when_asked() {
    if std::env::var_os(LOSES).is_none() {
        return;
    }
    let Some(_) = gpu() else { return };
    let mut b = Builder::new();
    let x = b.input(TensorType::new(DType::F32, [4]));
    b.set_origin("the one at fault");
    let y = b.add(LayerKind::Pointwise(Expr::unary(Unary::Exp)), &[x]).expect("well typed");
    let mut engine = compiled(&b.finish(vec![y]), &[]).expect("compiles");
    let nowhere = 0x1000 as *mut u8;
    // A busy device gets to it late.
    for _ in 0..100 {
        let io = Io { inputs: &[nowhere], outputs: &[nowhere] };
        // SAFETY: the addresses are none, which the device finds out; nothing else is done in this process.
        let result = unsafe { engine.run(&io, Stream::NONE) };
        if let Err(error @ RunError::Lost(_)) = result {
            println!("lost: {error}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
