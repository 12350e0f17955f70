//! Losses, color, resizing and RoI pooling on an NVIDIA GPU compared with the CPU. Skipped without a GPU.

use super::gpu;
use candle_core::{DType, Device, Result, Tensor, Var};
use hueristic::boxes::Rect;
use hueristic::color::bins::Bins;
use hueristic::color::channels::{ChannelOrder, look_up};
use hueristic::color::decode::{Decode, decode};
use hueristic::color::encode::SoftCode;
use hueristic::color::lab::{lab_to_rgb, rgb_to_lab};
use hueristic::color::nearest::nearest_bins;
use hueristic::ops::activation::{sigmoid, tanh};
use hueristic::ops::filter_axis::{AxisFilters, filter_axis};
use hueristic::ops::losses::{
    SoftCrossEntropy, bce_with_logits, cross_entropy, smooth_l1, soft_encoded_cross_entropy, squared_distance,
};
use hueristic::ops::resize::{interpolate, resize_bilinear};
use hueristic::ops::roi_pool::{Roi, roi_max_pool};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

fn random(shape: &[usize], reach: f64, seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-reach..reach)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The largest difference, relative to the largest number; what is not finite must be the same.
fn difference(name: &str, got: &Tensor, want: &Tensor) -> Result<f64> {
    assert_eq!((got.dims(), got.dtype()), (want.dims(), want.dtype()), "{name}");
    let (got, want) = (numbers(got)?, numbers(want)?);
    let largest = want.iter().filter(|v| v.is_finite()).fold(1e-30f64, |m, v| m.max(v.abs()));
    let mut worst = 0f64;
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        if w.is_finite() {
            assert!(g.is_finite(), "{name}: {g} at {i} should be {w}");
            worst = worst.max((g - w).abs() / largest);
        } else {
            assert!(g == w || (g.is_nan() && w.is_nan()), "{name}: {g} at {i} should be {w}");
        }
    }
    Ok(worst)
}

fn same(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    let worst = difference(name, got, want)?;
    assert!(worst <= tolerance, "{name}: {worst:e} of the largest number");
    Ok(())
}

/// Relative to the largest number.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-10 } else { 1e-5 }
}

const WIDE: [DType; 2] = [DType::F32, DType::F64];

/// Value of `op` and the gradient of Σ r·op(x), r random, on both devices.
fn check(
    gpu: &Device,
    name: &str,
    x: &Tensor,
    tolerance: f64,
    op: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let on = |device: &Device| -> Result<(Tensor, Tensor)> {
        let x = Var::from_tensor(&x.to_device(device)?)?;
        let y = op(&x)?;
        assert!(y.device().same_device(device), "{name} left its device");
        let r = random(y.dims(), 1.0, 99).to_dtype(y.dtype())?.to_device(device)?;
        let gradients = (&y * r)?.sum_all()?.backward()?;
        let dx = gradients.get(&x).cloned();
        Ok((y, dx.unwrap_or_else(|| panic!("{name}: no gradient"))))
    };
    let ((y, dx), (want, dx_want)) = (on(gpu)?, on(&Device::Cpu)?);
    same(name, &y, &want, tolerance)?;
    same(&format!("{name}, gradient"), &dx, &dx_want, tolerance)
}

fn code(grid: f32, neighbors: usize) -> SoftCode {
    SoftCode::new(Arc::new(Bins::new(grid)), neighbors, 5.0)
}

/// All numbers of the colorization loss, and its gradient.
fn check_soft(gpu: &Device, name: &str, x: &Tensor, ab: &Tensor, code: &SoftCode, gate: bool) -> Result<()> {
    let weights: Vec<f32> = (0..code.bins().len()).map(|i| 0.1 + (i * 37 % 11) as f32 * 0.3).collect();
    let (weights, gate) = if gate { (Some(&weights[..]), Some(5.0)) } else { (None, None) };
    let scored = |x: &Tensor| -> Result<SoftCrossEntropy> {
        soft_encoded_cross_entropy(x, &ab.to_device(x.device())?, code, weights, gate)
    };
    // Shares come from exponentials in f32, which the last bit of a library may round otherwise.
    let near = tolerance(x.dtype()).max(1e-7);
    let (got, want) = (scored(&x.to_device(gpu)?)?, scored(x)?);
    assert_eq!(got.pixels, want.pixels, "{name}");
    for (what, got, want) in [
        ("unweighted", &got.unweighted, &want.unweighted),
        ("weighted", &got.weighted, &want.weighted),
        ("target entropy", &got.target_entropy, &want.target_entropy),
    ] {
        same(&format!("{name}, {what}"), got, want, near)?;
    }
    check(gpu, name, x, near, |x| scored(x).map(|s| s.loss))
}

#[test]
fn soft_encoded() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    for dtype in WIDE {
        for (grid, k, [b, h, w]) in [
            (110.0, 1, [1, 1, 1]),
            (110.0, Bins::new(110.0).len(), [2, 3, 2]),
            (30.0, 5, [3, 7, 5]),
            (10.0, 10, [2, 9, 4]),
            (5.5, 32, [1, 4, 3]),
        ] {
            let code = code(grid, k);
            let x = random(&[b, h, w, code.bins().len()], 4.0, 1).to_dtype(dtype)?;
            let ab = random(&[b, h, w, 2], 120.0, 2).to_dtype(DType::F32)?;
            for gate in [false, true] {
                let name = format!("grid {grid}, K {k}, ({b}, {h}, {w}), {dtype:?}, gate {gate}");
                check_soft(&gpu, &name, &x, &ab, &code, gate)?;
            }
        }
    }
    Ok(())
}

/// A gray image beside a colorful one; colors between bins; colors far outside the gamut; and one that is none.
#[test]
fn soft_encoded_at_the_edges() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let code = code(10.0, 10);
    let colors = [
        [[0f32, 0.0], [5.0, -5.0], [4.9, 0.0], [-2.5, 2.5]],
        [[0.0, 0.0], [5.0, 5.0], [-15.0, 35.0], [4000.0, -3000.0]],
    ];
    let ab = Tensor::new(&[colors], &Device::Cpu)?.squeeze(0)?.reshape((2, 2, 2, 2))?;
    let x = random(&[2, 2, 2, 313], 8.0, 3).to_dtype(DType::F32)?;
    check_soft(&gpu, "edges", &x, &ab, &code, true)?;
    let broken = Tensor::new(&[[[[f32::NAN, 1.0], [30.0, 40.0]]]], &Device::Cpu)?;
    check_soft(
        &gpu,
        "a broken color",
        &x.narrow(0, 0, 1)?.narrow(1, 0, 1)?.contiguous()?,
        &broken,
        &code,
        false,
    )?;
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut logits = x.flatten_all()?.to_vec1::<f32>()?;
        logits[7] = value;
        let logits = Tensor::from_vec(logits, x.dims(), &Device::Cpu)?;
        check_soft(&gpu, &format!("a logit of {value}"), &logits, &ab, &code, true)?;
    }
    Ok(())
}

#[test]
fn soft_encoded_of_real_size() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let x = random(&[4, 23, 23, 313], 6.0, 4).to_dtype(DType::F32)?;
    let ab = random(&[4, 23, 23, 2], 90.0, 5).to_dtype(DType::F32)?;
    check_soft(&gpu, "23 × 23", &x, &ab, &code(10.0, 10), true)
}

#[test]
fn more_neighbors_than_lanes_are_refused() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let x = Tensor::zeros((1, 1, 1, 313), DType::F32, &gpu)?;
    let ab = Tensor::zeros((1, 1, 1, 2), DType::F32, &gpu)?;
    let error = soft_encoded_cross_entropy(&x, &ab, &code(10.0, 33), None, None).err().map(|e| e.to_string());
    assert!(error.as_ref().is_some_and(|e| e.contains("at most 32") && e.contains("33")), "{error:?}");
    Ok(())
}

#[test]
fn labels() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    for dtype in WIDE {
        for (n, k) in [(1, 1), (1, 1000), (3000, 21), (40, 100)] {
            let x = random(&[n, k], 9.0, 6).to_dtype(dtype)?;
            let labels: Vec<u32> =
                (0..n as u32).map(|i| if i % 7 == 3 { 255 } else { i * 31 % k as u32 }).collect();
            let labels = Tensor::from_vec(labels, n, &Device::Cpu)?;
            let name = format!("cross entropy ({n}, {k}), {dtype:?}");
            check(&gpu, &name, &x, tolerance(dtype), |x| {
                cross_entropy(x, &labels.to_device(x.device())?, Some(255))
            })?;
        }
    }
    Ok(())
}

#[test]
fn ignored_and_impossible_labels() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let x = Tensor::new(&[[0f32, 0.0], [f32::NAN, 1.0]], &Device::Cpu)?;
    for labels in [[1u32, 255], [255, 255]] {
        check(&gpu, "ignored", &x, 1e-6, |x| {
            cross_entropy(x, &Tensor::new(&labels, x.device())?, Some(255))
        })?;
    }
    let x = Tensor::zeros((2, 3), DType::F32, &gpu)?;
    let loss = cross_entropy(&x, &Tensor::new(&[0u32, 3], &gpu)?, None)?;
    assert!(loss.to_scalar::<f32>()?.is_nan(), "a label that no logit stands for shows");
    Ok(())
}

#[test]
fn losses_of_single_elements() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    for dtype in WIDE {
        for dims in [[1, 1], [3, 20], [517, 84]] {
            let (x, t) = (random(&dims, 5.0, 7).to_dtype(dtype)?, random(&dims, 2.0, 8).to_dtype(dtype)?);
            let yes = t.gt(0.0)?;
            let mask = random(&dims, 1.0, 9).gt(-0.7)?;
            let name = format!("{dims:?}, {dtype:?}");
            let near = tolerance(dtype);
            check(&gpu, &format!("tanh {name}"), &x, near, tanh)?;
            check(&gpu, &format!("sigmoid {name}"), &x, near, sigmoid)?;
            for mask in [None, Some(&mask)] {
                check(&gpu, &format!("bce {name}"), &x, near, |x| {
                    let mask = mask.map(|m| m.to_device(x.device())).transpose()?;
                    bce_with_logits(x, &yes.to_device(x.device())?, mask.as_ref(), 3.0)
                })?;
            }
            check(&gpu, &format!("smooth L1 {name}"), &x, near, |x| {
                let weights = (mask.to_dtype(DType::F64)? * 0.6)?.to_device(x.device())?;
                smooth_l1(x, &t.to_device(x.device())?, &weights, 7.0)
            })?;
            check(&gpu, &format!("squared distance {name}"), &x, near, |x| {
                let weights = (mask.to_dtype(DType::F64)? * 0.6)?.narrow(0, 0, 1)?.to_device(x.device())?;
                squared_distance(x, &t.to_device(x.device())?, Some(&weights), 7.0)
            })?;
        }
    }
    let x = Tensor::new(&[[120f32, -120.0, f32::NAN, f32::NAN, f32::INFINITY]], &Device::Cpu)?;
    let weights = Tensor::new(&[[1f32, 1.0, 0.0, 1.0, 1.0]], &Device::Cpu)?;
    for counts in [3, 4] {
        let part = |t: &Tensor, device: &Device| t.narrow(1, 0, counts)?.contiguous()?.to_device(device);
        check(&gpu, "broken bce", &part(&x, &Device::Cpu)?, 1e-6, |x| {
            let zeros = x.zeros_like()?;
            bce_with_logits(x, &zeros, Some(&part(&weights, x.device())?), 1.0)
        })?;
        check(&gpu, "broken smooth L1", &part(&x, &Device::Cpu)?, 1e-6, |x| {
            smooth_l1(x, &x.zeros_like()?, &part(&weights, x.device())?, 1.0)
        })?;
    }
    Ok(())
}

#[test]
fn colors() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let bytes: Vec<u8> =
        (0..2 * 97 * 61 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let rgb = Tensor::from_vec(bytes, (2, 97, 61, 3), &Device::Cpu)?;
    for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
        let number = |channel: usize, value: f32| value * 0.3 - channel as f32;
        let (got, want) = (look_up(&rgb.to_device(&gpu)?, order, number)?, look_up(&rgb, order, number)?);
        assert_eq!(numbers(&got)?, numbers(&want)?, "{order:?}");
    }
    let (lab, want) = (rgb_to_lab(&rgb.to_device(&gpu)?)?, rgb_to_lab(&rgb)?);
    let apart = hueristic::extremes::between(&lab.to_device(&Device::Cpu)?, &want)?;
    assert!(apart <= 1e-4, "Lab differs by {apart}");
    assert_eq!(numbers(&lab_to_rgb(&lab)?)?, numbers(&rgb)?, "pictures come back");
    let bins = Bins::new(10.0);
    let mut ab = random(&[1, 300, 1, 2], 130.0, 10).to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    ab[..8].copy_from_slice(&[5.0, 5.0, -15.0, 20.0, f32::NAN, 0.0, f32::INFINITY, 3.0]);
    let ab = Tensor::from_vec(ab, (1, 300, 1, 2), &Device::Cpu)?;
    let nearest = nearest_bins(&ab.to_device(&gpu)?, &bins)?.to_vec1::<u32>()?;
    assert_eq!(nearest, nearest_bins(&ab, &bins)?.to_vec1::<u32>()?);
    Ok(())
}

#[test]
fn decoded() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let bins = Bins::new(10.0);
    let mut logits =
        random(&[1, 3, 5, 313], 12.0, 11).to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let mut pixel = |i: usize, bin: usize, value: f32| logits[i * 313 + bin] = value;
    pixel(0, 9, f32::NAN);
    pixel(1, 200, f32::INFINITY);
    (0..313).for_each(|bin| pixel(2, bin, f32::NEG_INFINITY));
    (0..313).for_each(|bin| pixel(3, bin, 7.0)); // a tie of all
    pixel(4, 120, 3e38);
    let logits = Tensor::from_vec(logits, (1, 3, 5, 313), &Device::Cpu)?;
    for how in [Decode::Mode, Decode::Mean, Decode::Annealed(0.38), Decode::Annealed(1e-40)] {
        let got = decode(&logits.to_device(&gpu)?, &bins, how)?;
        same(&format!("{how:?}"), &got, &decode(&logits, &bins, how)?, 1e-5)?;
    }
    Ok(())
}

#[test]
fn resized() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    for dtype in WIDE {
        for (dims, to) in [
            ([1, 1, 1, 1], (1, 1)),
            ([2, 1, 3, 5], (4, 1)),
            ([1, 12, 12, 33], (23, 23)),
            ([3, 9, 14, 2], (4, 31)),
            ([2, 6, 5, 300], (6, 5)),
        ] {
            let x = random(&dims, 3.0, 12).to_dtype(dtype)?;
            for align in [false, true] {
                let name = format!("{dims:?} to {to:?}, {align}, {dtype:?}");
                check(&gpu, &name, &x, tolerance(dtype), |x| resize_bilinear(x, to, align))?;
            }
        }
        let x = random(&[2, 5, 4, 7], 3.0, 13).to_dtype(dtype)?;
        let (rows, columns) = ([3.7, -2.0, 0.0, 3.7, 9.0], [1.25, 0.5]);
        check(&gpu, "interpolated", &x, tolerance(dtype), |x| interpolate(x, &rows, &columns))?;
    }
    Ok(())
}

#[test]
fn regions() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let rois: Vec<Roi> = (0..23)
        .map(|i| {
            let at = i as f32 * 9.0;
            let bounds = Rect::new(at - 20.0, 150.0 - at, at + 7.0 * i as f32, 190.0 - at + 5.0 * i as f32);
            Roi { image: i % 3, bounds }
        })
        .collect();
    for dtype in WIDE {
        for (dims, bins) in [([3, 13, 17, 5], (6, 6)), ([3, 4, 4, 300], (2, 3)), ([3, 1, 1, 1], (7, 7))] {
            let name = format!("{dims:?} into {bins:?}, {dtype:?}");
            check(&gpu, &name, &random(&dims, 3.0, 14).to_dtype(dtype)?, tolerance(dtype), |x| {
                roi_max_pool(x, &rois, 1.0 / 16.0, bins)
            })?;
            // ties go to the first, and NaN wins
            let steps = random(&dims, 2.0, 15).round()?.to_dtype(dtype)?;
            check(&gpu, &format!("{name}, ties"), &steps, tolerance(dtype), |x| {
                roi_max_pool(x, &rois, 1.0 / 16.0, bins)
            })?;
        }
    }
    let mut values = vec![1f32; 16];
    values[5] = f32::NAN;
    values[6] = f32::NEG_INFINITY;
    let x = Tensor::from_vec(values, (1, 4, 4, 1), &Device::Cpu)?;
    let all = [
        Roi { image: 0, bounds: Rect::new(0., 0., 3., 3.) },
        Roi { image: 0, bounds: Rect::new(2., 1., 2., 1.) },
    ];
    let pooled = |x: &Tensor| roi_max_pool(x, &all, 1.0, (1, 1));
    same("broken cells", &pooled(&x.to_device(&gpu)?)?, &pooled(&x)?, 0.0)
}

#[test]
fn filters_along_an_axis() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let x = random(&[3, 17, 23, 3], 1.0, 18).to_dtype(DType::F32)?;
    for (axis, from) in [(1, 17), (2, 23)] {
        let centers = |scale: f64| (0..11).map(|i| 1.0 + (i as f64 + 0.5) * scale).collect();
        let pictures = [(2, centers(1.0)), (0, centers(0.4)), (2, centers(1.3)), (1, centers(0.2))];
        let filters = AxisFilters::new(from, &pictures, |_, distance| (1.3 - distance).max(0.0), 1.3);
        let want = filter_axis(&x, axis, &filters)?;
        same("filter_axis", &filter_axis(&x.to_device(&gpu)?, axis, &filters)?, &want, 1e-6)?;
    }
    Ok(())
}

/// Every run gives the same bits.
#[test]
fn sums_do_not_depend_on_chance() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let x = random(&[3, 11, 13, 313], 6.0, 16).to_dtype(DType::F32)?.to_device(&gpu)?;
    let ab = random(&[3, 11, 13, 2], 90.0, 17).to_dtype(DType::F32)?.to_device(&gpu)?;
    let code = code(10.0, 10);
    let run = || -> Result<Vec<f64>> {
        let x = Var::from_tensor(&x)?;
        let scored = soft_encoded_cross_entropy(&x, &ab, &code, None, Some(5.0))?;
        let dx = scored.loss.backward()?.get(&x).cloned();
        let all = [Some(scored.loss), Some(scored.unweighted), dx].into_iter().flatten();
        Ok(all.map(|t| numbers(&t)).collect::<Result<Vec<_>>>()?.concat())
    };
    let first = run()?;
    assert!(first.len() > 3 * 11 * 13 * 313 && first == run()?);
    Ok(())
}
