//! What holds whatever bytes are read: an error or a value, never a crash; and a value that was read is written and read again as
//! the same. The targets of this folder make these checks, and so does a test of `trt-subgraph` that changes what is valid.

use trt_subgraph::network::Network;
use trt_subgraph::plan::Plan;
use trt_subgraph::source::SourceGraph;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A plan, as it is and under checksums that hold: what lies behind those is to be reached too.
pub fn plan(bytes: &[u8]) {
    open(bytes.to_vec());
    if let Some(sealed) = sealed(bytes) {
        open(sealed);
    }
}

fn open(bytes: Vec<u8>) {
    let Ok(plan) = Plan::from_bytes(bytes) else { return };
    let signature = plan.signature();
    assert_eq!(signature.inputs.len(), plan.inputs().len());
    assert_eq!(signature.outputs.len(), plan.outputs().len());
    assert!(plan.network().verify().is_ok(), "a plan was read whose network is not sound");
}

/// The text of a source graph.
pub fn source_graph(text: &str) {
    let Ok(graph) = SourceGraph::parse(text) else { return };
    let written = graph.to_string();
    let again = SourceGraph::parse(&written).unwrap_or_else(|e| panic!("{e}\n{written}"));
    assert_eq!(again.to_string(), written);
}

/// The text of a network.
pub fn network(text: &str) {
    let Ok(network) = Network::parse(text) else { return };
    let written = network.to_string();
    if network.verify().is_ok() {
        let again = Network::parse(&written).unwrap_or_else(|e| panic!("{e}\n{written}"));
        assert_eq!(again.to_string(), written);
    }
}

/// The bytes with the checksums of a plan's head and sections made right, as far as its table tells where those lie
/// (docs/plan-format.md). `None` where there is no table.
fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    const HEAD: usize = 32;
    let mut out = bytes.to_vec();
    let long = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let count = usize::try_from(u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?)).ok()?;
    let first = count.checked_mul(HEAD)?.checked_add(HEAD).filter(|&n| n <= bytes.len())?;
    for entry in (HEAD..first).step_by(HEAD) {
        let (offset, length) =
            (usize::try_from(long(&out, entry + 8)?).ok()?, usize::try_from(long(&out, entry + 16)?).ok()?);
        if let Some(section) = offset.checked_add(length).and_then(|end| bytes.get(offset..end)) {
            out[entry + 24..entry + 32].copy_from_slice(&xxh3_64(section).to_le_bytes());
        }
    }
    let mut hash = Xxh3::new();
    hash.update(&out[..HEAD - 8]);
    hash.update(&out[HEAD..first]);
    out[HEAD - 8..HEAD].copy_from_slice(&hash.digest().to_le_bytes());
    Some(out)
}
