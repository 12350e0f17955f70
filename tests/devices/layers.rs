//! Layers compared with the CPU's in f32 and f64, forward and backward: those of a GPU (program `devices`), and the
//! CPU's own in bf16 (program `operations`). Tolerances follow the rounding of f32 and f64, and for bf16 that of inputs and
//! outputs; dropout masks are exact.

use super::tested;
use candle_core::{DType, Device, Result, Tensor, Var};
use hueristic::boxes::Rect;
use hueristic::ops::activation::{leaky_relu, relu, sum_relu};
use hueristic::ops::batch_norm::{Momentum, Running, batch_norm_eval, batch_norm_train};
use hueristic::ops::dropout::dropout;
use hueristic::ops::lrn::{Lrn, lrn};
use hueristic::ops::pool::{PoolGeometry, avg_pool2d, max_pool2d};
use hueristic::ops::resize::resize_bilinear;
use hueristic::ops::roi_pool::{Roi, roi_max_pool};
use hueristic::ops::sum::{add_to, sum};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Largest difference relative to the largest expected value; NaN must match NaN.
fn gap(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let values = |t: &Tensor| -> Vec<f64> {
        let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        t.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (got, want) = (values(got), values(want));
    let largest = want.iter().filter(|v| !v.is_nan()).fold(1e-30, |m: f64, v| m.max(v.abs()));
    let differ = got.iter().zip(&want).map(|(g, w)| match (g.is_nan(), w.is_nan()) {
        (true, true) => 0.0,
        (false, false) => (g - w).abs() / largest,
        _ => f64::INFINITY,
    });
    hueristic::extremes::largest(differ)
}

/// The CPU's compute dtype for activations of this type.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 1e-5,
        _ => 1e-2,
    }
}

/// Whether every element of `got`, in bf16 on the CPU, is that of `want` rounded once.
fn is_rounded_once(got: &Tensor, want: &Tensor) -> Result<bool> {
    let values = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (got, want) = (values(got)?, values(want)?);
    let near =
        |g: f32, w: f32| (g - w).abs() <= w.abs() / 256.0 + 1e-30 || g == w || g.is_nan() && w.is_nan();
    Ok(got.iter().zip(&want).all(|(g, w)| near(*g, *w)))
}

/// Value and gradients of Σ r·op, where the first input is an activation and the rest are parameters.
fn run(
    inputs: &[Tensor],
    (activation, device): (DType, &Device),
    op: &dyn Fn(&[Var]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let var = |(i, t): (usize, &Tensor)| {
        let dtype = if i == 0 { activation } else { wide(activation) };
        Var::from_tensor(&t.to_dtype(dtype)?.to_device(device)?)
    };
    let vars = inputs.iter().enumerate().map(var).collect::<Result<Vec<_>>>()?;
    let y = op(&vars)?;
    let bf16 = |t: Tensor| t.to_dtype(DType::BF16)?.to_dtype(activation); // numbers that every type has
    let r = bf16(random(y.dims(), 99))?.to_device(device)?;
    let gradients = (&y * r)?.sum_all()?.backward()?;
    let mut all = vec![y];
    all.extend(vars.iter().filter_map(|v| gradients.get(v).cloned()));
    assert_eq!(all.len(), 1 + vars.len(), "a gradient for each input");
    Ok(all)
}

/// The device under test and the dtypes of its maps.
type Tested<'a> = (Device, &'a [DType]);

/// The op with activations of every type on the device, against f32 or f64 on the processor from the same numbers.
fn check(name: &str, (device, dtypes): &Tested, inputs: &[Tensor], op: impl Fn(&[Var]) -> Result<Tensor>) {
    for &dtype in *dtypes {
        let mut inputs = inputs.to_vec();
        inputs[0] = inputs[0].to_dtype(dtype).unwrap().to_dtype(DType::F64).unwrap();
        let want = run(&inputs, (wide(dtype), &Device::Cpu), &op).unwrap_or_else(|e| panic!("{name}: {e}"));
        let got = run(&inputs, (dtype, device), &op).unwrap_or_else(|e| panic!("{name} {dtype:?}: {e}"));
        let again = run(&inputs, (dtype, device), &op).unwrap();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let wanted = if i < 2 { dtype } else { wide(dtype) };
            assert_eq!(got.dtype(), wanted, "{name} {dtype:?}: output {i}");
            let gap = gap(got, want);
            // gradients of parameters are rounded less on the CPU
            let tolerance = tolerance(if device.is_cpu() { wanted } else { dtype });
            assert!(gap <= tolerance, "{name} {dtype:?}: output {i} is off by {gap}");
            let exact = device.is_cpu() && wanted == DType::BF16;
            assert!(!exact || is_rounded_once(got, want).unwrap(), "{name}: output {i} is rounded twice");
        }
        for (got, again) in got.iter().zip(&again) {
            assert_eq!(gap(again, got), 0.0, "{name} {dtype:?} repeats");
        }
    }
}

#[test]
fn relu_and_leaky_relu() {
    let Some(tested) = tested() else { return };
    for shape in [&[3, 5, 7, 2][..], &[1], &[2, 33, 31, 17]] {
        check("relu", &tested, &[random(shape, 1)], |x| relu(&x[0]));
        check("leaky relu", &tested, &[random(shape, 1)], |x| leaky_relu(&x[0], 0.25));
    }
    check("relu from the fourth on", &tested, &[random(&[77], 1)], |x| relu(&x[0].narrow(0, 3, 70)?));
    check("relu of a transpose", &tested, &[random(&[3, 5], 1)], |x| relu(&x[0].t()?));
    let special = Tensor::new(&[0f64, -0.0, f64::NAN, -1.0, 2.0], &Device::Cpu).unwrap();
    check("relu at 0 and NaN", &tested, std::slice::from_ref(&special), |x| relu(&x[0]));
    check("leaky relu at 0 and NaN", &tested, &[special], |x| leaky_relu(&x[0], 0.25));
}

/// Generators at the start, inside a block of their stream, in another stream, and far on; the same numbers exactly.
#[test]
fn dropout_masks_are_the_processors() {
    let Some(tested) = tested() else { return };
    let generators = [0u64, 1, 15, 16, 37, (1 << 36) - 5].map(|words| {
        let mut rng = ChaCha8Rng::seed_from_u64(words + 3);
        rng.set_stream(words.wrapping_mul(0x1_0000_0001));
        rng.set_word_pos(u128::from(words));
        rng
    });
    for (i, rng) in generators.iter().enumerate() {
        for (n, p) in [(1, 0.5), (31, 0.3), (8192, 0.5), (70_001, 0.1)] {
            for &dtype in tested.1 {
                let mask = |device: &Device, dtype| {
                    let x = Var::ones(n, dtype, device).unwrap();
                    let y = dropout(&x, p, rng.clone()).unwrap();
                    let gradient = y.backward().unwrap().get(&x).unwrap().clone();
                    [y.detach(), gradient].map(|t| t.ne(0.0).unwrap().to_vec1::<u8>().unwrap())
                };
                assert_eq!(
                    mask(&tested.0, dtype),
                    mask(&Device::Cpu, wide(dtype)),
                    "{i}: {n} at {p} {dtype:?}"
                );
            }
        }
        check("dropout", &tested, &[random(&[3, 9, 7, 5], 1)], |x| dropout(&x[0], 0.3, rng.clone()));
    }
    let mut used = ChaCha8Rng::seed_from_u64(4);
    (0..21).for_each(|_| _ = used.next_u32());
    check("dropout", &tested, &[random(&[4, 100], 1)], |x| dropout(&x[0], 0.5, used.clone()));
}

const fn geometry(kernel: usize, stride: usize, pad: usize, ceil: bool) -> PoolGeometry {
    PoolGeometry { kernel, stride, pad, ceil }
}

/// The shapes of the gradient checks, and AlexNet's and VGG's pools with fewer pictures or channels.
const POOLS: &[(&[usize], PoolGeometry)] = &[
    (&[3, 7, 10, 2], geometry(3, 2, 1, true)),
    (&[1, 8, 6, 3], geometry(3, 2, 0, true)),
    (&[1, 5, 7, 2], geometry(3, 1, 1, true)),
    (&[1, 5, 5, 1], geometry(2, 2, 1, true)),
    (&[3, 5, 8, 1], geometry(2, 2, 0, true)),
    (&[1, 7, 8, 2], geometry(2, 3, 0, true)),
    (&[1, 9, 8, 2], geometry(3, 2, 1, false)),
    (&[3, 6, 5, 2], geometry(3, 2, 0, false)),
    (&[1, 2, 2, 2], geometry(3, 2, 0, true)),
    (&[1, 37, 3, 1], geometry(3, 2, 1, true)),
    (&[1, 36, 2, 1], geometry(5, 1, 2, false)),
    (&[1, 45, 45, 96], geometry(3, 2, 1, true)),
    (&[2, 27, 27, 33], geometry(3, 2, 0, true)),
    (&[1, 28, 28, 64], geometry(2, 2, 0, true)),
];

#[test]
fn pools() {
    let Some(tested) = tested() else { return };
    for (shape, g) in POOLS {
        let x = [random(shape, 1)];
        check(&format!("max_pool2d {shape:?} {g:?}"), &tested, &x, |x| max_pool2d(&x[0], *g));
        check(&format!("avg_pool2d {shape:?} {g:?}"), &tested, &x, |x| avg_pool2d(&x[0], *g));
    }
}

/// Few values, so that most windows have several maxima; NaN here and there.
#[test]
fn max_pool_ties_and_nan() {
    let Some(tested) = tested() else { return };
    for channels in [3, 16] {
        let x = (random(&[2, 13, 11, channels], 1) * 1.5).unwrap().round().unwrap();
        for g in [geometry(3, 2, 1, true), geometry(2, 1, 0, true), geometry(5, 2, 2, true)] {
            check("ties", &tested, std::slice::from_ref(&x), |x| max_pool2d(&x[0], g));
        }
        let mut values = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        values.iter_mut().step_by(17).for_each(|v| *v = f64::NAN);
        let x = Tensor::from_vec(values, x.dims(), &Device::Cpu).unwrap();
        check("NaN", &tested, &[x], |x| max_pool2d(&x[0], geometry(3, 2, 1, true)));
    }
}

#[test]
fn lrn_rows() {
    let Some(tested) = tested() else { return };
    let strong = Lrn { size: 3, alpha: 1.5, beta: 0.6, k: 0.5 };
    for (shape, options) in [
        (&[2, 3, 4, 7][..], Lrn { alpha: 2.0, ..Lrn::ALEXNET }),
        (&[1, 2, 2, 3], Lrn { alpha: 2.0, ..Lrn::ALEXNET }),
        (&[2, 1, 3, 8], strong),
        (&[1, 3, 1, 1], strong),
        (&[1, 13, 13, 96], Lrn::ALEXNET),
    ] {
        check(&format!("lrn {shape:?} {options:?}"), &tested, &[random(shape, 1)], |x| lrn(&x[0], options));
    }
}

#[test]
fn resizing_and_regions() {
    let Some(tested) = tested() else { return };
    for (size, align) in [((11, 9), true), ((11, 9), false), ((3, 2), true), ((5, 14), false)] {
        check(&format!("resize to {size:?}"), &tested, &[random(&[2, 5, 7, 3], 1)], |x| {
            resize_bilinear(&x[0], size, align)
        });
    }
    let roi = |image, x1, y1, x2, y2| Roi { image, bounds: Rect::new(x1, y1, x2, y2) };
    // two that overlap, and one that is outside
    let rois = [roi(0, 0., 0., 90., 60.), roi(0, 16., 16., 120., 80.), roi(1, 900., 0., 990., 90.)];
    check("regions", &tested, &[random(&[2, 7, 9, 5], 1)], |x| {
        roi_max_pool(&x[0], &rois, 1.0 / 16.0, (3, 2))
    });
}

/// Sums are rounded once, and show NaN.
#[test]
fn sums_of_two_maps() {
    let Some((device, dtypes)) = tested() else { return };
    for &dtype in dtypes {
        let on = |t: Tensor, dtype| t.to_dtype(dtype).unwrap();
        let nan = Tensor::new(&[f64::NAN, 1.0], &Device::Cpu).unwrap();
        let [a, b] = [0, 2].map(|i| {
            let order = if i == 0 {
                [random(&[3001], 1), nan.clone()]
            } else {
                [random(&[3001], 2), nan.ones_like().unwrap()]
            };
            on(on(Tensor::cat(&order, 0).unwrap(), dtype), wide(dtype))
        });
        let (x, y) = (on(a.to_device(&device).unwrap(), dtype), on(b.to_device(&device).unwrap(), dtype));
        let want = (&a + &b).unwrap();
        let open = relu(&want).unwrap();
        let own = || x.copy().unwrap();
        for (name, got, want) in [
            ("sum", sum(&x, &y).unwrap(), &want),
            ("sum in place", add_to(own(), &y).unwrap(), &want),
            ("sum and ReLU", sum_relu(&x, &y).unwrap(), &open),
        ] {
            assert_eq!(got.dtype(), dtype, "{name}");
            let gap = gap(&got, &on(want.clone(), dtype));
            assert!(gap <= if device.is_cpu() { 0.0 } else { tolerance(dtype) }, "{name} {dtype:?}: {gap}");
        }
    }
}

fn running(x: &Tensor) -> Result<Running> {
    let channels = x.dims()[x.rank() - 1];
    let var = |noise: &Tensor, value: f64| {
        Var::from_tensor(&((noise * 0.3)? + value)?.to_dtype(wide(x.dtype()))?.to_device(x.device())?)
    };
    let noise = random(&[channels], 5);
    Ok(Running {
        mean: var(&noise, 0.1)?,
        var: var(&noise, 0.8)?,
        weight: var(&random(&[1], 6), 2.0)?,
        deferred: None,
    })
}

/// The shapes of the gradient checks; fc6's many channels of few rows; one channel; channels that fill no pack, and packs
/// that fill no tile; more rows than one part.
const NORMS: &[&[usize]] = &[
    &[3, 3, 5, 2],
    &[1, 4, 3, 3],
    &[5, 4],
    &[9, 4096],
    &[2, 13, 11, 1],
    &[2, 7, 9, 33],
    &[1, 45, 45, 96],
    &[4, 31, 33, 64],
    &[1, 3, 5, 313],
];

/// A variance of 1 or so, whatever the shape: with two or three samples per channel it could be near 0, and then the
/// inputs' own rounding shows.
fn spread(shape: &[usize], seed: u64) -> Tensor {
    let x = random(shape, seed);
    let (rows, c) = (x.elem_count() / shape[shape.len() - 1], shape[shape.len() - 1]);
    let sign: Vec<f64> = (0..rows * c).map(|i| if i / c % 2 == 0 { 1.0 } else { -1.0 }).collect();
    (x + Tensor::from_vec(sign, shape, &Device::Cpu).unwrap()).unwrap()
}

fn affine(shape: &[usize]) -> Vec<Tensor> {
    let c = &shape[shape.len() - 1..];
    vec![spread(shape, 1), (random(c, 2) + 1.5).unwrap(), random(c, 3)]
}

#[test]
fn batch_norm_passes() {
    let Some(tested) = tested() else { return };
    for (shape, relu) in NORMS.iter().flat_map(|s| [(s, false), (s, true)]) {
        let (name, all) = (format!("batch norm {shape:?} relu {relu}"), affine(shape));
        let momentum = Momentum::PyTorch(0.1);
        let x = &all[..1];
        check(&name, &tested, x, |x| batch_norm_train(&x[0], None, &running(&x[0])?, momentum, 1e-3, relu));
        check(&name, &tested, x, |x| batch_norm_eval(&x[0], None, &running(&x[0])?, 1e-3, relu));
        check(&format!("{name} affine"), &tested, &all, |x| {
            batch_norm_train(&x[0], Some((&x[1], &x[2])), &running(&x[0])?, momentum, 1e-3, relu)
        });
        check(&format!("{name} affine"), &tested, &all, |x| {
            batch_norm_eval(&x[0], Some((&x[1], &x[2])), &running(&x[0])?, 1e-3, relu)
        });
    }
}

/// Three batches by each rule, from weight 0 for Caffe's: mean, variance and weight. The spread is a ten thousandth of
/// the mean, so a sum of squares around 0 would lose it all.
#[test]
fn running_statistics_move_alike() {
    let Some(tested) = tested() else { return };
    let run = |device: &Device, dtype: DType, momentum, batches: &[Tensor]| -> Result<Vec<Tensor>> {
        let var = |value: f64, n: usize| {
            Var::from_tensor(&Tensor::full(value, n, &Device::Cpu)?.to_dtype(wide(dtype))?.to_device(device)?)
        };
        let running =
            Running { mean: var(0.5, 37)?, var: var(2.0, 37)?, weight: var(0.0, 1)?, deferred: None };
        let mut last = None;
        for x in batches {
            let x = x.to_dtype(dtype)?.to_device(device)?;
            last = Some(batch_norm_train(&x, None, &running, momentum, 1e-5, false)?);
        }
        let moved = [&running.mean, &running.var, &running.weight].map(|v| v.as_tensor().clone());
        Ok(last.into_iter().chain(moved).collect())
    };
    for (dtype, momentum) in [DType::F32, DType::F64]
        .iter()
        .flat_map(|d| [(*d, Momentum::PyTorch(0.1)), (*d, Momentum::Caffe(0.9))])
    {
        let batches: Vec<_> =
            (0..3).map(|i| (spread(&[3, 9, 7, 37], i) + 1e4).unwrap().to_dtype(dtype).unwrap()).collect();
        let want = run(&Device::Cpu, dtype, momentum, &batches).unwrap();
        let got = run(&tested.0, dtype, momentum, &batches).unwrap();
        // the mean is rounded to x's type before it is taken off x
        let rounding = if dtype == DType::F32 { 1e4 * f64::from(f32::EPSILON) } else { 1e4 * f64::EPSILON };
        for ((what, tolerance), (got, want)) in
            [("y", rounding), ("mean", tolerance(dtype)), ("var", tolerance(dtype)), ("weight", 1e-7)]
                .iter()
                .zip(got.iter().zip(&want))
        {
            let gap = gap(got, want);
            assert!(gap <= *tolerance, "{dtype:?} {momentum:?}: {what} is off by {gap}");
        }
    }
}

/// One sample per channel: variance 0, the result β.
#[test]
fn a_single_row_gives_beta() {
    let Some(tested) = tested() else { return };
    check("one row", &tested, &affine(&[1, 40]), |x| {
        batch_norm_train(&x[0], Some((&x[1], &x[2])), &running(&x[0])?, Momentum::Caffe(0.999), 1e-3, false)
    });
}

/// NaN in one channel stays in that channel.
#[test]
fn batch_norm_shows_nan() {
    let Some(tested) = tested() else { return };
    let x = spread(&[8, 24], 1).flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let x: Vec<f64> = x.iter().enumerate().map(|(i, v)| if i == 24 + 5 { f64::NAN } else { *v }).collect();
    let x = Tensor::from_vec(x, (8, 24), &Device::Cpu).unwrap();
    check("NaN", &tested, &[x], |x| {
        batch_norm_train(&x[0], None, &running(&x[0])?, Momentum::PyTorch(0.1), 1e-3, true)
    });
}
