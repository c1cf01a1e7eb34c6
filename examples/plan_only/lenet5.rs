//! LeNet-5 (LeCun et al. 1998) with random weights: two convolutions, two poolings, three connected layers.

use trt_subgraph::define::{Activation, DefineError, Definition, Pooling, Window};
use trt_subgraph::network::ValueId;
use trt_subgraph::{DType, Random, TensorType};

/// Images of a batch.
const BATCH: usize = 16;

/// `image[16, 1, 28, 28]` to `probability[16, 10]` and the likeliest `digit[16, 1]`.
pub fn define() -> Result<Definition, DefineError> {
    let mut n = Definition::new();
    let mut random = Random::new(1);
    let mut pair = |n: &mut Definition, name: &str, shape: &[usize]| -> Result<[ValueId; 2], DefineError> {
        let bound = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
        let mut value =
            |shape: &[usize]| random.literal_in(TensorType::new(DType::F32, shape), -bound, bound);
        let weight = n.weight(&format!("{name}.weight"), value(shape))?;
        Ok([weight, n.weight(&format!("{name}.bias"), value(&shape[..1]))?])
    };
    let mut x = n.input("image", DType::F32, &[BATCH, 1, 28, 28])?;
    for (name, shape, padding) in [("conv1", [6, 1, 5, 5], 2), ("conv2", [16, 6, 5, 5], 0)] {
        let [weight, bias] = pair(&mut n, name, &shape)?;
        x = n.layer(name).convolution(x, weight, Some(bias), &Window::default().padded(&[padding]))?;
        x = n.activation(x, Activation::Tanh)?;
        x = n.pooling(x, Pooling::Average, &[2, 2], &Window::stride(&[2]))?;
    }
    x = n.layer("flatten").reshape(x, &[BATCH, 400])?;
    for (name, shape) in [("fc1", [120, 400]), ("fc2", [84, 120]), ("fc3", [10, 84])] {
        let [weight, bias] = pair(&mut n, name, &shape)?;
        x = n.layer(name).fully_connected(x, weight, Some(bias))?;
        if name != "fc3" {
            x = n.activation(x, Activation::Tanh)?;
        }
    }
    let probability = n.layer("probability").softmax(x, 1)?;
    let (_, digit) = n.layer("digit").top_k(probability, 1, 1, true)?;
    n.output("probability", probability)?;
    n.output("digit", digit)?;
    Ok(n)
}
