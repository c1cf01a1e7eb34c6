//! Plans in shared memory: one copy of the weights for many processes, whatever happens to those.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use trt_subgraph::backend::Backend;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::network::Network;
use trt_subgraph::plan::{Plan, PlanError, Recipe, share, unshare};
use trt_subgraph::session::Session;
use trt_subgraph::{Literal, Random};

/// What a test's child process is to do: `reader NAME`.
const TASK: &str = "TRT_SHARES_TASK";

/// A plan of two products with `2 * n * n` weights, and its engine.
fn plan(n: usize, with_weights: bool) -> Plan {
    let text = format!(
        "input %x: f32[2,{n}]\nparam \"a\": f32[{n},{n}]\nparam \"b\": f32[{n},{n}]\n%a: f32[{n},{n}] = parameter 0\n\
         %b: f32[{n},{n}] = parameter 1\n%y = matmul(%x, %a)\n%z = matmul(%y, %b)\noutput %z"
    );
    let network = Network::parse(&text).unwrap();
    let mut random = Random::new(1);
    let weights: Vec<Literal> =
        network.parameters.iter().map(|p| random.literal_in(p.ty.clone(), -0.1, 0.1)).collect();
    let plan = Plan::from_bytes(Recipe::new(&network, &weights).to_bytes().unwrap()).unwrap();
    Plan::from_bytes(plan.prepared(&Cpu, plan.options(), with_weights).unwrap()).unwrap()
}

/// Removes the name whatever becomes of the test.
struct Name(String);

impl Name {
    fn new(what: &str) -> Name {
        Name(format!("test-{what}-{}", std::process::id()))
    }

    fn file(&self) -> String {
        format!("/dev/shm/trt-plan-{}", self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        drop(unshare(&self.0));
    }
}

fn run(plan: &Plan) -> Literal {
    let mut session = Session::new(plan, &Cpu, plan.options()).unwrap();
    session.set("input0", &Random::new(2).literal(plan.inputs()[0].ty.clone())).unwrap();
    session.run().unwrap();
    session.get("output0").unwrap()
}

fn spawn(task: &str, name: &Name) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(TASK, format!("{task} {}", name.0));
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// The first line of a child that begins with `word`, without it.
fn line(child: &mut Child, word: &str) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|l| l.unwrap());
    let found = lines.find_map(|l| l.split_once(word).map(|(_, rest)| rest.trim().to_string()));
    found.unwrap_or_else(|| panic!("the child said no '{word}'"))
}

/// KiB of memory that no other process shares.
fn private() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let field = |l: &str| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    text.lines().filter(|l| l.starts_with("Private_")).map(field).sum()
}

/// Not a test of its own: what the children of the others do.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (task, name) = task.split_once(' ').unwrap();
    match task {
        "reader" => {
            drop(run(&plan(16, true)));
            let before = private();
            let plan = Plan::open_shared(name).unwrap();
            let start = Instant::now();
            let mut session = Session::new(&plan, &Cpu, plan.options()).unwrap();
            let made = start.elapsed();
            session.set("input0", &Random::new(2).literal(plan.inputs()[0].ty.clone())).unwrap();
            session.run().unwrap();
            let sum: f64 = session.get("output0").unwrap().to_f64().iter().sum();
            println!("reader: {} {} {sum:?}", private().saturating_sub(before), made.as_micros());
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => panic!("unknown task {task}"),
    }
}

fn available() -> bool {
    Cpu.probe().is_ok()
}

#[test]
fn a_second_process_adds_next_to_nothing() {
    if !available() {
        return;
    }
    const N: usize = 2048;
    let name = Name::new("second");
    share(&name.0, &plan(N, false), 0o600).unwrap();
    let mode = std::fs::metadata(name.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // This process is the first.
    let first = Plan::open_shared(&name.0).unwrap();
    let expected: f64 = run(&first).to_f64().iter().sum();
    let mut reader = spawn("reader", &name);
    let said = line(&mut reader, "reader:");
    let mut words = said.split_whitespace();
    let (kib, micros): (u64, u64) =
        (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap());
    let weights = 2 * N * N * 4 / 1024;
    println!(
        "the second process adds {kib} KiB of its own to {weights} KiB of weights; its engine took {micros} us"
    );
    assert!(kib < weights as u64 / 10, "{kib} KiB of {weights}");
    assert!(micros < 50_000, "{micros} us");
    assert_eq!(words.next().unwrap().parse::<f64>().unwrap(), expected);
    // A reader that is killed takes nothing along.
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert_eq!(run(&Plan::open_shared(&name.0).unwrap()).to_f64().iter().sum::<f64>(), expected);
    unshare(&name.0).unwrap();
    assert_eq!(run(&first).to_f64().iter().sum::<f64>(), expected, "who maps it keeps it");
    assert!(matches!(Plan::open_shared(&name.0).unwrap_err(), PlanError::Io { .. }));
}

#[test]
fn half_a_segment_is_refused_and_makes_way_when_its_writer_is_gone() {
    if !available() {
        return;
    }
    let name = Name::new("half");
    let small = plan(16, true);
    share(&name.0, &small, 0o640).unwrap();
    assert_eq!(std::fs::metadata(name.file()).unwrap().permissions().mode() & 0o777, 0o640);
    let whole = std::fs::read(name.file()).unwrap();
    let again = share(&name.0, &small, 0o600).unwrap_err().to_string();
    assert!(again.contains("unshare it first"), "{again}");

    // As a writer leaves it that dies before the end: its process is this one, which lives, or one that does not.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    for (writer, makes_way) in [(std::process::id(), false), (gone.id(), true)] {
        for length in [64, whole.len() / 2, whole.len()] {
            let mut half = whole[..length].to_vec();
            half[8..16].fill(0);
            half[24..32].copy_from_slice(&u64::from(writer).to_le_bytes());
            std::fs::write(name.file(), &half).unwrap();
            let refused = Plan::open_shared(&name.0).unwrap_err().to_string();
            assert!(refused.contains("being written"), "{refused}");
            assert_eq!(share(&name.0, &small, 0o600).is_ok(), makes_way, "writer {writer}");
        }
    }
    // It died before it wrote anything.
    for length in [0, 10, 64] {
        std::fs::write(name.file(), &[0; 64][..length]).unwrap();
        let refused = Plan::open_shared(&name.0).unwrap_err().to_string();
        assert!(refused.contains("or was until its writer died"), "{refused}");
        share(&name.0, &small, 0o600).unwrap();
    }
    // Complete by its own words, but not whole; and something else altogether.
    let mut short = whole[..whole.len() - 8].to_vec();
    std::fs::write(name.file(), &short).unwrap();
    let (found, expected) = (short.len() as u64, whole.len() as u64);
    assert_eq!(Plan::open_shared(&name.0).unwrap_err(), PlanError::Truncated { found, expected });
    short.fill(b'x');
    std::fs::write(name.file(), &short).unwrap();
    assert_eq!(Plan::open_shared(&name.0).unwrap_err(), PlanError::NotAPlan);
    std::fs::write(name.file(), &whole).unwrap();
    assert_eq!(Plan::open_shared(&name.0).unwrap().network(), small.network());
}

#[test]
fn names_are_plain() {
    for name in ["", "a/b", "../x", "a b", &"n".repeat(201)] {
        assert!(matches!(unshare(name).unwrap_err(), PlanError::Io { .. }));
        assert!(matches!(Plan::open_shared(name).unwrap_err(), PlanError::Io { .. }));
    }
}
