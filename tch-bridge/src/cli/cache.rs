//! `tch-trt cache`: what is kept on disk from process to process.

use clap::{Args, Subcommand};
use partitioner::{count, quantity};
use serde::Serialize;
use std::time::SystemTime;
use trt_subgraph::cache::{Cache, Entry, LIMIT, Removal, VARIABLE};
use trt_tool::Failure;
use trt_tool::terminal::{Style, table};
use trt_tool::{Document, finish};

/// Arguments of `cache`.
#[derive(Args)]
pub(crate) struct CacheCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What is kept, the latest used first
    List(Plain),
    /// Remove what was not used for longest
    Prune(Prune),
    /// Remove everything
    Clear(Plain),
}

#[derive(Args)]
struct Plain {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Prune {
    /// Mebibytes that may stay
    #[arg(long, value_name = "MIB", default_value_t = LIMIT >> 20)]
    to: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is, or was, kept.
#[derive(Serialize)]
struct Kept {
    /// None where nothing is ever kept.
    folder: Option<String>,
    /// Why nothing is kept, where that is no wish.
    note: Option<String>,
    /// Why not everything was removed that was to be.
    fault: Option<String>,
    /// What the entries are to the command: `kept` or `removed`.
    #[serde(skip)]
    what: &'static str,
    bytes: u64,
    entries: Vec<Facts>,
}

/// An entry.
#[derive(Serialize)]
struct Facts {
    kind: String,
    file: String,
    bytes: u64,
    /// Hours since it was used.
    age_hours: f64,
}

impl CacheCommand {
    pub(crate) fn run(&self) -> u8 {
        match &self.command {
            Command::List(args) => {
                finish(kept("kept", |c| Removal { removed: c.list(), ..Removal::default() }), args.json)
            }
            Command::Prune(args) => {
                let limit = args.to.saturating_mul(1 << 20);
                finish(kept("removed", |c| c.prune(limit)), args.json)
            }
            Command::Clear(args) => finish(kept("removed", Cache::clear), args.json),
        }
    }
}

fn kept(what: &'static str, entries: impl FnOnce(&Cache) -> Removal) -> Result<Kept, Failure> {
    let cache = Cache::of_process();
    let now = SystemTime::now();
    let facts = |e: Entry| Facts {
        age_hours: now.duration_since(e.used).unwrap_or_default().as_secs_f64() / 3600.0,
        kind: e.kind,
        file: e.file,
        bytes: e.bytes,
    };
    let found = cache.map(entries).unwrap_or_default();
    let entries: Vec<Facts> = found.removed.into_iter().map(facts).collect();
    let named = cache.map(|c| c.folder().display().to_string());
    let fault = found.fault.map(|why| {
        let bytes = quantity(found.left.iter().map(|e| e.bytes as f64).sum(), "B");
        format!("{} of {bytes} cannot be removed: {why}", count(found.left.len(), "entry"))
    });
    let note = match (cache, &named) {
        (Some(cache), Some(folder)) => {
            cache.fault().map(|why| format!("nothing can be kept in {folder}: {why}"))
        }
        _ if std::env::var_os(VARIABLE).is_some_and(|v| v == "off") => None,
        _ => Some(format!("nothing is kept: neither {VARIABLE} nor HOME says where")),
    };
    let folder = named.filter(|_| note.is_none());
    Ok(Kept { folder, note, fault, what, bytes: entries.iter().map(|e| e.bytes).sum(), entries })
}

impl Document for Kept {
    fn passed(&self) -> bool {
        self.fault.is_none()
    }

    fn text(&self, style: Style) -> String {
        if let Some(note) = &self.note {
            return format!("{} {note}\n", style.yellow("note:"));
        }
        let Some(folder) = &self.folder else { return format!("nothing is kept ({VARIABLE}=off)\n") };
        let row = |e: &Facts| {
            let (size, age) = (quantity(e.bytes as f64, "B"), format!("{:.1} h ago", e.age_hours));
            vec![e.file.clone(), size, age]
        };
        let head = ["entry", "size", "last used"].map(|word| style.dim(word)).to_vec();
        let rows: Vec<Vec<String>> = match self.entries.is_empty() {
            true => vec![],
            false => [head].into_iter().chain(self.entries.iter().map(row)).collect(),
        };
        let entries = count(self.entries.len(), "entry");
        let bytes = quantity(self.bytes as f64, "B");
        let mut out =
            format!("{}{entries} of {bytes} {} in {}\n", table(&rows), self.what, style.bold(folder));
        if let Some(fault) = &self.fault {
            out += &format!("{} {fault}\n", style.red("error:"));
        }
        out
    }
}
