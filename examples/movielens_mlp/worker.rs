//! Processes that serve: each maps the engine in shared memory, and answers batches that come through a pipe. A worker calls no
//! libtorch.

use crate::network::{BEST, USERS};
use anyhow::{Context, Result};
use std::io::{self, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use trt_subgraph::backend::{Backend, choose};
use trt_subgraph::plan::Plan;
use trt_subgraph::session::Session;

/// The users and items of a batch, as many as pairs.
pub struct Batch {
    /// Users, each beside an item.
    pub user: Vec<i64>,
    /// Items.
    pub item: Vec<i64>,
}

/// What the engine makes of a batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The best items of each user, best first.
    pub recommended: Vec<i64>,
    /// Their scores.
    pub best: Vec<f32>,
    /// How long the call took: ids in, engine, results out.
    pub time: Duration,
}

/// `TRT_BACKEND`, or the fastest here.
pub fn backend() -> Result<&'static dyn Backend> {
    let name = std::env::var("TRT_BACKEND").ok().filter(|name| !name.is_empty());
    Ok(choose(name.as_deref().unwrap_or("auto"))?)
}

/// One batch through an engine.
pub fn answer(session: &mut Session, batch: &Batch) -> Result<Answer> {
    let start = Instant::now();
    for (name, ids) in [("user", &batch.user), ("item", &batch.item)] {
        let bytes = session.input_mut(name)?.chunks_exact_mut(8);
        bytes.zip(ids).for_each(|(to, id)| to.copy_from_slice(&id.to_ne_bytes()));
    }
    session.run()?;
    let recommended = numbers(session.output("recommended")?, i64::from_ne_bytes);
    let best = numbers(session.output("best")?, f32::from_ne_bytes);
    Ok(Answer { recommended, best, time: start.elapsed() })
}

/// Numbers from their bytes.
pub fn numbers<T, const N: usize>(bytes: &[u8], number: fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|b| number(b.try_into().expect("chunks of N bytes"))).collect()
}

/// What a worker does: engine from the shared memory of this name, then an answer for each batch on standard input, until that ends.
pub fn serve(name: &str) -> Result<()> {
    let start = Instant::now();
    let plan = Plan::open_shared(name)?;
    let mut session = Session::new(&plan, backend()?, plan.options())?;
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    send(&mut to, start.elapsed())?;
    let pairs = plan.inputs()[0].ty.elements();
    let mut bytes = vec![0; 2 * 8 * pairs];
    loop {
        match from.read_exact(&mut bytes) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut ids = numbers(&bytes, i64::from_ne_bytes);
        let item = ids.split_off(pairs);
        let Answer { recommended, best, time } = answer(&mut session, &Batch { user: ids, item })?;
        for id in recommended {
            to.write_all(&id.to_ne_bytes())?;
        }
        for score in best {
            to.write_all(&score.to_ne_bytes())?;
        }
        send(&mut to, time)?;
    }
}

fn send(to: &mut impl Write, time: Duration) -> io::Result<()> {
    to.write_all(&(time.as_nanos() as u64).to_ne_bytes())?;
    to.flush()
}

/// The other end: a process that serves.
pub struct Worker {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    /// How long it took to map the engine and make it ready.
    pub ready: Duration,
}

impl Worker {
    /// Starts one on the shared memory of this name.
    pub fn start(name: &str) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(["serve", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().expect("it is piped");
        let from = child.stdout.take().expect("it is piped");
        let mut worker = Worker { child, to, from, ready: Duration::ZERO };
        worker.ready = worker.time().context("the worker did not become ready")?;
        Ok(worker)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it answer a batch.
    pub fn ask(&mut self, batch: &Batch) -> Result<Answer> {
        let ids = batch.user.iter().chain(&batch.item);
        self.to.write_all(&ids.flat_map(|id| id.to_ne_bytes()).collect::<Vec<u8>>())?;
        let mut bytes = [0; 8 * USERS * BEST];
        self.from.read_exact(&mut bytes).context("the worker ended early")?;
        let recommended = numbers(&bytes, i64::from_ne_bytes);
        let bytes = &mut bytes[..4 * USERS * BEST];
        self.from.read_exact(bytes)?;
        let best = numbers(bytes, f32::from_ne_bytes);
        Ok(Answer { recommended, best, time: self.time()? })
    }

    fn time(&mut self) -> io::Result<Duration> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes)?;
        Ok(Duration::from_nanos(u64::from_ne_bytes(bytes)))
    }

    /// Ends it.
    pub fn end(self) -> Result<()> {
        let Worker { mut child, to, .. } = self;
        drop(to);
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "a worker failed: {status}");
        Ok(())
    }
}
