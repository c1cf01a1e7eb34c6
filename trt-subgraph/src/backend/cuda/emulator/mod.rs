//! Programs on an emulated device: what kernels compute, checked where there is no GPU.
//!
//! Kernels are translated by the host's C++ compiler (`CXX`, else `c++`). No library's way is emulated, and neither are races: threads of
//! a block take turns at barriers only.

mod bulk_copies;
mod chains;
mod checksums;
mod gates;
mod parts;
mod runs;
mod stems;
mod tensor_cores;
mod tests;

use super::assemble::Assembler;
use super::boxes::{Boxes, Shape};
use super::program::{Action, Program, Source};
use super::render::{TENSOR, module};
use super::tactic::Choice;
use super::target::Target;
use crate::Literal;
use crate::network::Network;
use libloading::os::unix::Library;
use std::ffi::c_void;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of its own for each test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("trt-emulator-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program's kernels as host code.
fn translate(program: &Program, folder: &Folder) -> Library {
    let kernels = program.kernels.iter().enumerate().map(|(at, (k, origins))| (at, k, &origins[..]));
    let mut text = module(kernels).replace(TENSOR, include_str!("tensor.h"));
    for (ours, theirs) in [
        (r#"asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits))"#, "r = device::from_f16(v.bits)"),
        (r#"asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v))"#, "r = device::to_f16(v)"),
        (r#"asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v))"#, "r = device::to_bf16(v)"),
        (r#"asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v))"#, "r = exp2f(v)"),
        (r#"asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v))"#, "r = 1.0f / v"),
        (r#"asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b))"#, "r = device::larger(a, b)"),
        (r#"asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b))"#, "r = device::smaller(a, b)"),
    ] {
        assert!(text.contains(ours), "the prelude has {ours}");
        text = text.replace(ours, theirs);
    }
    let launcher = |(at, (kernel, _)): (usize, &(super::render::Kernel, Vec<String>))| {
        let arguments = "(void** arguments, unsigned blocks, unsigned threads, unsigned cluster)";
        let name = kernel.name(at);
        format!(
            "extern \"C\" void launch_{at}{arguments} {{ device::launch({name}, arguments, blocks, threads, cluster); }}\n"
        )
    };
    let launchers: String = program.kernels.iter().enumerate().map(launcher).collect();
    let (source, library) = (folder.0.join("kernels.cpp"), folder.0.join("kernels.so"));
    std::fs::write(&source, format!("{}\n{text}\n{launchers}", include_str!("device.h"))).expect("writes");
    let compiler = std::env::var("CXX").ok().filter(|c| !c.is_empty()).unwrap_or("c++".to_string());
    let options = ["-std=c++17", "-O1", "-w", "-ffp-contract=off", "-shared", "-fPIC"];
    let run = Command::new(compiler).args(options).arg("-o").arg(&library).arg(&source).output();
    let run = run.expect("a C++ compiler");
    assert!(run.status.success(), "{}\n{text}", String::from_utf8_lossy(&run.stderr));
    // SAFETY: what was just compiled; it has no initialisers.
    unsafe { Library::open(Some(&library), libloading::os::unix::RTLD_NOW) }.expect("it loads")
}

/// Memory of the emulated device, aligned as the real one's.
struct Memory(Vec<u128>);

impl Memory {
    fn new(bytes: usize) -> Memory {
        Memory(vec![u128::MAX; bytes.div_ceil(16) + 16])
    }

    fn holding(bytes: &[u8]) -> Memory {
        let mut out = Memory::new(bytes.len());
        // SAFETY: there is room for them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.address(), bytes.len()) };
        out
    }

    fn address(&mut self) -> *mut u8 {
        let start = self.0.as_mut_ptr().cast::<u8>();
        start.wrapping_add(start.align_offset(256))
    }
}

/// Runs a program whose slots lie where `place` says.
fn run(program: &Program, mut place: impl FnMut(&Source) -> *mut u8) {
    program.check().expect("a sound program");
    if program.kernels.is_empty() {
        return;
    }
    let folder = Folder::new();
    let library = translate(program, &folder);
    let mut arena = Memory::new(program.arena);
    let slots: Vec<*mut u8> = (program.slots.iter().zip(&program.offsets))
        .map(|(slot, offset)| match slot {
            Source::Arena(_) => arena.address().wrapping_add(*offset),
            other => place(other),
        })
        .collect();
    type Launch = unsafe extern "C" fn(*mut *mut c_void, u32, u32, u32);
    for step in &program.steps {
        let Action::Launch(launch) = &step.action else { panic!("{} is a library's", step.origin) };
        let boxes: Vec<Option<Vec<i64>>> = step
            .arguments
            .iter()
            .map(|a| Some(numbers(a.boxes.as_ref()?, slots[a.slot.0 as usize].wrapping_offset(a.offset))))
            .collect();
        let mut boxes = boxes.iter();
        let address = |a: &super::render::Argument| {
            let address = slots[a.slot.0 as usize].wrapping_offset(a.offset);
            assert!((address as usize).is_multiple_of(a.alignment), "{}: misaligned", step.origin);
            match boxes.next().expect("one for each argument") {
                Some(numbers) => numbers.as_ptr().cast_mut().cast(),
                None => address.cast(),
            }
        };
        let mut arguments: Vec<*mut c_void> = step.arguments.iter().map(address).collect();
        let name = format!("launch_{}\0", launch.kernel);
        // SAFETY: the launcher has this type, and the kernel as many parameters as there are arguments.
        unsafe {
            let function = library.get::<Launch>(name.as_bytes()).expect("a launcher for each kernel");
            function(arguments.as_mut_ptr(), launch.grid[0], launch.threads, launch.cluster);
        }
    }
}

/// A tensor as `Boxes` of the emulated device has it: address, axes, sizes, steps in bytes, then what one copy moves.
fn numbers(boxes: &Boxes, address: *mut u8) -> Vec<i64> {
    let mut out = vec![address as i64, boxes.sizes.len() as i64];
    out.extend(boxes.sizes.iter().map(|&n| n as i64));
    out.push(boxes.dtype.size() as i64);
    out.extend(boxes.strides.iter().map(|&n| n as i64));
    match &boxes.shape {
        Shape::Box(extents) => out.extend(extents.iter().map(|&n| i64::from(n))),
        Shape::Windows { corners, steps, places } => {
            out.extend(corners.iter().flatten().map(|&n| i64::from(n)));
            out.extend(steps.iter().chain([places]).map(|&n| i64::from(n)));
        }
    }
    out
}

/// The outputs of a network on the emulated device.
pub fn evaluate(
    network: &Network,
    parameters: &[Literal],
    inputs: &[Literal],
    choice: Choice,
) -> Vec<Literal> {
    evaluate_on(Target { capability: 90, multiprocessors: 132 }, network, parameters, inputs, choice).0
}

/// The same on a device of this kind, and the program that ran.
pub fn evaluate_on(
    target: Target,
    network: &Network,
    parameters: &[Literal],
    inputs: &[Literal],
    choice: Choice,
) -> (Vec<Literal>, Program) {
    let split = super::split(network);
    let (program, wanted) = Assembler::new(&split.run, target, choice).run().expect("assembles");
    let mut weights = Memory::new(wanted.bytes);
    let prepare = Assembler::new(&split.prepare, target, Choice::First).prepare(wanted).expect("assembles");
    let mut fault = Memory::holding(&[0; 24]);
    let mut held: Vec<Memory> = Vec::new();
    run(&prepare, |slot| {
        let literal = match slot {
            Source::Weights => return weights.address(),
            Source::Fault => return fault.address(),
            Source::Parameter(i) => &parameters[*i],
            Source::Constant(literal) => literal,
            _ => panic!("prepare has no inputs and outputs"),
        };
        held.push(Memory::holding(literal.bytes()));
        held.last_mut().expect("pushed").address()
    });
    let mut from: Vec<Memory> = inputs.iter().map(|l| Memory::holding(l.bytes())).collect();
    let types: Vec<_> = network.outputs.iter().map(|&v| network.ty(v).clone()).collect();
    let mut to: Vec<Memory> = types.iter().map(|ty| Memory::new(ty.bytes())).collect();
    run(&program, |slot| match slot {
        Source::Weights => weights.address(),
        Source::Fault => fault.address(),
        Source::Input(i) => from[*i].address(),
        Source::Output(i) => to[*i].address(),
        _ => panic!("run has no parameters and constants"),
    });
    let read = |(ty, memory): (crate::TensorType, &mut Memory)| {
        // SAFETY: the output has that many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(memory.address(), ty.bytes()) };
        Literal::from_bytes(ty, bytes).expect("as many bytes")
    };
    (types.into_iter().zip(&mut to).map(read).collect(), program)
}
