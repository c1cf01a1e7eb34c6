//! What an engine is made from, apart from weights and whoever runs it; and the form in which a saved module keeps it.
//!
//! The form is: the line `tch-trt engine`, a version, a checksum, the number of bytes that it is of; these are the length of a JSON
//! header, the header, the bytes of large constants. Then come plans ([`Embedded`]), the first at a multiple of 64 bytes (spaces end the
//! header), which have checksums of their own. Numbers
//! and elements are little-endian.

use super::embedded::{Embedded, Facts};
use super::entry::Shape;
use super::layouts::Seen;
use crate::jit::EngineError;
use crate::layout::AxisOrder;
use crate::{BackendChoice, Level, ParityGuard, Precision, SavedWeights};
use serde::{Deserialize, Serialize};
use trt_subgraph::source::SourceGraph;
use trt_subgraph::{Bytes, TensorType};

const MAGIC: &[u8] = b"tch-trt engine\n";
const VERSION: u32 = 3;
/// Bytes of version, checksum and both lengths.
const FIXED: usize = 28;
/// Plans are used where they lie, if they lie at multiples of it.
const ALIGNMENT: usize = 64;

/// Operator calls, how they are tied to torch's tensors, and where the parameters are found.
#[derive(Clone)]
pub(crate) struct Blueprint {
    /// For people: `forward, engine 0`.
    pub(crate) name: String,
    pub(crate) source: SourceGraph,
    /// How the results lay in memory in the observed run; `None` where the cluster did not run.
    pub(crate) seen: Option<Seen>,
    /// For each parameter of the source graph the path of the module's attribute; `None` for a constant of the model's code.
    pub(crate) places: Vec<Option<String>>,
}

/// An engine as a saved module keeps it.
#[derive(Clone)]
pub(crate) struct SavedEngine {
    pub(crate) blueprint: Blueprint,
    pub(crate) backend: BackendChoice,
    pub(crate) precision: Precision,
    pub(crate) guard: Option<ParityGuard>,
    pub(crate) level: Level,
    /// The most shapes that are kept built.
    pub(crate) specialisations: usize,
    /// The parameters without a place, in order, each with its bytes.
    pub(crate) constants: Vec<(TensorType, Vec<u8>)>,
    /// The shapes that engines were built for, newest first.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) weights: SavedWeights,
    /// Those of these shapes whose engines are kept, too.
    pub(crate) plans: Vec<Embedded>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    name: String,
    source: String,
    /// What entered in the observed run, and how each result lay in memory.
    seen: Option<(Shape, Vec<Vec<usize>>)>,
    places: Vec<Option<String>>,
    backend: BackendChoice,
    precision: Precision,
    #[serde(default)]
    guard: Option<ParityGuard>,
    level: Level,
    specialisations: usize,
    constants: Vec<TensorType>,
    shapes: Vec<Shape>,
    weights: SavedWeights,
    plans: Vec<Facts>,
}

impl SavedEngine {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let blueprint = &self.blueprint;
        let header = Header {
            name: blueprint.name.clone(),
            source: blueprint.source.to_string(),
            seen: blueprint
                .seen
                .as_ref()
                .map(|s| (s.shape.clone(), s.orders.iter().map(AxisOrder::numbers).collect())),
            places: blueprint.places.clone(),
            backend: self.backend,
            precision: self.precision,
            guard: self.guard,
            level: self.level,
            specialisations: self.specialisations,
            constants: self.constants.iter().map(|(ty, _)| ty.clone()).collect(),
            shapes: self.shapes.clone(),
            weights: self.weights,
            plans: self.plans.iter().map(|p| p.facts.clone()).collect(),
        };
        let mut header = serde_json::to_vec(&header).expect("a header has only string keys");
        let constants: usize = self.constants.iter().map(|(_, bytes)| bytes.len()).sum();
        let before = MAGIC.len() + FIXED + header.len() + constants;
        header.resize(header.len() + before.next_multiple_of(ALIGNMENT) - before, b' ');
        let mut rest = (header.len() as u64).to_le_bytes().to_vec();
        rest.extend(header);
        self.constants.iter().for_each(|(_, bytes)| rest.extend(bytes));
        let (sum, length) = (checksum(&rest).to_le_bytes(), (rest.len() as u64).to_le_bytes());
        let version = VERSION.to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![MAGIC, &version, &sum, &length, &rest];
        parts.extend(self.plans.iter().map(|p| &p.plan[..]));
        parts.concat()
    }

    /// Reads what [`SavedEngine::to_bytes`] wrote. Plans are not checked here; of one whose end is missing, what is there is kept.
    ///
    /// # Errors
    /// A sentence for the log when the bytes are damaged or of a newer version.
    pub(crate) fn from_bytes(whole: &Bytes) -> Result<SavedEngine, EngineError> {
        let damaged = || EngineError::from("its saved state is damaged");
        let bytes = whole.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (version, bytes) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(format!(
                "it was saved in version {version} of its form, this library reads {VERSION}"
            )
            .into());
        }
        let (sum, bytes) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let (length, bytes) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (rest, mut plans) = bytes.split_at_checked(length).ok_or_else(damaged)?;
        if u64::from_le_bytes(*sum) != checksum(rest) {
            return Err(damaged());
        }
        let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length))?;
        let (header, mut rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let header: Header = serde_json::from_slice(header)?;
        let source = SourceGraph::parse(&header.source)?;
        let layout = |(shape, orders): (Shape, Vec<Vec<usize>>)| {
            let orders = orders.iter().map(|axes| AxisOrder::of_numbers(axes)).collect::<Option<_>>();
            Ok::<_, EngineError>(Seen { shape, orders: orders.ok_or_else(damaged)? })
        };
        let seen = header.seen.map(layout).transpose()?;
        let mut constants = Vec::new();
        for ty in header.constants {
            let size = ty.shape.iter().try_fold(ty.dtype.size(), |n, &d| n.checked_mul(d));
            let (own, others) = size.and_then(|n| rest.split_at_checked(n)).ok_or_else(damaged)?;
            constants.push((ty, own.to_vec()));
            rest = others;
        }
        let mut embedded = Vec::new();
        for facts in header.plans {
            let length = usize::try_from(facts.bytes).map_or(plans.len(), |n| n.min(plans.len()));
            let at = whole.len() - plans.len();
            let plan = whole.part(at..at + length).ok_or_else(damaged)?.into_aligned();
            embedded.push(Embedded { facts, plan });
            plans = &plans[length..];
        }
        let without_place = header.places.iter().filter(|p| p.is_none()).count();
        if source.parameters.len() != header.places.len() || without_place != constants.len() {
            return Err(damaged());
        }
        Ok(SavedEngine {
            blueprint: Blueprint { name: header.name, source, seen, places: header.places },
            backend: header.backend,
            precision: header.precision,
            guard: header.guard,
            level: header.level,
            specialisations: header.specialisations.max(1),
            constants,
            shapes: header.shapes,
            weights: header.weights,
            plans: embedded,
        })
    }
}

/// FNV-1a in 64 bits, by words: enough against accidents.
fn checksum(bytes: &[u8]) -> u64 {
    let mix = |h: u64, v: u64| (h ^ v).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let (words, tail) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |h, w| mix(h, u64::from_le_bytes(*w)));
    mix(tail.iter().fold(hash, |h, &b| mix(h, u64::from(b))), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trt_subgraph::DType;

    fn saved() -> SavedEngine {
        let source = SourceGraph::parse(
            "device \"cpu\" input %1 parameter %2 \"w\" parameter %3 \"4\"
             %5 = aten::clamp(%1, -inf, 0.5) \"model.py:1\" %6 = aten::add.Tensor(%5, %2, 1) \"\" return %6",
        );
        let shape = Shape {
            tensors: vec![TensorType::new(DType::F32, [2, 3])],
            ints: vec![7],
            orders: vec![vec![1, 0]],
        };
        SavedEngine {
            blueprint: Blueprint {
                name: "forward, engine 0".into(),
                source: source.expect("it reads"),
                seen: Some(Seen {
                    shape: shape.clone(),
                    orders: vec![AxisOrder::of_numbers(&[1, 0]).expect("an order")],
                }),
                places: vec![Some("w".into()), None],
            },
            backend: BackendChoice::Auto,
            precision: Precision::BF16,
            guard: Some(ParityGuard { tolerance: 0.5, keep: true }),
            level: Level::Exhaustive,
            specialisations: 16,
            constants: vec![(TensorType::new(DType::U8, [3]), vec![1, 2, 3])],
            shapes: vec![shape],
            weights: SavedWeights::Reference,
            plans: vec![],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let engine = saved();
        let bytes = engine.to_bytes();
        let read = SavedEngine::from_bytes(&bytes.clone().into()).expect("it reads");
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!((read.precision, read.level), (Precision::BF16, Level::Exhaustive));
        assert_eq!(read.guard, engine.guard);
        assert_eq!((read.blueprint.source, read.shapes), (engine.blueprint.source, engine.shapes));
        assert_eq!((read.blueprint.seen, read.constants), (engine.blueprint.seen, engine.constants));
    }

    #[test]
    fn plans_are_apart_and_a_cut_leaves_the_rest() {
        let mut engine = saved();
        let plan = |bytes: &[u8]| Embedded::for_tests(engine.shapes[0].clone(), bytes);
        engine.plans = vec![plan(&[1; 100]), plan(&[2; 50])];
        engine.weights = SavedWeights::Embed;
        let bytes = engine.to_bytes();
        let read = SavedEngine::from_bytes(&bytes.clone().into()).expect("it reads");
        assert_eq!((&read.plans[0].plan[..], &read.plans[1].plan[..]), (&[1; 100][..], &[2; 50][..]));
        assert_eq!((read.weights, read.to_bytes()), (SavedWeights::Embed, bytes.clone()));
        let cut = SavedEngine::from_bytes(&bytes[..bytes.len() - 60].to_vec().into())
            .expect("what is not a plan is whole");
        assert_eq!((cut.plans[0].plan.len(), cut.plans[1].plan.len()), (90, 0));
        assert_eq!(cut.shapes, engine.shapes);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = saved().to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                assert!(SavedEngine::from_bytes(&other.into()).is_err(), "bit {bit} of byte {at}");
            }
            assert!(SavedEngine::from_bytes(&bytes[..at].to_vec().into()).is_err(), "cut at {at}");
        }
    }
}
