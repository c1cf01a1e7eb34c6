//! Real models, with and without engines: do they agree, how far is each from a float64 run, and what stayed on the host?
//!
//! `parity [--json FILE] [--load LIBRARY]... MODEL.pt...` wants beside each `MODEL.pt` a `MODEL.inputs.pt` whose `forward` gives
//! the arguments as a tuple; its method `others`, if there is one, gives arguments of other sizes. Each model runs in a process of
//! its own, so that a crash is an outcome like any other. Results of earlier runs stay in the JSON file unless they are of the same
//! model. `--load` opens libraries that register operators of the models. The exit code is 1 when a model does not agree.

mod examine;
mod outcome;

use anyhow::{Context, Result, bail};
use outcome::{Outcome, Verdict};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// No model of the suite takes as long.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Default)]
struct Arguments {
    json: Option<PathBuf>,
    libraries: Vec<String>,
    one: bool,
    models: Vec<PathBuf>,
}

fn arguments() -> Result<Arguments> {
    let mut out = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--json" => out.json = Some(given.next().context("--json names no file")?.into()),
            "--load" => out.libraries.push(given.next().context("--load names no library")?),
            "--one" => out.one = true,
            option if option.starts_with("--") => bail!("{option} is no option"),
            model => out.models.push(model.into()),
        }
    }
    if out.models.is_empty() {
        bail!("parity [--json FILE] [--load LIBRARY]... MODEL.pt...");
    }
    Ok(out)
}

fn main() -> Result<ExitCode> {
    env_logger::init();
    let arguments = arguments()?;
    if arguments.one {
        let _libraries = load(&arguments.libraries)?;
        println!("{}", serde_json::to_string(&examine::examine(&arguments.models[0]))?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut all = read(arguments.json.as_deref())?;
    let mut good = true;
    for model in &arguments.models {
        let outcome = examine_apart(model, &arguments.libraries)?;
        println!("{outcome}");
        good &= outcome.verdict.is_good();
        all.insert(outcome.model.clone(), outcome);
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens libraries whose symbols later ones may use.
fn load(paths: &[String]) -> Result<Vec<libloading::os::unix::Library>> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
    // SAFETY: what these libraries do when loaded is to register operators; the user names them.
    let open = |path: &String| unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_GLOBAL) };
    paths.iter().map(|p| open(p).with_context(|| p.clone())).collect()
}

fn read(path: Option<&Path>) -> Result<BTreeMap<String, Outcome>> {
    match path.map(std::fs::read_to_string) {
        Some(Ok(text)) => Ok(serde_json::from_str(&text)?),
        _ => Ok(BTreeMap::new()),
    }
}

/// Examines a model in a process of its own.
fn examine_apart(model: &Path, libraries: &[String]) -> Result<Outcome> {
    // This very program, also where its file is replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    libraries.iter().for_each(|l| {
        command.args(["--load", l]);
    });
    let start = Instant::now();
    let mut child = command.arg("--one").arg(model).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().context("the child has an output")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut pipe));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status.to_string();
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break format!("no end after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader.join().expect("the reader does not panic")?;
    let found = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    Ok(found.unwrap_or_else(|| Outcome::new(model, Verdict::Crashed(status))))
}
