//! Layers that own parameters: linear against a matrix product, batch normalization against hand-made statistics,
//! and what the modes do to the graph.

use candle_core::{Device, Result, Tensor};
use hueristic::{
    nn::{
        Mode, TrainingPass,
        init::Filler,
        layers::{BatchNorm, BatchNormOptions, Conv, ConvShape, Fillers, LayerCall, Linear},
        params::Params,
    },
    ops::{conv::ConvGeometry, tape::Tape},
    rng::Rng,
};
use std::collections::HashMap;

const FILLERS: Fillers = Fillers { weight: Filler::Xavier, bias: Some(Filler::Constant { value: 0.25 }) };

fn empty() -> Params {
    Params::new(&Device::Cpu)
}
fn ramp(shape: &[usize]) -> Result<Tensor> {
    let count = shape.iter().product::<usize>() as f32;
    (Tensor::arange(0f32, count, &Device::Cpu)? * 0.37)?.sin()?.reshape(shape)
}
fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
}
fn near(a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.dims(), b.dims());
    for (a, b) in flat(a).iter().zip(flat(b)) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }
}
fn training() -> Mode {
    Mode::Train(TrainingPass::new(Rng::new(0)))
}

#[test]
fn linear_is_a_matrix_product() -> Result<()> {
    let mut params = empty();
    let linear = Linear::new(&mut params, "probe", (7, 3), FILLERS, &Rng::new(1))?;
    let weight = params.get("probe.weight").expect("added").as_detached_tensor();
    assert_eq!(weight.dims(), [3, 7]);
    let x = ramp(&[5, 7])?;
    near(&linear.forward(&x, &Mode::Frozen)?, &(x.matmul(&weight.t()?)? + 0.25)?, 1e-5);
    let upstream = ramp(&[5, 3])?;
    let (tape, mut gradients) = (Tape::default(), HashMap::new());
    let loss = (linear.forward(&x, &Mode::Eval(tape.clone()))? * &upstream)?.sum_all()?;
    tape.backward(loss, &mut gradients)?;
    let grad =
        |name: &str| gradients.get(&params.get(name).expect("added").id()).cloned().expect("a gradient");
    near(&grad("probe.weight"), &upstream.t()?.matmul(&x)?, 1e-5);
    near(&grad("probe.bias"), &upstream.sum(0)?, 1e-5);
    Ok(())
}

#[test]
fn frozen_layers_are_constants() -> Result<()> {
    let mut params = empty();
    let linear = Linear::new(&mut params, "probe", (7, 3), FILLERS, &Rng::new(1))?;
    let x = ramp(&[2, 7])?;
    assert!(linear.forward(&x, &Mode::Eval(Tape::default()))?.track_op());
    assert!(!linear.forward(&x, &Mode::Frozen)?.track_op());
    Ok(())
}

/// Three batches through Caffe's accumulators and PyTorch's running means, both kept by hand.
#[test]
fn running_statistics_move_by_both_rules() -> Result<()> {
    for options in [BatchNormOptions::CAFFE, BatchNormOptions::PYTORCH] {
        let mut params = empty();
        let norm = BatchNorm::new(&mut params, "bn1", 2, options)?;
        assert_eq!(params.count(), if options.affine { 4 } else { 0 });
        let (mut accumulated, mut weight, mut running) = (0.0, 0.0, 0.0);
        for step in 1..4 {
            let x = (ramp(&[2, 3, 3, 2])? + f64::from(step))?;
            norm.forward(&x, &training())?;
            let mean = f64::from(flat(&x.reshape((18, 2))?.mean(0)?)[0]);
            (accumulated, weight) = (0.999 * accumulated + mean, 0.999 * weight + 1.0);
            running = 0.9 * running + 0.1 * mean;
        }
        let got = f64::from(flat(params.named("bn1.running_mean").expect("a buffer"))[0]);
        let wanted = if options.affine { running } else { accumulated / weight };
        assert!((got - wanted).abs() < 1e-5, "{options:?}: {got} is not {wanted}");
    }
    Ok(())
}

#[test]
fn evaluation_leaves_the_statistics_alone() -> Result<()> {
    let mut params = empty();
    let norm = BatchNorm::new(&mut params, "bn1", 2, BatchNormOptions::CAFFE)?;
    norm.forward(&ramp(&[2, 3, 3, 2])?, &training())?;
    let before: Vec<_> = params.buffers().iter().map(|(_, var)| flat(var)).collect();
    let call = LayerCall { mode: &Mode::Frozen, relu: true, wants: &[] };
    let out = norm.evaluate(&(ramp(&[2, 3, 3, 2])? * 5.0)?, call)?.y;
    let after: Vec<_> = params.buffers().iter().map(|(_, var)| flat(var)).collect();
    assert_eq!(before, after);
    assert!(flat(&out).iter().all(|v| *v >= 0.0), "the ReLU is missing");
    Ok(())
}

#[test]
fn channels_that_do_not_split_are_refused() {
    let geometry = ConvGeometry { stride: 1, pad: 0, dilation: 1, groups: 2 };
    let shape = ConvShape { inputs: 3, outputs: 4, kernel: 1 };
    let error =
        Conv::new(&mut empty(), "conv2", shape, geometry, FILLERS, &Rng::new(0)).expect_err("3 in 2 groups");
    assert!(error.to_string().contains("conv2: 3 → 4 channels do not split into 2 groups"), "{error}");
}
