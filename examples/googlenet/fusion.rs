//! How many layers a network has before and after fusion.

use std::fmt;
use trt_subgraph::network::{LayerKind, Network};
use trt_subgraph::pass::{Options, PASSES, optimize};

/// Layers that a call computes, and the convolutions among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layers {
    /// All but those that only move elements.
    pub computing: usize,
    /// Convolutions.
    pub convolutions: usize,
}

impl Layers {
    fn of(network: &Network) -> Layers {
        let statics = network.statics();
        let run = || network.layers.iter().filter(|l| !l.outputs.iter().all(|v| statics[v.index()]));
        Layers {
            computing: run().filter(|l| !l.kind.moves_only()).count(),
            convolutions: run().filter(|l| matches!(l.kind, LayerKind::Convolution(_))).count(),
        }
    }
}

/// One network, more and more fused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fusion {
    /// As it was defined.
    pub defined: Layers,
    /// After all passes but the horizontal one: bias, ReLU and the like are part of the layer before them.
    pub vertical: Layers,
    /// After all: layers that read the same tensor are one wider layer.
    pub horizontal: Layers,
}

impl Fusion {
    /// Optimises copies of a network.
    pub fn of(network: &Network) -> Fusion {
        let (mut vertical, mut left) = (network.clone(), usize::MAX);
        let mut before = 0;
        while left != before {
            before = left;
            for pass in PASSES.iter().filter(|pass| pass.name != "horizontal") {
                vertical = pass.run(vertical, &Options::default(), &mut left);
            }
        }
        Fusion {
            defined: Layers::of(network),
            vertical: Layers::of(&vertical),
            horizontal: Layers::of(&optimize(network.clone(), &Options::default())),
        }
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:34}{:>18}{:>16}", "", "computing layers", "convolutions")?;
        let rows = [
            ("as defined", self.defined),
            ("fused vertically", self.vertical),
            ("and horizontally", self.horizontal),
        ];
        for (name, layers) in rows {
            writeln!(f, "{name:34}{:>18}{:>16}", layers.computing, layers.convolutions)?;
        }
        Ok(())
    }
}
