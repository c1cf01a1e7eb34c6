//! Which products of few rows, and which scalar expressions over their columns, make one kernel.

use super::MOST_ROWS;
use crate::network::{Layer, LayerKind, Network, ValueId};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Columns of all products together that one unit reads at most.
const MOST_SLOTS: usize = 16;

/// Layers of one kernel. All but the gates leave nothing that others read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gated {
    /// Positions of the products; a product comes after those that its epilogue reads.
    pub products: Vec<usize>,
    /// By product: the columns of unit 0, which are so many columns to the left of those of the next unit, and so on.
    pub starts: Vec<Vec<usize>>,
    /// Positions of the scalar expressions, in order.
    pub gates: Vec<usize>,
    /// Positions of the views between them.
    views: Vec<usize>,
    /// Which columns of which product each value holds.
    pub pieces: HashMap<ValueId, Piece>,
    /// Operands that are rows of a table, one for each row of the products: position of the layer that picks them.
    pub lookups: HashMap<ValueId, usize>,
}

/// Columns of a product, from `start` on; all rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Position of the product.
    pub product: usize,
    pub start: usize,
}

impl Gated {
    /// Positions of all layers but the last gate.
    pub fn parts(&self) -> impl Iterator<Item = usize> + '_ {
        let last = self.gates.len() - 1;
        self.products.iter().chain(&self.views).chain(&self.gates[..last]).copied()
    }
}

/// The groups of a network, by the position of their last gate; none has a layer that is `taken`.
pub fn find(network: &Network, taken: &HashSet<usize>) -> HashMap<usize, Gated> {
    let search = Search::new(network, taken);
    let mut out = HashMap::new();
    let mut seen = HashSet::new();
    for &product in &search.products {
        if seen.insert(product) {
            let (products, gates) = search.connected(product);
            seen.extend(&products);
            if let Some(group) = search.group(products, gates) {
                out.insert(*group.gates.last().expect("a group has gates"), group);
            }
        }
    }
    out
}

struct Search<'a> {
    network: &'a Network,
    taken: &'a HashSet<usize>,
    pieces: HashMap<ValueId, Piece>,
    /// Products whose columns only gates, and epilogues of other products, read.
    products: BTreeSet<usize>,
    /// By value: position of the layer that makes it.
    makers: Vec<Option<usize>>,
    /// By value: positions of the layers that read it.
    readers: Vec<Vec<usize>>,
}

impl<'a> Search<'a> {
    fn new(network: &'a Network, taken: &'a HashSet<usize>) -> Search<'a> {
        let mut out = Search {
            network,
            taken,
            pieces: HashMap::new(),
            products: BTreeSet::new(),
            makers: network.definitions(),
            readers: vec![vec![]; network.values.len()],
        };
        for (at, layer) in network.layers.iter().enumerate() {
            layer.inputs.iter().for_each(|v| out.readers[v.index()].push(at));
            if is_product(network, layer) && !taken.contains(&at) {
                out.products.insert(at);
                out.pieces.insert(layer.outputs[0], Piece { product: at, start: 0 });
            } else if let Some(piece) = layer.inputs.first().and_then(|v| out.pieces.get(v)).copied() {
                out.pieces.extend(narrowed(network, layer, piece).map(|p| (layer.outputs[0], p)));
            }
        }
        // What anything else reads has to be in memory.
        loop {
            let open = |(&v, piece): (&ValueId, &Piece)| {
                let closed = !network.outputs.contains(&v)
                    && out.readers[v.index()].iter().all(|&reader| out.takes(reader, v));
                (!closed).then_some(piece.product)
            };
            let open: HashSet<usize> = out.pieces.iter().filter_map(open).collect();
            if open.is_empty() {
                return out;
            }
            out.products.retain(|at| !open.contains(at));
            out.pieces.retain(|_, piece| !open.contains(&piece.product));
        }
    }

    /// Can the layer read these columns where they are computed?
    fn takes(&self, at: usize, value: ValueId) -> bool {
        let layer = &self.network.layers[at];
        let (own, result) = (self.network.ty(value), self.network.ty(layer.outputs[0]));
        match &layer.kind {
            LayerKind::Slice { .. } | LayerKind::Reshape { .. } => {
                self.pieces.contains_key(&layer.outputs[0])
            }
            LayerKind::Pointwise(_) => {
                !self.taken.contains(&at)
                    && own.shape.last() == result.shape.last()
                    && own.elements() == result.elements()
            }
            LayerKind::MatMul { .. } => {
                self.products.contains(&at)
                    && !layer.inputs[..2].contains(&value)
                    && own.shape.last() == result.shape.last()
                    && own.elements() == result.elements()
            }
            _ => false,
        }
    }

    fn is_gate(&self, at: usize) -> bool {
        matches!(self.network.layers[at].kind, LayerKind::Pointwise(_))
    }

    /// The products and gates that hang together with a product.
    fn connected(&self, product: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let (mut products, mut gates) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![product];
        while let Some(at) = open.pop() {
            let new = if self.is_gate(at) { gates.insert(at) } else { products.insert(at) };
            if !new {
                continue;
            }
            let layer = &self.network.layers[at];
            open.extend(layer.inputs.iter().filter_map(|v| self.pieces.get(v)).map(|p| p.product));
            let own = self.pieces.iter().filter(|(_, piece)| piece.product == at).map(|(v, _)| v);
            let readers = own.flat_map(|v| &self.readers[v.index()]).copied();
            open.extend(readers.filter(|&r| self.is_gate(r) || self.products.contains(&r)));
        }
        (products, gates)
    }

    /// The group of these, where one kernel can be it.
    fn group(&self, products: BTreeSet<usize>, gates: BTreeSet<usize>) -> Option<Gated> {
        let network = self.network;
        let (&first, &last) = (products.first()?, gates.last()?);
        let result = |at: usize| network.layers[at].outputs[0];
        let shape = |at: usize| {
            let ty = network.ty(result(at));
            let width = ty.shape.last().copied().unwrap_or(1);
            (ty.elements() / width.max(1), width)
        };
        let like = (shape(last), network.ty(network.layers[first].inputs[0]).dtype);
        let alike = gates.iter().all(|&at| shape(at) == like.0)
            && products.iter().all(|&at| {
                shape(at).0 == like.0.0 && network.ty(network.layers[at].inputs[0]).dtype == like.1
            });
        let pieces: HashMap<ValueId, Piece> = (self.pieces.iter())
            .filter(|(_, piece)| products.contains(&piece.product))
            .map(|(v, piece)| (*v, *piece))
            .collect();
        let results: HashSet<ValueId> = gates.iter().map(|&at| result(at)).collect();
        let is_view = |at: usize| !products.contains(&at) && pieces.contains_key(&result(at));
        let views: Vec<usize> = (first..last).filter(|&at| is_view(at)).collect();
        // Gates are there when the last of them is: nobody else asks sooner.
        let early = (first..last)
            .any(|at| !gates.contains(&at) && network.layers[at].inputs.iter().any(|v| results.contains(v)));
        let mut lookups = HashMap::new();
        let mut moved = vec![];
        for v in products
            .iter()
            .flat_map(|&at| &network.layers[at].inputs[2..])
            .chain(gates.iter().flat_map(|&at| &network.layers[at].inputs))
        {
            if let Some(layers) = self.lookup(*v, like.0) {
                lookups.insert(*v, layers[0]);
                moved.extend(layers);
            }
        }
        let starts = starts(network, &products, &gates, &pieces);
        let slots: usize = starts.iter().map(Vec::len).sum();
        let fits = alike && !early && (2..=MOST_SLOTS).contains(&slots) && products.len() <= 4;
        fits.then(|| Gated {
            products: products.into_iter().collect(),
            starts,
            gates: gates.into_iter().collect(),
            views: views.into_iter().chain(moved).collect(),
            pieces,
            lookups,
        })
    }

    /// The layer that picks these rows of a table, and views of them, where nobody else reads them.
    fn lookup(&self, value: ValueId, (rows, width): (usize, usize)) -> Option<Vec<usize>> {
        let network = self.network;
        let mut layers = vec![];
        let mut v = value;
        loop {
            let at = self.makers[v.index()]?;
            let (layer, ty) = (&network.layers[at], network.ty(v));
            if self.readers[v.index()].len() != 1 || network.outputs.contains(&v) || self.taken.contains(&at)
            {
                return None;
            }
            layers.insert(0, at);
            match &layer.kind {
                LayerKind::Reshape { shape } if shape.last() == network.ty(layer.inputs[0]).shape.last() => {
                    v = layer.inputs[0];
                }
                LayerKind::Gather { axis: 0, elements: false } => {
                    let (table, index) = (network.ty(layer.inputs[0]), network.ty(layer.inputs[1]));
                    let whole =
                        ty.elements() == index.elements() * table.shape[1..].iter().product::<usize>();
                    let fits = table.rank() == 2 && index.elements() == rows && table.shape[1] >= width;
                    return (fits && whole && index.rank() > 0).then_some(layers);
                }
                _ => return None,
            }
        }
    }
}

/// By product: the first columns of what gates read of it, directly and through the epilogues of other products.
fn starts(
    network: &Network,
    products: &BTreeSet<usize>,
    gates: &BTreeSet<usize>,
    pieces: &HashMap<ValueId, Piece>,
) -> Vec<Vec<usize>> {
    let mut out: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    for &at in gates {
        for piece in network.layers[at].inputs.iter().filter_map(|v| pieces.get(v)) {
            out.entry(piece.product).or_default().insert(piece.start);
        }
    }
    for &at in products.iter().rev() {
        let own = out.get(&at).cloned().unwrap_or_default();
        for piece in network.layers[at].inputs[2..].iter().filter_map(|v| pieces.get(v)) {
            out.entry(piece.product).or_default().extend(own.iter().map(|start| piece.start + start));
        }
    }
    products.iter().map(|at| out.remove(at).unwrap_or_default().into_iter().collect()).collect()
}

/// Is it one product of few rows of floating-point numbers?
fn is_product(network: &Network, layer: &Layer) -> bool {
    let LayerKind::MatMul { .. } = layer.kind else { return false };
    let (ty, x, w) = (network.ty(layer.outputs[0]), network.ty(layer.inputs[0]), network.ty(layer.inputs[1]));
    let (batch, rows) = ty.shape.split_at(ty.rank() - 2);
    let floats = x.dtype.is_float() && w.dtype == x.dtype;
    floats && ty.elements() > 0 && x.elements() > 0 && batch.iter().all(|&n| n == 1) && rows[0] <= MOST_ROWS
}

/// The columns that a view of columns shows: all rows of some of them.
fn narrowed(network: &Network, layer: &Layer, piece: Piece) -> Option<Piece> {
    let before = &network.ty(layer.inputs[0]).shape;
    match &layer.kind {
        LayerKind::Reshape { shape } => (shape.last() == before.last()).then_some(piece),
        LayerKind::Slice { ranges } => {
            let (last, rest) = ranges.split_last()?;
            let whole = rest.iter().zip(before).all(|(r, &n)| r.start == 0 && r.len == n && r.step == 1);
            (whole && last.step == 1).then_some(Piece { start: piece.start + last.start, ..piece })
        }
        _ => None,
    }
}
