//! Layers that nothing reads are dropped.

use super::Pass;
use crate::network::{Draft, Edit};

pub(super) const PASS: Pass = Pass { name: "dead", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    draft.layer(at).outputs.iter().all(|&v| draft.uses(v) == 0).then(|| Edit::drop(at))
}

#[cfg(test)]
mod tests {
    use crate::network::expr::Unary;
    use crate::network::{Builder, LayerKind};
    use crate::pass::check::{self, f32s, unary};

    #[test]
    fn chains_go_and_outputs_stay() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[4]));
        let exp = unary(&mut b, Unary::Exp, x);
        unary(&mut b, Unary::Neg, exp);
        let kept = b.add(LayerKind::Softmax { axis: 0, log: false }, &[x]).unwrap();
        let out = check::pass("dead", b.finish(vec![kept, x]), true);
        assert_eq!(check::kinds(&out), "softmax");
        assert_eq!(out.values.len(), 2);
    }
}
