//! What may be carved out, and why not: the caller's verdict on a node, and why a node ended up on the host.

use serde::Serialize;
use std::fmt;

/// Whether a node may join a cluster. The partitioner never overrules a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Some engine can run the node.
    Accept,
    /// The host must run the node.
    Refuse(Reason),
}

impl Verdict {
    /// Shorthand for a refusal.
    pub fn refuse(code: Code, message: impl Into<String>) -> Self {
        Verdict::Refuse(Reason { code, message: message.into() })
    }

    /// True for [`Verdict::Accept`].
    pub fn accepted(&self) -> bool {
        matches!(self, Verdict::Accept)
    }
}

/// A refusal: what kind, and one sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The kind of refusal, for grouping and for machines.
    pub code: Code,
    /// One sentence without a full stop, for people.
    pub message: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}", self.code)
        } else {
            write!(f, "{}: {}", self.code, self.message)
        }
    }
}

/// The kinds of refusal a caller can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Code {
    /// No operator of that name and signature is known.
    NoSuchOp,
    /// An element type is not supported.
    Dtype,
    /// A rank is not supported.
    Rank,
    /// A shape is unknown or not supported.
    Shape,
    /// An argument must be constant, or has an unsupported value.
    Attribute,
    /// The node writes to memory that others can see.
    Mutates,
    /// The node's result shares memory with a value that others can see.
    Aliases,
    /// The node has a side effect, or its answer differs from run to run.
    Effect,
    /// The node has control flow of its own.
    Control,
    /// No available backend runs it.
    Backend,
    /// The user asked for the host.
    Pinned,
    /// The node did not run when the graph was observed.
    NotSeen,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Code::NoSuchOp => "no such operator",
            Code::Dtype => "element type",
            Code::Rank => "rank",
            Code::Shape => "shape",
            Code::Attribute => "attribute",
            Code::Mutates => "writes in place",
            Code::Aliases => "aliases a visible value",
            Code::Effect => "side effect",
            Code::Control => "control flow",
            Code::Backend => "backend",
            Code::Pinned => "pinned to the host",
            Code::NotSeen => "not seen in the observed run",
        })
    }
}

/// Why a node stays on the host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Stay {
    /// The caller refused it.
    Refused(Reason),
    /// The node has a side effect; such nodes never join a cluster.
    Effect,
    /// It exchanges a bound value (a list, a float) with a node or an input of the host, or returns one.
    Bound,
    /// A path through the host leaves the nodes it is bound to and re-enters them.
    NotConvex,
    /// A view, constant or size at the border of a cluster, free on the host.
    Free,
    /// Its cluster has fewer compute nodes than [`crate::Policy::min_block_size`], and not
    /// [`crate::Policy::enough_operations`].
    TooSmall {
        /// Compute nodes of the cluster.
        compute: usize,
        /// What the policy asks for.
        needed: usize,
    },
    /// Its cluster would not win its launch back.
    NotWorth {
        /// Estimated time won per call in nanoseconds; not positive.
        gain_ns: f64,
    },
}

impl Stay {
    /// True when the caller accepted the node and the partitioner left it on the host.
    pub fn by_choice(&self) -> bool {
        !matches!(self, Stay::Refused(_) | Stay::Effect)
    }

    /// The kind of reason, the same for all nodes that a report lists together.
    pub fn heading(&self) -> String {
        match self {
            Stay::Refused(reason) => reason.code.to_string(),
            _ => self.to_string(),
        }
    }

    /// What is to say of one node beyond the heading; may be empty.
    pub fn detail(&self) -> &str {
        match self {
            Stay::Refused(reason) => &reason.message,
            _ => "",
        }
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stay::Refused(reason) => write!(f, "{reason}"),
            Stay::Effect => f.write_str("side effect"),
            Stay::Bound => f.write_str("shares a list or scalar with the host"),
            Stay::NotConvex => f.write_str("the host stands between nodes that must stay together"),
            Stay::Free => f.write_str("free on the host"),
            Stay::TooSmall { compute, needed } => {
                let nodes = if *compute == 1 { "node" } else { "nodes" };
                write!(f, "cluster too small: {compute} compute {nodes}, {needed} needed")
            }
            Stay::NotWorth { gain_ns } => {
                write!(f, "not worth a launch: {:.1} us lost per call", -gain_ns / 1e3)
            }
        }
    }
}
