//! Random layers other than pointwise ones.

use super::Generator;
use trt_subgraph::network::layer::*;
use trt_subgraph::network::{Layer, LayerKind, ValueId};
use trt_subgraph::{DType, Literal, TensorType};

/// A layer that may turn out ill typed or wild.
pub struct Proposal {
    pub kind: LayerKind,
    pub inputs: Vec<ValueId>,
    /// Are its results exact when its operands are?
    pub keeps_exact: bool,
}

fn moves(kind: LayerKind, inputs: Vec<ValueId>) -> Option<Proposal> {
    Some(Proposal { kind, inputs, keeps_exact: true })
}

fn computes(kind: LayerKind, inputs: Vec<ValueId>) -> Option<Proposal> {
    Some(Proposal { kind, inputs, keeps_exact: false })
}

impl Generator {
    /// A layer of any kind but pointwise.
    pub(super) fn structural(&mut self) -> Option<Proposal> {
        match self.random.below(19) {
            0 => self.broadcast(),
            1 | 2 => self.reduce(),
            3 => self.scan(),
            4 | 5 => self.matmul(),
            6..=8 => self.convolution(),
            9 => self.pool(),
            10 => self.statistics(),
            11 => self.reshape(),
            12 => self.permute(),
            13 => self.slice(),
            14 => self.concat(),
            15 => self.pad(),
            16 => self.grouped_matmul(),
            17 => self.longer_concat(),
            _ => self.pick(),
        }
    }

    fn some_axis(&mut self, rank: usize) -> Option<usize> {
        (rank > 0).then(|| self.random.below(rank))
    }

    fn some_axes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|_| self.random.chance(0.5)).collect()
    }

    fn broadcast(&mut self) -> Option<Proposal> {
        let x = self.any();
        let mut shape = self.ty(x).shape;
        for n in &mut shape {
            *n = if *n == 1 { 1 + self.random.below(4) } else { *n };
        }
        if self.random.chance(0.3) {
            shape.insert(0, 1 + self.random.below(3));
        }
        moves(LayerKind::Broadcast { shape }, vec![x])
    }

    fn reduce(&mut self) -> Option<Proposal> {
        use ReduceOp::*;
        let x = self.any();
        let axes = self.some_axes(self.ty(x).rank());
        let keep = self.random.chance(0.5);
        let op = *self.random.pick(&[Sum, Mean, Prod, Max, Min, Any, All, ArgMax, ArgMin]);
        if matches!(op, ArgMax | ArgMin) && !self.all_exact(&[x]) {
            return None;
        }
        let keeps_exact = !matches!(op, Sum | Mean | Prod);
        Some(Proposal { kind: LayerKind::Reduce { op, axes, keep }, inputs: vec![x], keeps_exact })
    }

    fn scan(&mut self) -> Option<Proposal> {
        let x = self.any();
        let axis = self.some_axis(self.ty(x).rank())?;
        computes(LayerKind::Scan { op: *self.random.pick(&[ScanOp::Sum, ScanOp::Prod]), axis }, vec![x])
    }

    fn matmul(&mut self) -> Option<Proposal> {
        let a = self.any();
        let ty = self.ty(a);
        let rank = ty.rank().checked_sub(2)?;
        let (transpose_a, transpose_b) = (self.random.chance(0.3), self.random.chance(0.3));
        let inner = ty.shape[rank + !transpose_a as usize];
        let n = 1 + self.random.below(6);
        let mut shape = if self.random.chance(0.5) { vec![] } else { ty.shape[..rank].to_vec() };
        shape.extend(if transpose_b { [n, inner] } else { [inner, n] });
        let fits = |g: &Self, &v: &ValueId| g.ty(v) == TensorType::new(ty.dtype, shape.clone());
        let present: Vec<ValueId> = self.values.iter().copied().filter(|v| fits(self, v)).collect();
        let b = match present.last() {
            Some(&v) => v,
            None => self.source(TensorType::new(ty.dtype, shape), None),
        };
        computes(LayerKind::MatMul { transpose_a, transpose_b }, vec![a, b])
    }

    /// Mostly runs one after the other; any offsets have a meaning.
    fn grouped_matmul(&mut self) -> Option<Proposal> {
        let x = self.any_float()?;
        let ty = self.ty(x);
        let [rows, inner] = ty.shape[..] else { return None };
        let runs = 1 + self.random.below(4);
        let n = 1 + self.random.below(6);
        let w = self.source(TensorType::new(ty.dtype, [runs, inner, n]), None);
        let mut offset = || self.random.below(rows + 3) as i64 - 1;
        let mut offsets: Vec<i64> = (0..runs).map(|_| offset()).collect();
        if self.random.chance(0.8) {
            offsets.sort_unstable();
        }
        let of = TensorType::new(*self.random.pick(&[DType::I32, DType::I64]), [runs]);
        let offsets = self.place(Literal::from_i64(of, offsets).expect("an offset a run"), None);
        computes(LayerKind::GroupedMatMul, vec![x, w, offsets])
    }

    fn convolution(&mut self) -> Option<Proposal> {
        let x = self.any_float()?;
        let ty = self.ty(x);
        let spatial = ty.rank().checked_sub(2).filter(|s| (1..=3).contains(s))?;
        let channels = ty.shape[1];
        let divisors: Vec<usize> = (1..=channels).filter(|&g| channels.is_multiple_of(g)).collect();
        let groups =
            if self.random.chance(0.6) || divisors.is_empty() { 1 } else { *self.random.pick(&divisors) };
        let transposed = self.random.chance(0.2);
        let outputs = groups * (1 + self.random.below(3));
        let mut shape =
            if transposed { vec![channels, outputs / groups] } else { vec![outputs, channels / groups] };
        shape.extend((0..spatial).map(|_| 1 + self.random.below(3)));
        let mut each = |n: usize| (0..spatial).map(|_| self.random.below(n)).collect::<Vec<_>>();
        let stride: Vec<usize> = each(2).iter().map(|s| s + 1).collect();
        let padding = each(3).into_iter().zip(each(3)).collect();
        let dilation = each(2).iter().map(|d| d + 1).collect();
        let output_padding =
            if transposed { stride.iter().map(|s| s - 1).collect() } else { vec![0; spatial] };
        let w = self.source(TensorType::new(ty.dtype, shape), Some(false));
        let c = Convolution { stride, padding, dilation, groups, transposed, output_padding };
        computes(LayerKind::Convolution(c), vec![x, w])
    }

    fn pool(&mut self) -> Option<Proposal> {
        let x = self.any();
        let spatial = self.ty(x).rank().checked_sub(2).filter(|s| (1..=3).contains(s))?;
        let max = self.random.chance(0.5);
        let divisor = self.random.chance(0.2).then_some(3);
        let op = match max {
            true => PoolOp::Max,
            false => PoolOp::Average { count_padding: self.random.chance(0.5), divisor },
        };
        let mut each = |n: usize| (0..spatial).map(|_| self.random.below(n)).collect::<Vec<_>>();
        let window: Vec<usize> = each(3).iter().map(|n| n + 1).collect();
        let stride = each(2).iter().map(|n| n + 1).collect();
        let padding = window.iter().map(|w| (w / 2, w / 2)).collect();
        let dilation = if max { each(2).iter().map(|n| n + 1).collect() } else { vec![1; spatial] };
        let overhang = each(2);
        let indices = max && self.all_exact(&[x]) && self.random.chance(0.3);
        let p = Pool { op, window, stride, padding, dilation, overhang, indices };
        Some(Proposal { kind: LayerKind::Pool(p), inputs: vec![x], keeps_exact: max })
    }

    fn statistics(&mut self) -> Option<Proposal> {
        let x = self.any_float()?;
        let rank = self.ty(x).rank();
        if self.random.chance(0.5) {
            let axis = self.some_axis(rank)?;
            return computes(LayerKind::Softmax { axis, log: self.random.chance(0.4) }, vec![x]);
        }
        let axes = self.some_axes(rank);
        computes(LayerKind::Normalize { axes, eps: 0.1, rms: self.random.chance(0.4) }, vec![x])
    }

    fn reshape(&mut self) -> Option<Proposal> {
        let x = self.any();
        let mut shape = self.ty(x).shape;
        match self.random.below(3) {
            0 => shape.insert(self.random.below(shape.len() + 1), 1),
            1 if shape.len() > 1 => {
                let at = self.random.below(shape.len() - 1);
                shape[at] *= shape.remove(at + 1);
            }
            _ => shape = vec![shape.iter().product()],
        }
        moves(LayerKind::Reshape { shape }, vec![x])
    }

    fn permute(&mut self) -> Option<Proposal> {
        let x = self.any();
        let mut axes: Vec<usize> = (0..self.ty(x).rank()).collect();
        for i in (1..axes.len()).rev() {
            axes.swap(i, self.random.below(i + 1));
        }
        moves(LayerKind::Permute { axes }, vec![x])
    }

    fn slice(&mut self) -> Option<Proposal> {
        let x = self.any();
        let mut range = |n: usize| {
            if n == 0 || self.random.chance(0.5) {
                return Range::full(n);
            }
            let start = self.random.below(n);
            let step = *self.random.pick(&[1, 1, 2, -1]);
            let room = if step > 0 { (n - 1 - start) / step as usize + 1 } else { start + 1 };
            Range { start, step, len: 1 + self.random.below(room) }
        };
        let ranges = self.builder.ty(x).shape.iter().map(|&n| range(n)).collect();
        moves(LayerKind::Slice { ranges }, vec![x])
    }

    fn concat(&mut self) -> Option<Proposal> {
        let x = self.any();
        let axis = self.some_axis(self.ty(x).rank())?;
        let mut inputs = vec![x];
        for _ in 0..self.random.below(3) {
            let v = self.any();
            inputs.push(if self.joins(x, v, axis) { v } else { x });
        }
        moves(LayerKind::Concat { axis }, inputs)
    }

    /// What an earlier concatenation joins, and more.
    fn longer_concat(&mut self) -> Option<Proposal> {
        let joined = |l: &&Layer| matches!(l.kind, LayerKind::Concat { .. });
        let Layer { kind, mut inputs, .. } = self.builder.network().layers.iter().rev().find(joined)?.clone();
        let LayerKind::Concat { axis } = kind else { return None };
        let v = self.any();
        inputs.push(if self.joins(inputs[0], v, axis) { v } else { inputs[0] });
        moves(kind, inputs)
    }

    /// Can the two be joined along the axis?
    fn joins(&self, x: ValueId, y: ValueId, axis: usize) -> bool {
        let (a, b) = (self.ty(x), self.ty(y));
        let agree = |i| i == axis || a.shape[i] == b.shape[i];
        a.dtype == b.dtype && a.rank() == b.rank() && (0..a.rank()).all(agree)
    }

    fn pad(&mut self) -> Option<Proposal> {
        let x = self.any();
        let border = (0..self.ty(x).rank()).map(|_| (self.random.below(3), self.random.below(3))).collect();
        let modes = [
            PadMode::Constant(0.0),
            PadMode::Constant(1.0),
            PadMode::Reflect,
            PadMode::Replicate,
            PadMode::Circular,
        ];
        moves(LayerKind::Pad { border, mode: *self.random.pick(&modes) }, vec![x])
    }

    fn pick(&mut self) -> Option<Proposal> {
        let x = self.any();
        let ty = self.ty(x);
        let axis = self.some_axis(ty.rank())?;
        let n = ty.shape[axis];
        if self.random.chance(0.4) {
            let k = self.random.below(n + 1);
            let kind = LayerKind::TopK { axis, k, largest: self.random.chance(0.5) };
            return if self.all_exact(&[x]) { moves(kind, vec![x]) } else { None };
        }
        let elements = self.random.chance(0.5);
        let mut shape = ty.shape.clone();
        if elements {
            shape[axis] = 1 + self.random.below(4);
        } else {
            shape = (0..self.random.below(3)).map(|_| 1 + self.random.below(3)).collect();
        }
        if n == 0 {
            return None;
        }
        let dtype = *self.random.pick(&[DType::I64, DType::I32]);
        let literal = self.random.literal_in(TensorType::new(dtype, shape), -(n as f64), n as f64);
        let index = self.place(literal, None);
        moves(LayerKind::Gather { axis, elements }, vec![x, index])
    }
}
