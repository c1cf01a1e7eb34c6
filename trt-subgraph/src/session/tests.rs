use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::Cuda;
use crate::backend::reference::{Reference, evaluate};
use crate::network::Network;
use crate::plan::Recipe;
use crate::{Random, compare};

fn plan() -> (Plan, Vec<Literal>) {
    let text = "input %x: f32[4,8]\ninput %i: i64[3]\ninput %none: f32[0,2]\nparam \"w\": f32[8,5]\n%w: f32[8,5] = parameter 0\n\
                %y = matmul(%x, %w)\n%z = gather(%y, %i) axis=0\noutput %z, %none";
    let network = Network::parse(text).unwrap();
    let weights = vec![Random::new(1).literal(network.parameters[0].ty.clone())];
    let recipe = Recipe::new(&network, &weights).inputs(["x", "i", "none"]).outputs(["z", "same"]);
    (Plan::from_bytes(recipe.to_bytes().unwrap()).unwrap(), weights)
}

#[test]
fn sessions_run_by_name_on_every_backend() {
    let (plan, weights) = plan();
    let backends: [&dyn Backend; 3] = [&Reference, &Cpu, &Cuda];
    for backend in backends.into_iter().filter(|b| b.probe().is_ok()) {
        let first = Session::new(&plan, backend, plan.options()).unwrap();
        let mut sessions = [first.fork().unwrap(), first];
        for (seed, session) in sessions.iter_mut().enumerate() {
            let mut random = Random::new(seed as u64);
            let x = random.literal(plan.inputs()[0].ty.clone());
            let i = random.literal_in(plan.inputs()[1].ty.clone(), 0.0, 4.0);
            session.set("x", &x).unwrap();
            session.input_mut("i").unwrap().copy_from_slice(i.bytes());
            session.start().unwrap();
            let none = Literal::zeros(plan.inputs()[2].ty.clone());
            let expected = evaluate(plan.network(), &weights, &[x, i, none]).unwrap();
            compare(&session.get("z").unwrap(), &expected[0], 1e-5).unwrap();
            assert_eq!(session.get("same").unwrap(), expected[1]);
            let whole = session.get("z").unwrap();
            assert_eq!(session.output("z").unwrap(), whole.bytes());
            assert_eq!(session.stream().0.is_null(), backend.name() != "cuda");
        }
    }
}

/// The parts of a call, one by one: what was not sent is not seen on a device, what was is, and twice the same gives the same.
#[test]
fn the_parts_of_a_call_are_a_call() {
    let (plan, weights) = plan();
    let backends: [&dyn Backend; 3] = [&Reference, &Cpu, &Cuda];
    for backend in backends.into_iter().filter(|b| b.probe().is_ok()) {
        let mut session = Session::new(&plan, backend, plan.options()).unwrap();
        for seed in 0..3 {
            let x = Random::new(seed).literal(plan.inputs()[0].ty.clone());
            session.input_mut("x").unwrap().copy_from_slice(x.bytes());
            session.send().unwrap();
            session.execute().unwrap();
            session.execute().unwrap();
            session.fetch().unwrap();
            session.wait().unwrap();
            let [i, none] = [1, 2].map(|at| Literal::zeros(plan.inputs()[at].ty.clone()));
            let expected = evaluate(plan.network(), &weights, &[x, i, none]).unwrap();
            compare(&session.get("z").unwrap(), &expected[0], 1e-5).unwrap();
            let start = std::time::Instant::now();
            let times = session.run_timed().unwrap();
            let whole = start.elapsed();
            assert!(
                !times.execute.is_zero() && times.send + times.execute + times.fetch <= whole,
                "{times:?} {whole:?}"
            );
            compare(&session.get("z").unwrap(), &expected[0], 1e-5).unwrap();
        }
    }
}

#[test]
fn errors_name_what_there_is() {
    let (plan, _) = plan();
    let mut session = Session::new(&plan, &Reference, plan.options()).unwrap();
    let error = session.output("y").unwrap_err().to_string();
    assert_eq!(error, "there is no output 'y'; there are: z, same");
    assert!(session.input_mut("z").is_err());
    let other = Literal::zeros(plan.inputs()[1].ty.clone());
    let error = session.set("x", &other).unwrap_err().to_string();
    assert_eq!(error, "input 'x' is i64[3], the plan has f32[4,8]");
    session
        .input_mut("i")
        .unwrap()
        .copy_from_slice(Literal::from_i64(other.ty().clone(), [0, 9, 1]).unwrap().bytes());
    assert!(matches!(
        session.run().unwrap_err(),
        SessionError::Run(crate::backend::RunError::Index { index: 9, .. })
    ));
}
