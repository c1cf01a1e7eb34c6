//! How far two answers lie apart.

use std::fmt;
use tch::{Device, Kind, Tensor};

/// The farthest that engines may lie from the host on a CPU, as a part of the answer's scale.
pub const TOLERANCE: f64 = 1e-5;

/// On a GPU, where libtorch's convolutions round their factors to the ten bits of TF32 unless they are told not to.
pub const TOLERANCE_ON_A_GPU: f64 = 5e-3;

/// The one of the two that counts.
pub fn tolerance(device: Device) -> f64 {
    if device.is_cuda() { TOLERANCE_ON_A_GPU } else { TOLERANCE }
}

/// How far two accuracies may lie apart on a device: not at all, but where TF32 rounds, which may decide an undecided image.
pub fn accuracy_tolerance(device: Device) -> f64 {
    if device.is_cuda() { 6e-3 } else { 0.0 }
}

/// The largest difference between two tensors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// Of one element; NaN when an element is NaN.
    pub absolute: f64,
    /// The largest magnitude in the tensor that was compared with.
    pub scale: f64,
}

impl Difference {
    /// Of `got` from `want`, in float64.
    ///
    /// # Panics
    /// When their shapes differ.
    pub fn between(got: &Tensor, want: &Tensor) -> Difference {
        assert_eq!(got.size(), want.size(), "answers to compare have one shape");
        let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
        let largest = |t: &Tensor| if t.numel() == 0 { 0.0 } else { t.abs().max().double_value(&[]) };
        Difference { absolute: largest(&(got - &want)), scale: largest(&want) }
    }

    /// As a part of the scale.
    pub fn relative(&self) -> f64 {
        if self.absolute == 0.0 { 0.0 } else { self.absolute / self.scale }
    }

    /// Is it within what is allowed on a device ([`tolerance`])? A NaN is not.
    pub fn is_small(&self, device: Device) -> bool {
        self.relative() <= tolerance(device)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1e}, {:.1e} of the scale", self.absolute, self.relative())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_against_the_scale() {
        let want = Tensor::from_slice(&[1.0f32, -200.0]);
        let far = Difference::between(&(&want + 0.5), &want);
        assert_eq!((far.absolute, far.scale, far.relative()), (0.5, 200.0, 0.0025));
        assert!(!far.is_small(Device::Cpu));
        assert!(Difference::between(&(&want * 1.000001), &want).is_small(Device::Cpu));
        assert!(Difference::between(&want.zeros_like(), &want.zeros_like()).is_small(Device::Cpu));
        let none = want.narrow(0, 0, 0);
        assert_eq!(Difference::between(&none, &none), Difference { absolute: 0.0, scale: 0.0 });
    }

    #[test]
    fn a_nan_is_never_small() {
        let want = Tensor::from_slice(&[1.0f32, 2.0]);
        assert!(!Difference::between(&Tensor::from_slice(&[1.0f32, f32::NAN]), &want).is_small(Device::Cpu));
    }
}
