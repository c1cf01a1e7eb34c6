//! Trains LeNet-5 on handwritten digits and evaluates it on the held-out ones.
//!
//! `cargo run --release --example lenet5 [MNIST_DIR]`: without a folder, on the digits that ship with the project.

mod net;

use anyhow::Result;
use examples::{digits, evaluation};
use net::LeNet;
use std::path::Path;
use tch::nn::{Module, VarStore};

fn main() -> Result<()> {
    let data = match std::env::args_os().nth(1) {
        Some(dir) => digits::mnist(Path::new(&dir))?,
        None => digits::shipped()?,
    };
    let (training, held_out) = (data.train_images.size()[0], data.test_images.size()[0]);
    println!("{training} digits to train LeNet-5 with, {held_out} held out");

    tch::manual_seed(1);
    let vs = VarStore::new(tch::Device::Cpu);
    let net = LeNet::new(vs.root());
    net::train(&net, &vs, &data)?;

    for batch in [1, 64] {
        let host = evaluation::evaluate(&data, batch, &mut |images| Ok(net.forward(images)))?;
        let per_image = host.time / held_out as u32;
        println!("host, batch {batch:2}: accuracy {:.2} %, {per_image:.1?} an image", 100. * host.accuracy);
    }
    Ok(())
}
