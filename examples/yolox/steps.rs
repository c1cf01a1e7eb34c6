//! The six steps of one picture through a deployed network. On a GPU the host's side is page-locked memory and copies travel on the stream
//! that the network runs on; on a CPU the same steps work where the picture lies.

use anyhow::Result;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};
use tch_bridge::TrtModule;

/// The steps, in order.
pub const STEPS: [&str; 6] = ["fill input", "to device", "execute", "from device", "synchronise", "hand out"];

/// A module with the host's memory for its input.
pub struct Execution<'a> {
    module: &'a TrtModule,
    device: Device,
    input: Tensor,
}

impl<'a> Execution<'a> {
    /// For inputs like this one, on a device.
    pub fn new(module: &'a TrtModule, device: Device, like: &Tensor) -> Result<Execution<'a>> {
        let plain = Tensor::f_zeros(like.size(), (Kind::Float, Device::Cpu))?;
        let input = if device.is_cuda() { plain.f_pin_memory(device)? } else { plain };
        Ok(Execution { module, device, input })
    }

    /// The boxes in `picture`, `[boxes, 6]` in the host's memory, and the time that the host spent in each step.
    pub fn run(&mut self, picture: &Tensor) -> Result<(Tensor, [Duration; 6])> {
        let mut times = [Duration::ZERO; 6];
        let mut start = Instant::now();
        let mut done = |step: usize| {
            times[step] = start.elapsed();
            start = Instant::now();
        };
        self.input.f_copy_(picture)?;
        done(0);
        let input = self.input.f_to_device_(self.device, Kind::Float, true, false)?;
        done(1);
        let found = self.module.forward_ts(&[input])?;
        done(2);
        let boxes = found.f_to_device_(Device::Cpu, Kind::Float, true, false)?;
        done(3);
        if let Device::Cuda(at) = self.device {
            tch::Cuda::synchronize(at as i64);
        }
        done(4);
        let boxes = boxes.f_contiguous()?;
        done(5);
        Ok((boxes, times))
    }
}
