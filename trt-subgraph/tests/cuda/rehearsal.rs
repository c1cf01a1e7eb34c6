//! The CUDA backend without a GPU: every kernel compiles and every program is sound.
//!
//! The variables are those of the tests on a GPU; of the kernels one in `KERNEL_STEP` is compiled. Where the run-time compiler is missing, the
//! tests say so and pass.

use crate::random::sample;
use crate::{cases, layers, number};
use trt_subgraph::backend::cuda::Rehearsal;
use trt_subgraph::pass::{Options, optimize};

/// All programs are checked on the null device; of the kernels a third goes to each architecture.
#[test]
fn kernels_compile_and_programs_are_sound_without_a_device() {
    let capabilities = [80, 90, 120];
    let mut rehearsals = Vec::new();
    for capability in capabilities {
        match Rehearsal::new(capability) {
            Ok(r) => rehearsals.push(r),
            Err(e) => return eprintln!("not run: {e}"),
        }
    }
    let cases = cases();
    let seeds = number("RANDOM_SEED", 0)..number("RANDOM_SEED", 0) + number("RANDOM_NETWORKS", 200);
    let samples = seeds.map(|seed| (format!("RANDOM_SEED={seed}"), sample(seed).network));
    let networks = cases.into_iter().map(|(place, lowered)| (place, lowered.network)).chain(samples);
    for (at, (place, network)) in networks.enumerate() {
        let optimized = optimize(network.clone(), &Options::default());
        let rehearsal = &mut rehearsals[at % capabilities.len()];
        for n in [&network, &optimized] {
            rehearsal.add(n).unwrap_or_else(|e| panic!("{place}: {e}\n{n}"));
        }
    }
    let step = number("KERNEL_STEP", 12) as usize;
    for (rehearsal, capability) in rehearsals.iter().zip(capabilities) {
        let bytes = rehearsal.compile(0, step).unwrap_or_else(|e| panic!("sm_{capability}: {e}"));
        eprintln!(
            "sm_{capability}: {} kernels, one in {step} compiled to {bytes} bytes",
            rehearsal.kernels()
        );
        assert!(bytes > 0);
    }
}

/// As above, of convolutions and products in every way of our own.
#[test]
fn every_way_compiles_and_is_sound_without_a_device() {
    let step = number("KERNEL_STEP", 60) as usize;
    for capability in [80, 90, 120] {
        let mut rehearsal = match Rehearsal::new(capability) {
            Ok(r) => r,
            Err(e) => return eprintln!("not run: {e}"),
        };
        for seed in 0..number("LAYERS", 60) {
            let (network, ..) = layers::sample(seed);
            rehearsal.add_every_way(&network).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{network}"));
        }
        let bytes = rehearsal.compile(0, step).unwrap_or_else(|e| panic!("sm_{capability}: {e}"));
        eprintln!(
            "sm_{capability}: {} kernels, one in {step} compiled to {bytes} bytes",
            rehearsal.kernels()
        );
        assert!(bytes > 0);
    }
}
