//! Our layers beside candle-nn's, whose forward passes are an independent witness (NCHW there, NHWC here).

use candle_core::{Device, Result, Tensor};
use candle_nn::{BatchNorm as Theirs, Conv2dConfig, Module, ModuleT};
use hueristic::{
    extremes::between,
    nn::{
        Mode, TrainingPass,
        init::Filler,
        layers::{BatchNorm, BatchNormOptions, Conv, ConvShape, Fillers, Linear},
        params::Params,
    },
    ops::{conv::ConvGeometry, losses::cross_entropy},
    rng::Rng,
};
use rand::RngExt;

const FILLERS: Fillers = Fillers { weight: Filler::Msra, bias: Some(Filler::Constant { value: 0.1 }) };

fn noise(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = Rng::new(seed).at(0, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn close(ours: &Tensor, theirs: &Tensor) -> Result<()> {
    let gap = between(ours, theirs)?;
    assert!(gap < 1e-4, "largest difference {gap}");
    Ok(())
}

#[test]
fn convolution() -> Result<()> {
    let mut params = Params::new(&Device::Cpu);
    let g = ConvGeometry { stride: 2, pad: 2, dilation: 1, groups: 2 };
    let shape = ConvShape { inputs: 6, outputs: 10, kernel: 5 };
    let conv = Conv::new(&mut params, "conv", shape, g, FILLERS, &Rng::new(1))?;
    let x = noise(&[3, 13, 11, 6], 2)?;
    let [weight, bias] =
        ["conv.weight", "conv.bias"].map(|name| params.get(name).map(|v| v.as_tensor().clone()));
    let oihw = weight.map(|w| w.permute((0, 3, 1, 2))?.contiguous()).transpose()?;
    let config = Conv2dConfig { padding: 2, stride: 2, groups: 2, ..Default::default() };
    let theirs = candle_nn::Conv2d::new(oihw.unwrap(), bias, config);
    let y = theirs.forward(&x.permute((0, 3, 1, 2))?.contiguous()?)?.permute((0, 2, 3, 1))?;
    close(&conv.forward(&x, &Mode::Frozen)?, &y)
}

#[test]
fn batch_norm_in_training_and_after() -> Result<()> {
    let mut params = Params::new(&Device::Cpu);
    let ours = BatchNorm::new(
        &mut params,
        "bn",
        5,
        BatchNormOptions { affine: false, ..BatchNormOptions::PYTORCH },
    )?;
    let zeros = Tensor::zeros(5, candle_core::DType::F32, &Device::Cpu)?;
    let theirs = Theirs::new_no_bias(5, zeros.clone(), zeros.ones_like()?, 1e-5)?;
    for seed in 0..3 {
        let x = (noise(&[4, 3, 7, 5], seed)? * 3.0)?;
        let nchw = x.permute((0, 3, 1, 2))?.contiguous()?;
        let y = theirs.forward_t(&nchw, true)?.permute((0, 2, 3, 1))?;
        close(&ours.forward(&x, &Mode::Train(TrainingPass::new(Rng::new(0))))?, &y)?;
    }
    let x = noise(&[2, 3, 3, 5], 9)?;
    let y = theirs.forward_t(&x.permute((0, 3, 1, 2))?.contiguous()?, false)?.permute((0, 2, 3, 1))?;
    close(&ours.forward(&x, &Mode::Frozen)?, &y)
}

#[test]
fn linear_and_cross_entropy() -> Result<()> {
    let mut params = Params::new(&Device::Cpu);
    let linear = Linear::new(&mut params, "fc", (37, 11), FILLERS, &Rng::new(3))?;
    let [weight, bias] = ["fc.weight", "fc.bias"].map(|name| params.get(name).map(|v| v.as_tensor().clone()));
    let x = noise(&[9, 37], 4)?;
    let theirs = candle_nn::Linear::new(weight.unwrap(), bias).forward(&x)?;
    close(&linear.forward(&x, &Mode::Frozen)?, &theirs)?;
    let labels = Tensor::from_vec((0..9u32).collect::<Vec<_>>(), 9, &Device::Cpu)?;
    close(&cross_entropy(&theirs, &labels, None)?, &candle_nn::loss::cross_entropy(&theirs, &labels)?)
}
