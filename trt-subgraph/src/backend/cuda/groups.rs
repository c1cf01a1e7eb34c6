//! Which layers of a network are assembled together.

use super::kernel::attention::{self, Attention};
use super::kernel::chain::{self, Plan};
use super::kernel::gated::{self, Gated};
use super::kernel::gather;
use super::kernel::stem::{self, Stem};
use super::target::Target;
use crate::backend::Tf32;
use crate::network::Network;
use std::collections::{HashMap, HashSet};

/// Layers that one kernel is.
pub enum Group {
    Attention(Attention),
    Gated(Gated),
    Chain(Plan),
    Stem(Stem),
}

/// The groups of a network; no layer is in two.
pub struct Groups {
    /// By position of their last layer; the others are assembled with it.
    ends: HashMap<usize, Group>,
    /// By position of a layer that picks: that of the expression of its index.
    indices: HashMap<usize, usize>,
    /// Positions of layers that are assembled with a later one.
    parts: HashSet<usize>,
}

impl Groups {
    /// The groups of a network; chains only where `chains` says what TF32 may be used for, and stems where `stems` says so.
    pub fn find(network: &Network, target: &Target, chains: Option<Tf32>, stems: bool) -> Groups {
        // Elsewhere six products of halves take longer than one of f32.
        let of_f32 = matches!(target.capability, 80 | 90);
        let (attentions, indices) = (attention::find(network, of_f32), gather::find(network));
        let mut parts: HashSet<usize> =
            attentions.values().flat_map(|a| [a.scores, a.weights[0], a.weights[1]]).collect();
        parts.extend(indices.values());
        let taken: HashSet<usize> = parts.iter().chain(attentions.keys()).copied().collect();
        let gated = gated::find(network, &taken);
        parts.extend(gated.values().flat_map(Gated::parts));
        let chains: HashMap<usize, Plan> = match chains.filter(|_| target.capability >= 90) {
            Some(tf32) => chain::find(network, &parts, tf32)
                .into_iter()
                .filter_map(|(at, run)| {
                    Some((at, Plan::of(network, &run, target.multiprocessors, target.shared())?))
                })
                .collect(),
            None => HashMap::new(),
        };
        for (&end, plan) in &chains {
            parts.extend(plan.parts.iter().map(|p| p.at).filter(|&at| at != end));
        }
        let stems =
            if stems && target.capability >= 80 { stem::find(network, target) } else { HashMap::new() };
        let stems: HashMap<usize, Stem> = stems
            .into_iter()
            .filter(|(at, s)| !parts.contains(at) && !parts.contains(&s.convolution))
            .collect();
        parts.extend(stems.values().map(|s| s.convolution));
        let stems = stems.into_iter().map(|(at, stem)| (at, Group::Stem(stem)));
        let attentions = attentions.into_iter().map(|(at, a)| (at, Group::Attention(a)));
        let gated = gated.into_iter().map(|(at, g)| (at, Group::Gated(g)));
        let chains = chains.into_iter().map(|(at, plan)| (at, Group::Chain(plan)));
        let ends = attentions.chain(gated).chain(chains).chain(stems).collect();
        Groups { ends, indices, parts }
    }

    /// The group whose last layer is at this position.
    pub fn ending(&self, at: usize) -> Option<&Group> {
        self.ends.get(&at)
    }

    /// Is the layer at this position assembled with a later one?
    pub fn is_part(&self, at: usize) -> bool {
        self.parts.contains(&at)
    }

    /// The position of the expression that gives the index of the layer at a position, if it is computed with that layer.
    pub fn index_maker(&self, at: usize) -> Option<usize> {
        self.indices.get(&at).copied()
    }
}
