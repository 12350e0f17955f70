//! Every operation's backward against central differences in f64. The scalar that is differentiated is Σ r·op(x) with
//! fixed random r, so that a misplaced gradient is detected even if the sum of gradients is correct.

use super::on_devices::{device, on_every_device};
use candle_core::{DType, Device, Result, Tensor, Var};
use hueristic::boxes::Rect;
use hueristic::color::bins::Bins;
use hueristic::color::encode::SoftCode;
use hueristic::extremes::largest_of;
use hueristic::ops::activation::{leaky_relu, relu, sigmoid, tanh};
use hueristic::ops::batch_norm::{Momentum, Running, batch_norm_eval, batch_norm_train};
use hueristic::ops::dropout::dropout;
use hueristic::ops::losses::{
    bce_with_logits, cross_entropy, nt_xent, smooth_l1, soft_encoded_cross_entropy, squared_distance,
};
use hueristic::ops::lrn::{Lrn, lrn};
use hueristic::ops::pool::{PoolGeometry, avg_pool2d, max_pool2d};
use hueristic::ops::resize::resize_bilinear;
use hueristic::ops::roi_pool::{Roi, roi_max_pool};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Central differences of a smooth function with |values| ~ 1 err by about STEP² and 1e-16/STEP.
const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;

fn random(shape: &[usize], seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(random(shape, seed), shape, &device()).unwrap()
}

/// Compares the gradients of all `inputs` (shape, values) with central differences, element by element.
fn check(name: &str, inputs: &[(&[usize], Vec<f64>)], op: impl Fn(&[Var]) -> Result<Tensor>) {
    let vars = |values: &[Vec<f64>]| -> Vec<Var> {
        let var = |((shape, _), v): (&(&[usize], Vec<f64>), &Vec<f64>)| {
            Var::from_vec(v.clone(), *shape, &device()).unwrap()
        };
        inputs.iter().zip(values).map(var).collect()
    };
    let scalar = |vars: &[Var]| -> Tensor {
        let y = op(vars).unwrap_or_else(|e| panic!("{name}: {e}"));
        let r = tensor(y.dims(), 99);
        (y * r).unwrap().sum_all().unwrap()
    };
    let mut values: Vec<Vec<f64>> = inputs.iter().map(|(_, v)| v.clone()).collect();
    let at = vars(&values);
    let gradients = scalar(&at).backward().unwrap();
    for i in 0..inputs.len() {
        let got = gradients.get(&at[i]).unwrap_or_else(|| panic!("{name}: no gradient of input {i}"));
        assert_eq!(got.dims(), inputs[i].0, "{name}: gradient of input {i}");
        let got = got.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (j, got) in got.into_iter().enumerate() {
            let kept = values[i][j];
            let mut side = |step: f64| {
                values[i][j] = kept + step;
                scalar(&vars(&values)).to_scalar::<f64>().unwrap()
            };
            let want = (side(STEP) - side(-STEP)) / (2.0 * STEP);
            values[i][j] = kept;
            let error = (got - want).abs() / want.abs().max(1.0);
            assert!(error < TOLERANCE, "{name}: input {i} element {j}: got {got}, differences give {want}");
        }
    }
}

fn check1(name: &str, shape: &[usize], op: impl Fn(&Tensor) -> Result<Tensor>) {
    check(name, &[(shape, random(shape, 1))], |x| op(&x[0]));
}

#[test]
fn relu_rows() {
    on_every_device(|| {
        check1("relu", &[3, 5, 7, 2], relu);
        check1("relu of a transpose", &[3, 5], |x| relu(&x.t()?));
    });
}

#[test]
fn leaky_relu_rows() {
    on_every_device(|| {
        check1("leaky relu", &[3, 5, 7, 2], |x| leaky_relu(x, 0.2));
    });
}

/// Small numbers, and those at which the functions are flat.
#[test]
fn tanh_and_sigmoid_rows() {
    on_every_device(|| {
        for scale in [1.0, 0.01, 30.0] {
            check1(&format!("tanh, {scale}"), &[3, 5, 7, 2], |x| tanh(&(x * scale)?));
            check1(&format!("sigmoid, {scale}"), &[3, 5, 7, 2], |x| sigmoid(&(x * scale)?));
        }
    });
}

/// More and fewer channels than the window; constants under which the sum weighs as much as the rest.
#[test]
fn lrn_rows() {
    on_every_device(|| {
        let strong = Lrn { size: 3, alpha: 1.5, beta: 0.6, k: 0.5 };
        for (shape, options) in [
            (&[2, 3, 4, 7][..], Lrn { alpha: 2.0, ..Lrn::ALEXNET }),
            (&[1, 2, 2, 3], Lrn { alpha: 2.0, ..Lrn::ALEXNET }),
            (&[2, 1, 3, 8], strong),
            (&[1, 3, 1, 1], strong),
            (&[1, 2, 2, 6], Lrn::ALEXNET),
        ] {
            check1(&format!("lrn {shape:?} {options:?}"), shape, |x| lrn(x, options));
        }
    });
}

#[test]
fn relu_has_gradient_zero_at_zero() {
    on_every_device(|| {
        let x = Var::zeros((1, 3), DType::F64, &device()).unwrap();
        let gradient = relu(&x).unwrap().backward().unwrap().get(&x).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(gradient, [[0.0; 3]]);
    });
}

const fn geometry(kernel: usize, stride: usize, pad: usize, ceil: bool) -> PoolGeometry {
    PoolGeometry { kernel, stride, pad, ceil }
}

/// AlexNet's two pools, a stride below, at and above the kernel, overhanging last windows, padding, floor mode.
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
    // higher than one block of the backward pass
    (&[1, 37, 3, 1], geometry(3, 2, 1, true)),
    (&[1, 36, 2, 1], geometry(5, 1, 2, false)),
];

#[test]
fn max_pool_rows() {
    on_every_device(|| {
        for (shape, g) in POOLS {
            check1(&format!("max_pool2d {shape:?} {g:?}"), shape, |x| max_pool2d(x, *g));
        }
    });
}

#[test]
fn avg_pool_rows() {
    on_every_device(|| {
        for (shape, g) in POOLS {
            check1(&format!("avg_pool2d {shape:?} {g:?}"), shape, |x| avg_pool2d(x, *g));
        }
    });
}

#[test]
fn max_pool_ties_go_to_the_first_in_scan_order() {
    on_every_device(|| {
        let x = Var::ones((1, 3, 3, 1), DType::F64, &device()).unwrap();
        // windows of 2 at stride 1: each sends its 1 to its own top left corner
        let y = max_pool2d(&x, geometry(2, 1, 0, true)).unwrap();
        let gradient =
            y.backward().unwrap().get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(gradient, [1., 1., 0., 1., 1., 0., 0., 0., 0.]);
        // all 31 x 1 ones, windows of 5 at stride 2 and pad 2 cross the blocks of the backward pass
        let x = Var::ones((1, 31, 1, 1), DType::F64, &device()).unwrap();
        let y = max_pool2d(&x, geometry(5, 2, 2, true)).unwrap();
        let gradient =
            y.backward().unwrap().get(&x).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let first = |i: usize| if i == 0 { 2.0 } else { f64::from(u8::from(i.is_multiple_of(2) && i <= 28)) };
        assert_eq!(gradient, (0..31).map(first).collect::<Vec<_>>());
    });
}

fn running(channels: usize) -> Running {
    let var = |value: f64| {
        let noise = tensor(&[channels], 5);
        Var::from_tensor(&((noise * 0.3).unwrap() + value).unwrap()).unwrap()
    };
    let weight = Var::zeros(1, DType::F64, &device()).unwrap();
    Running { mean: var(0.1), var: var(0.8), weight, deferred: None }
}

const NORMS: &[&[usize]] = &[&[3, 3, 5, 2], &[1, 4, 3, 3], &[5, 4], &[2, 1]];

#[test]
fn batch_norm_train_rows() {
    on_every_device(|| {
        let momentum = Momentum::PyTorch(0.1);
        for (shape, relu) in NORMS.iter().flat_map(|s| [(s, false), (s, true)]) {
            let c = shape[shape.len() - 1];
            let name = format!("batch_norm_train {shape:?} relu {relu}");
            check1(&name, shape, |x| batch_norm_train(x, None, &running(c), momentum, 1e-3, relu));
            let inputs =
                [(*shape, random(shape, 1)), (&[c][..], random(&[c], 2)), (&[c][..], random(&[c], 3))];
            check(&format!("{name} affine"), &inputs, |x| {
                batch_norm_train(&x[0], Some((&x[1], &x[2])), &running(c), momentum, 1e-3, relu)
            });
        }
    });
}

#[test]
fn batch_norm_eval_rows() {
    on_every_device(|| {
        for (shape, relu) in NORMS.iter().flat_map(|s| [(s, false), (s, true)]) {
            let c = shape[shape.len() - 1];
            let name = format!("batch_norm_eval {shape:?} relu {relu}");
            check1(&name, shape, |x| batch_norm_eval(x, None, &running(c), 1e-5, relu));
            let inputs =
                [(*shape, random(shape, 1)), (&[c][..], random(&[c], 2)), (&[c][..], random(&[c], 3))];
            check(&format!("{name} affine"), &inputs, |x| {
                batch_norm_eval(&x[0], Some((&x[1], &x[2])), &running(c), 1e-5, relu)
            });
        }
    });
}

/// More channels and rows than one piece of the sums holds.
#[test]
fn batch_norm_sums_join_their_pieces() {
    on_every_device(|| {
        let shape = [40, 1100];
        let x = Var::from_tensor(&tensor(&shape, 1)).unwrap();
        let y = batch_norm_train(&x, None, &running(1100), Momentum::PyTorch(0.1), 0.0, false).unwrap();
        let mean = largest_of(&y.mean(0).unwrap()).unwrap();
        let square = largest_of(&(y.sqr().unwrap().mean(0).unwrap() - 1.0).unwrap()).unwrap();
        assert!(mean < 1e-12 && square < 1e-12);
        let gradient = (y * tensor(&shape, 2)).unwrap().sum_all().unwrap().backward().unwrap();
        // a batch norm's input gradient sums to 0 over the batch, and is orthogonal to the input's deviations
        let dx = gradient.get(&x).unwrap();
        let sum = largest_of(&dx.sum(0).unwrap()).unwrap();
        let dot = largest_of(&(dx * x.as_tensor()).unwrap().sum(0).unwrap()).unwrap();
        assert!(sum < 1e-12 && dot < 1e-12);
    });
}

#[test]
fn resize_rows() {
    on_every_device(|| {
        let cases: &[(&[usize], (usize, usize))] = &[
            (&[3, 4, 4, 2], (7, 7)),
            (&[1, 12, 3, 1], (23, 5)),
            (&[1, 5, 6, 2], (10, 3)),
            (&[1, 9, 7, 1], (2, 4)),
            (&[3, 3, 5, 2], (3, 5)),
            (&[1, 5, 4, 1], (1, 1)),
            (&[1, 1, 1, 3], (4, 3)),
        ];
        for (shape, to) in cases {
            for align in [true, false] {
                check1(&format!("resize {shape:?} {to:?} {align}"), shape, |x| {
                    resize_bilinear(x, *to, align)
                });
            }
        }
    });
}

#[test]
fn dropout_rows() {
    on_every_device(|| {
        for p in [0.0, 0.3, 0.5] {
            check1(&format!("dropout {p}"), &[3, 3, 5, 2], |x| dropout(x, p, ChaCha8Rng::seed_from_u64(4)));
        }
    });
}

#[test]
fn cross_entropy_rows() {
    on_every_device(|| {
        for (n, k, ignore) in [(1, 3, None), (7, 5, None), (6, 4, Some(255)), (3, 1, None), (5, 4, Some(0))] {
            let mut labels: Vec<u32> = (0..n as u32).map(|i| i % k as u32).collect();
            if ignore == Some(255) {
                labels[1] = 255;
                labels[4] = 255;
            }
            let labels = Tensor::from_vec(labels, n, &device()).unwrap();
            let name = format!("cross_entropy ({n}, {k}) {ignore:?}");
            check1(&name, &[n, k], |x| cross_entropy(&(x * 4.0)?, &labels, ignore));
        }
    });
}

#[test]
fn nt_xent_rows() {
    on_every_device(|| {
        for temperature in [0.5, 1.0] {
            let name = format!("nt_xent at {temperature}");
            check1(&name, &[6, 4], |z| Ok(nt_xent(z, temperature)?.loss));
        }
    });
}

#[test]
fn bce_rows() {
    on_every_device(|| {
        let shape = [4, 5];
        let targets = (tensor(&shape, 7) + 1.0).unwrap().affine(0.5, 0.0).unwrap();
        let hard = tensor(&shape, 8).ge(0.0).unwrap().to_dtype(DType::F64).unwrap();
        for (targets, masked) in [(&targets, false), (&hard, true), (&hard, false)] {
            let mask = masked.then_some(&hard);
            check1("bce_with_logits", &shape, |x| bce_with_logits(&(x * 5.0)?, targets, mask, 4.0));
        }
        // at ±120 the loss is linear or flat, and so are the differences
        let extreme: Vec<f64> = (0..20).map(|i| if i % 2 == 0 { 120.0 } else { -120.0 }).collect();
        check("bce_with_logits at 120", &[(&shape, extreme)], |x| bce_with_logits(&x[0], &hard, None, 4.0));
    });
}

#[test]
fn smooth_l1_rows() {
    on_every_device(|| {
        let shape = [5, 8];
        // differences on both sides of both knees; a weight of 0 now and then
        let weights: Vec<f64> = (0..40).map(|i| [0.0, 1.0, 0.5, 3.0, -2.0][i % 5]).collect();
        let weights = Tensor::from_vec(weights, &shape, &device()).unwrap();
        let targets = tensor(&shape, 7);
        check1("smooth_l1", &shape, |x| smooth_l1(x, &targets, &weights, 3.0));
        check1("smooth_l1 far off", &shape, |x| smooth_l1(&(x * 9.0)?, &targets, &weights, 0.5));
        check1("smooth_l1 of a transpose", &[8, 5], |x| smooth_l1(&x.t()?, &targets, &weights, 1.0));
    });
}

#[test]
fn squared_distance_rows() {
    on_every_device(|| {
        let (shape, targets) = ([3, 4, 2], tensor(&[3, 4, 2], 7));
        let weights = |shape: &[usize]| {
            let values: Vec<f64> = (0..shape.iter().product()).map(|i| [0.0, 1.0, 0.5, 3.0][i % 4]).collect();
            Tensor::from_vec(values, shape, &device()).unwrap()
        };
        let (each, same) = (weights(&shape), weights(&[1, 4, 2]));
        for (name, weights) in [("", None), ("weighted", Some(&each)), ("weighted alike", Some(&same))] {
            let name = format!("squared_distance {name}");
            check1(&name, &shape, |x| squared_distance(x, &targets, weights, 3.0));
        }
    });
}

/// Boxes that overlap, cross each edge, are outside, cover one cell, are inverted, or end on half cells.
#[test]
fn roi_max_pool_rows() {
    on_every_device(|| {
        let roi = |image, x1, y1, x2, y2| Roi { image, bounds: Rect::new(x1, y1, x2, y2) };
        let rois = [
            roi(0, 0., 0., 159., 143.),
            roi(1, 24., 40., 120., 88.),
            roi(1, 20., 30., 130., 90.),
            roi(0, -40., -8., 60., 70.),
            roi(2, 100., 100., 300., 300.),
            roi(2, 400., 10., 500., 40.),
            roi(0, 64., 64., 64., 64.),
            roi(2, 90., 90., 30., 30.),
        ];
        // one more row than a block of the backward pass has
        let cases =
            [(&rois[..], 1, (6, 6)), (&rois[..], 2, (2, 3)), (&rois[..3], 1, (1, 1)), (&[], 1, (2, 2))];
        // a GPU has no tensors without elements
        for (rois, channels, bins) in cases.into_iter().filter(|c| device().is_cpu() || !c.0.is_empty()) {
            let name = format!("roi_max_pool {} boxes {bins:?}", rois.len());
            check1(&name, &[3, 9, 10, channels], |x| roi_max_pool(x, rois, 1.0 / 16.0, bins));
        }
    });
}

fn code(neighbors: usize) -> SoftCode {
    // a coarse grid keeps the number of differences small
    SoftCode::new(Arc::new(Bins::new(40.0)), neighbors, 20.0)
}

fn number(scalar: &Tensor) -> f64 {
    scalar.to_scalar().unwrap()
}

/// Colors up to ±`reach` in both axes.
fn colors(shape: &[usize], reach: f64) -> Tensor {
    (tensor(shape, 11) * reach).unwrap()
}

#[test]
fn soft_encoded_rows() {
    on_every_device(|| {
        for (k, b, h, w) in [(1, 1, 3, 2), (5, 3, 2, 3), (10, 1, 1, 4)] {
            let code = code(k);
            let q = code.bins().len();
            let ab = colors(&[b, h, w, 2], 60.0);
            let weights: Vec<f32> = (0..q).map(|i| 0.1 + i as f32 * 0.3).collect();
            for (weights, gate) in [(None, None), (Some(&weights[..]), Some(5.0))] {
                let name = format!("soft_encoded_cross_entropy K {k} ({b}, {h}, {w}, {q}) {gate:?}");
                check1(&name, &[b, h, w, q], |x| {
                    soft_encoded_cross_entropy(&(x * 3.0)?, &ab, &code, weights, gate).map(|l| l.loss)
                });
            }
        }
    });
}

#[test]
fn a_gray_image_has_no_gradient_but_counts_in_the_logged_loss() {
    on_every_device(|| {
        let code = code(5);
        let q = code.bins().len();
        let gray = colors(&[1, 2, 2, 2], 4.9);
        let vivid = colors(&[1, 2, 2, 2], 60.0);
        let ab = Tensor::cat(&[&gray, &vivid], 0).unwrap();
        let logits = Var::from_tensor(&tensor(&[2, 2, 2, q], 1)).unwrap();
        let both = soft_encoded_cross_entropy(&logits, &ab, &code, None, Some(5.0)).unwrap();
        let open = soft_encoded_cross_entropy(&logits, &ab, &code, None, None).unwrap();
        let [shut, all] = [&both, &open].map(|l| (number(&l.weighted), number(&l.unweighted)));
        assert_eq!(shut.1, all.1);
        assert!(shut.0 < all.0 && all.0 == all.1);
        assert_eq!(number(&both.loss), shut.0);
        let gradients = both.loss.backward().unwrap();
        let gradient = gradients.get(&logits).unwrap();
        let size =
            |i: usize| gradient.get(i).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(size(0) == 0.0 && size(1) > 0.0);
    });
}

/// Equation 2 with a dense target, which the op never builds.
#[test]
fn soft_encoded_equals_its_dense_form() {
    on_every_device(|| {
        let code = code(5);
        let (q, n) = (code.bins().len(), 12);
        let (logits, ab) = (tensor(&[3, 2, 2, q], 1), colors(&[3, 2, 2, 2], 80.0));
        let got = soft_encoded_cross_entropy(&logits, &ab, &code, None, None).unwrap();
        let logits = logits.reshape((n, q)).unwrap().to_vec2::<f64>().unwrap();
        let ab = ab.reshape((n, 2)).unwrap().to_vec2::<f64>().unwrap();
        let (mut loss, mut entropy) = (0.0, 0.0);
        for (x, ab) in logits.iter().zip(&ab) {
            let mut dense = vec![0.0; q];
            let mut pairs = [(0, 0.0); 5];
            code.encode([ab[0] as f32, ab[1] as f32], &mut pairs);
            let total: f64 = pairs.iter().map(|&(_, weight)| f64::from(weight)).sum();
            pairs.iter().for_each(|&(bin, weight)| dense[bin as usize] = f64::from(weight) / total);
            let log_sum = x.iter().map(|v| v.exp()).sum::<f64>().ln();
            loss -= x.iter().zip(&dense).map(|(x, t)| t * (x - log_sum)).sum::<f64>() / 3.0;
            entropy -= dense.iter().filter(|t| **t > 0.0).map(|t| t * t.ln()).sum::<f64>() / 3.0;
        }
        let (ours, target) = (number(&got.unweighted), number(&got.target_entropy));
        assert!((ours - loss).abs() < 1e-9 && got.pixels == 4, "{ours} {loss}");
        assert!((target - entropy).abs() < 1e-9, "{target} {entropy}");
    });
}

#[test]
fn uniform_logits_cost_ln_q_whatever_the_color() {
    on_every_device(|| {
        let code = SoftCode::new(Arc::new(Bins::new(10.0)), 10, 5.0);
        let ab = colors(&[2, 23, 23, 2], 110.0).to_dtype(DType::F32).unwrap();
        for constant in [0f32, 7.3, -120.0] {
            let logits = Tensor::full(constant, (2, 23, 23, 313), &device()).unwrap();
            let got = soft_encoded_cross_entropy(&logits, &ab, &code, None, None).unwrap();
            let per_pixel = number(&got.unweighted) / got.pixels as f64;
            assert!((per_pixel - 313f64.ln()).abs() < 1e-6, "{per_pixel}");
        }
    });
}

#[test]
fn soft_encoded_names_both_shapes() {
    on_every_device(|| {
        let code = code(5);
        let logits = tensor(&[1, 2, 3, code.bins().len()], 1);
        let message = soft_encoded_cross_entropy(&logits, &colors(&[1, 3, 2, 2], 9.0), &code, None, None);
        let message = message.err().unwrap().to_string();
        assert!(message.contains("[1, 2, 3,") && message.contains("[1, 3, 2, 2]"), "{message}");
    });
}

/// The whole of each op at one and at three threads: same bits.
#[test]
fn threads_change_no_bit() {
    let run = |threads: usize| -> Vec<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let x = Var::from_tensor(&tensor(&[3, 33, 31, 40], 1).to_dtype(DType::F32).unwrap()).unwrap();
            let norm = Running {
                mean: Var::zeros(40, DType::F32, &Device::Cpu).unwrap(),
                var: Var::ones(40, DType::F32, &Device::Cpu).unwrap(),
                weight: Var::zeros(1, DType::F32, &Device::Cpu).unwrap(),
                deferred: None,
            };
            let y = batch_norm_train(&x, None, &norm, Momentum::Caffe(0.999), 1e-5, true).unwrap();
            let y = max_pool2d(&y, geometry(3, 2, 1, true)).unwrap();
            let y = resize_bilinear(&y, (21, 20), true).unwrap();
            let y = dropout(&y, 0.5, ChaCha8Rng::seed_from_u64(2)).unwrap();
            let labels = Tensor::zeros(3 * 21 * 20, DType::U32, &Device::Cpu).unwrap();
            let loss = cross_entropy(&y.reshape((3 * 21 * 20, 40)).unwrap(), &labels, None).unwrap();
            let gradients = loss.backward().unwrap();
            [&loss, gradients.get(&x).unwrap(), norm.mean.as_tensor(), norm.var.as_tensor()]
                .map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
                .into()
        })
    };
    assert_eq!(run(1), run(3));
}
