//! Convolutions and transposed convolutions against f64 on the CPU: on a GPU (program `devices`), and on the CPU in bf16
//! (program `operations`). Tolerances follow the rounding of f64 and f32, and for bf16 that of inputs and outputs.

use super::tested;
use candle_core::{DType, Device, Result, Tensor, Var};
use hueristic::extremes::{between, largest_of};
use hueristic::ops::conv::{ConvGeometry, conv2d, conv2d_relu};
use hueristic::ops::conv_transpose::{conv_transpose2d, conv_transpose2d_relu};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// (B, H, W, C), (O, KH, KW), [stride, pad, dilation, groups].
type Case = ([usize; 4], [usize; 3], [usize; 4]);

/// Reduced layers of both colorizers and edge cases: one or few channels, channels not divisible by 8, groups, sizes
/// not divisible by the stride, kernels that cover the whole map.
const CASES: &[Case] = &[
    ([2, 31, 30, 1], [24, 11, 11], [4, 5, 1, 1]),
    ([2, 9, 9, 16], [32, 5, 5], [1, 2, 1, 2]),
    ([2, 6, 5, 24], [16, 3, 3], [1, 1, 1, 1]),
    ([2, 12, 12, 16], [24, 6, 6], [1, 5, 2, 1]),
    ([3, 4, 4, 24], [313, 1, 1], [1, 0, 1, 1]),
    ([3, 4, 5, 20], [24, 1, 1], [1, 0, 1, 1]),
    ([2, 10, 7, 16], [16, 3, 3], [2, 1, 1, 1]),
    ([2, 7, 7, 16], [8, 3, 3], [1, 2, 2, 1]),
    ([2, 7, 6, 3], [5, 3, 2], [2, 1, 1, 1]),
    ([1, 8, 11, 12], [18, 2, 3], [3, 1, 2, 3]),
    ([5, 1, 1, 40], [10, 1, 1], [1, 0, 1, 1]),
    ([1, 13, 13, 32], [64, 4, 4], [2, 1, 1, 1]),
];

fn random(dims: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// Largest difference relative to the largest expected value.
fn gap(got: &Tensor, want: &Tensor) -> Result<f64> {
    assert_eq!(got.dims(), want.dims());
    let got = got.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(between(&got, want)? / largest_of(want)?)
}

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 1e-5,
        _ => 1e-2,
    }
}

/// Whether every element of `got`, in bf16, is that of `want` within the rounding of a sum in f32 and that of bf16.
fn is_rounded_once(got: &Tensor, want: &Tensor) -> Result<bool> {
    let (got, want) = (got.to_dtype(DType::F64)?, want.to_dtype(DType::F64)?);
    let most = want.abs()?.affine(1.0 / 256.0, 1e-6 * largest_of(&want)?)?;
    Ok((got - want)?.abs()?.gt(&most)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()? == 0.0)
}

/// Rounded to that dtype, in f64.
fn rounded(t: &Tensor, dtype: DType) -> Result<Tensor> {
    t.to_dtype(dtype)?.to_dtype(DType::F64)
}

type Layer<'a> = dyn Fn(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor> + 'a;

/// The result and the gradients of x, w and, with one, the bias, of Σ r·result.
fn passes(layer: &Layer, inputs: [Tensor; 3], biased: bool, r: &Tensor) -> Result<Vec<Tensor>> {
    let [x, w, bias] = inputs.map(|t| Var::from_tensor(&t));
    let (x, w, bias) = (x?, w?, bias?);
    let y = layer(&x, &w, biased.then_some(bias.as_tensor()))?;
    let mut gradients = (&y * r)?.to_dtype(DType::F64)?.sum_all()?.backward()?;
    let mut all = vec![y.detach()];
    for var in [Some(&x), Some(&w), biased.then_some(&bias)].into_iter().flatten() {
        all.push(gradients.remove(var).expect("a gradient for each variable"));
    }
    Ok(all)
}

/// Compares the device with f64 on the CPU, on inputs rounded to the dtype.
fn compare(name: &str, device: &Device, dims: [&[usize]; 4], layer: &Layer, dtype: DType) -> Result<()> {
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let [x, w, bias, r] = [0, 1, 2, 3].map(|i| random(dims[i], i as u64 + 1));
    // filters reach the products in the tensors' own type
    let (x, w, r) = (rounded(&x?, dtype)?, rounded(&w?, dtype)?, rounded(&r?, dtype)?);
    let bias = rounded(&bias?, wide)?;
    for biased in [false, true] {
        let want = passes(layer, [x.clone(), w.clone(), bias.clone()], biased, &r)?;
        let there = |t: &Tensor, dtype| t.to_dtype(dtype)?.to_device(device);
        let inputs = [there(&x, dtype)?, there(&w, wide)?, there(&bias, wide)?];
        let got = passes(layer, inputs, biased, &there(&r, dtype)?)?;
        for (what, (got, want)) in ["y", "dx", "dw", "db"].into_iter().zip(got.iter().zip(&want)) {
            let types = if matches!(what, "y" | "dx") { dtype } else { wide };
            assert_eq!(got.dtype(), types, "{name}: {what}");
            let gap = gap(got, want)?;
            // on a GPU, gradients of parameters may be rounded to the maps' dtype too
            let tolerance = tolerance(if device.is_cpu() { types } else { dtype });
            assert!(gap < tolerance, "{name} in {dtype:?}, bias {biased}: {what} is off by {gap:e}");
            let exact = device.is_cpu() && types == DType::BF16;
            assert!(!exact || is_rounded_once(got, want)?, "{name}, bias {biased}: {what} is rounded twice");
        }
    }
    Ok(())
}

#[test]
fn convolutions() -> Result<()> {
    let Some((device, dtypes)) = tested() else { return Ok(()) };
    for &(x, [o, kh, kw], [stride, pad, dilation, groups]) in CASES {
        let g = ConvGeometry { stride, pad, dilation, groups };
        let y = [x[0], g.out(x[1], kh), g.out(x[2], kw), o];
        let dims: [&[usize]; 4] = [&x, &[o, kh, kw, x[3] / groups], &[o], &y];
        for &dtype in dtypes {
            let name = format!("conv2d of {x:?}, {o} × {kh} × {kw}, {g:?}");
            compare(&name, &device, dims, &|x, w, b| conv2d(x, w, b, g), dtype)?;
        }
    }
    Ok(())
}

#[test]
fn transposed_convolutions() -> Result<()> {
    let Some((device, dtypes)) = tested() else { return Ok(()) };
    for &([b, h, w, c], [o, kh, kw], [stride, pad, dilation, groups]) in CASES {
        // the case read backwards: from its outputs to its inputs
        let g = ConvGeometry { stride, pad, dilation, groups };
        let x = [b, g.out(h, kh), g.out(w, kw), o];
        let y = [b, g.transposed_out(x[1], kh), g.transposed_out(x[2], kw), c];
        let dims: [&[usize]; 4] = [&x, &[o, kh, kw, c / groups], &[c], &y];
        for &dtype in dtypes {
            let name = format!("conv_transpose2d of {x:?}, {c} × {kh} × {kw}, {g:?}");
            compare(&name, &device, dims, &|x, w, b| conv_transpose2d(x, w, b, g), dtype)?;
        }
    }
    Ok(())
}

/// The ReLU in the same pass is the ReLU of the sums, bit for bit, in every type.
#[test]
fn a_fused_relu_is_the_relu_of_the_result() -> Result<()> {
    let Some((device, _)) = tested() else { return Ok(()) };
    for &(x, [o, kh, kw], [stride, pad, dilation, groups]) in CASES {
        let g = ConvGeometry { stride, pad, dilation, groups };
        let on = |dims: &[usize], seed, dtype| random(dims, seed)?.to_dtype(dtype)?.to_device(&device);
        let (x, w) = (on(&x, 1, DType::BF16)?, on(&[o, kh, kw, x[3] / groups], 2, DType::F32)?);
        let bias = on(&[o], 3, DType::F32)?;
        let zero = |t: Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let sums = zero(conv2d(&x, &w, Some(&bias), g)?)?;
        let fused = zero(conv2d_relu(&x, &w, Some(&bias), g)?)?;
        assert_eq!(fused, sums.iter().map(|v| v.max(0.0)).collect::<Vec<_>>(), "{g:?}");
        let y = on(conv2d(&x, &w, None, g)?.dims(), 4, DType::BF16)?;
        let sums = zero(conv_transpose2d(&y, &w, None, g)?)?;
        let fused = zero(conv_transpose2d_relu(&y, &w, None, g)?)?;
        assert_eq!(fused, sums.iter().map(|v| v.max(0.0)).collect::<Vec<_>>(), "transposed {g:?}");
    }
    Ok(())
}

/// Filters are rounded to bf16 before they are multiplied; biases are not on the CPU.
#[test]
fn filters_of_bf16_are_rounded() -> Result<()> {
    let Some((device, _)) = tested() else { return Ok(()) };
    let on = |t: Tensor, dtype| t.to_dtype(dtype)?.to_device(&device);
    let x = on(random(&[2, 6, 5, 8], 1)?, DType::BF16)?;
    let (w, bias) = (random(&[8, 3, 3, 8], 2)?, random(&[8], 3)?);
    let sums = |w: &Tensor, bias: &Tensor| {
        let [w, bias] = [w, bias].map(|t| on(t.clone(), DType::F32));
        let (w, bias) = (w?, bias?);
        let maps =
            [conv2d, conv_transpose2d].map(|layer| layer(&x, &w, Some(&bias), ConvGeometry::default()));
        maps.into_iter()
            .map(|y| y?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>())
            .collect::<Result<Vec<_>>>()
    };
    assert_eq!(sums(&w, &bias)?, sums(&rounded(&w, DType::BF16)?, &bias)?);
    let one = Tensor::ones(8, DType::F64, &Device::Cpu)?;
    let little = (&one * 1e-3)?; // halves of a result's last place are lost without the bias's low bits
    if device.is_cpu() {
        assert_ne!(sums(&w, &(&one + &little)?)?, sums(&w, &one)?);
    }
    Ok(())
}

#[test]
fn filters_of_another_type_are_refused() -> Result<()> {
    let Some((device, _)) = tested() else { return Ok(()) };
    let x = Tensor::zeros((1, 4, 4, 8), DType::BF16, &device)?;
    let w = Tensor::zeros((8, 3, 3, 8), DType::BF16, &device)?;
    let error = conv2d(&x, &w, None, ConvGeometry::default()).expect_err("bf16 filters").to_string();
    assert!(error.contains("conv2d") && error.contains("F32"), "{error}");
    Ok(())
}
