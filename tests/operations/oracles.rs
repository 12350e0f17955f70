//! The operations against PyTorch's answers, f64 (made by `scripts/oracles/ops.py`, committed as `ops.json`),
//! and those of detectors against torchvision's (`detection_ops.py`).

use super::on_devices::{device, on_every_device};
use candle_core::{DType, Tensor, Var};
use hueristic::boxes::Rect;
use hueristic::ops::batch_norm::{Momentum, Running, batch_norm_eval, batch_norm_train};
use hueristic::ops::losses::{bce_with_logits, cross_entropy, smooth_l1};
use hueristic::ops::lrn::{Lrn, lrn};
use hueristic::ops::pool::{PoolGeometry, avg_pool2d, max_pool2d};
use hueristic::ops::resize::resize_bilinear;
use hueristic::ops::roi_pool::{Roi, roi_max_pool};
use serde::Deserialize;

/// The file rounds to nine digits.
const TOLERANCE: f64 = 1e-8;

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Values {
    fn tensor(&self) -> Tensor {
        Tensor::from_vec(self.values.clone(), self.shape.clone(), &device()).unwrap()
    }

    fn var(&self) -> Var {
        Var::from_tensor(&self.tensor()).unwrap()
    }

    fn check(&self, name: &str, got: &Tensor) {
        assert_eq!(got.dims(), self.shape, "{name}");
        let got = got.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (i, (got, want)) in got.iter().zip(&self.values).enumerate() {
            let error = (got - want).abs() / want.abs().max(1.0);
            assert!(error < TOLERANCE, "{name}: element {i}: got {got}, PyTorch says {want}");
        }
    }
}

#[derive(Deserialize)]
struct Oracles {
    pool: Vec<Pool>,
    batch_norm: BatchNorm,
    resize: Vec<Resize>,
    cross_entropy: CrossEntropy,
    bce: Bce,
    lrn: Vec<LrnCase>,
}

#[derive(Deserialize)]
struct LrnCase {
    size: usize,
    alpha: f64,
    beta: f64,
    k: f64,
    x: Values,
    y: Values,
    dy: Values,
    dx: Values,
}

#[derive(Deserialize)]
struct Pool {
    kernel: usize,
    stride: usize,
    pad: usize,
    ceil: bool,
    x: Values,
    dy: Values,
    max: Values,
    max_dx: Values,
    avg: Values,
    avg_dx: Values,
}

#[derive(Deserialize)]
struct BatchNorm {
    gamma: Values,
    beta: Values,
    steps: Vec<Step>,
    mean: Values,
    var: Values,
    eval_x: Values,
    eval_y: Values,
}

#[derive(Deserialize)]
struct Step {
    x: Values,
    y: Values,
    dy: Values,
    dx: Values,
    dgamma: Values,
    dbeta: Values,
}

#[derive(Deserialize)]
struct Resize {
    align_corners: bool,
    x: Values,
    y: Values,
    dy: Values,
    dx: Values,
}

#[derive(Deserialize)]
struct CrossEntropy {
    logits: Values,
    labels: Vec<u32>,
    ignore: u32,
    loss: f64,
    dlogits: Values,
}

#[derive(Deserialize)]
struct Bce {
    logits: Values,
    targets: Values,
    mask: Values,
    divisor: f64,
    loss: f64,
    dlogits: Values,
}

fn oracles() -> Oracles {
    serde_json::from_str(include_str!("../../scripts/oracles/ops.json")).unwrap()
}

/// The gradient of Σ dy·y in `x`.
fn gradient(x: &Var, y: &Tensor, dy: &Values) -> Tensor {
    let gradients = (y * dy.tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    gradients.get(x).unwrap().clone()
}

#[test]
fn pools_are_pytorchs() {
    on_every_device(|| {
        for case in oracles().pool {
            let Pool { kernel, stride, pad, ceil, .. } = case;
            let g = PoolGeometry { kernel, stride, pad, ceil };
            let x = case.x.var();
            let (max, avg) = (max_pool2d(&x, g).unwrap(), avg_pool2d(&x, g).unwrap());
            case.max.check(&format!("max {:?} {g:?}", case.x.shape), &max);
            case.avg.check(&format!("avg {:?} {g:?}", case.x.shape), &avg);
            case.max_dx.check(&format!("max dx {:?} {g:?}", case.x.shape), &gradient(&x, &max, &case.dy));
            case.avg_dx.check(&format!("avg dx {:?} {g:?}", case.x.shape), &gradient(&x, &avg, &case.dy));
        }
    });
}

fn running(channels: usize) -> Running {
    Running {
        mean: Var::zeros(channels, DType::F64, &device()).unwrap(),
        var: Var::ones(channels, DType::F64, &device()).unwrap(),
        weight: Var::zeros(1, DType::F64, &device()).unwrap(),
        deferred: None,
    }
}

#[test]
fn batch_norm_is_pytorchs_over_three_steps() {
    on_every_device(|| {
        let case = oracles().batch_norm;
        let (gamma, beta, running) = (case.gamma.var(), case.beta.var(), running(3));
        for step in &case.steps {
            let (x, affine) = (step.x.var(), Some((gamma.as_tensor(), beta.as_tensor())));
            let y = batch_norm_train(&x, affine, &running, Momentum::PyTorch(0.1), 1e-5, false).unwrap();
            step.y.check("batch norm", &y);
            step.dx.check("batch norm dx", &gradient(&x, &y, &step.dy));
            step.dgamma.check("batch norm dgamma", &gradient(&gamma, &y, &step.dy));
            step.dbeta.check("batch norm dbeta", &gradient(&beta, &y, &step.dy));
        }
        case.mean.check("running mean", &running.mean);
        case.var.check("running variance", &running.var);
        let y = batch_norm_eval(&case.eval_x.tensor(), Some((&gamma, &beta)), &running, 1e-5, false).unwrap();
        case.eval_y.check("batch norm in evaluation", &y);
    });
}

/// Caffe's three blobs: decaying sums and the weight that divides them.
#[test]
fn caffe_momentum_is_its_accumulators() {
    on_every_device(|| {
        let (f, running) = (0.9, running(3));
        let (mut mean, mut var, mut weight) = ([0.0; 3], [0.0; 3], 0.0);
        for step in oracles().batch_norm.steps {
            let x = step.x.tensor();
            batch_norm_train(&x, None, &running, Momentum::Caffe(f), 1e-5, true).unwrap();
            let rows = x.reshape(((), 3)).unwrap().to_vec2::<f64>().unwrap();
            let m = rows.len() as f64;
            weight = f * weight + 1.0;
            for c in 0..3 {
                let batch_mean = rows.iter().map(|r| r[c]).sum::<f64>() / m;
                let squares = rows.iter().map(|r| (r[c] - batch_mean).powi(2)).sum::<f64>();
                mean[c] = f * mean[c] + batch_mean;
                var[c] = f * var[c] + squares / (m - 1.0);
            }
        }
        let close = |got: &Var, want: &[f64]| {
            let got = got.to_vec1::<f64>().unwrap();
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-12), "{got:?} {want:?}");
        };
        close(&running.mean, &mean.map(|s| s / weight));
        close(&running.var, &var.map(|s| s / weight));
        close(&running.weight, &[weight]);
    });
}

#[test]
fn a_single_sample_per_channel_gives_beta_and_a_finite_gradient() {
    on_every_device(|| {
        let x = Var::from_vec(vec![3.0, -4.0], (1, 2), &device()).unwrap();
        let running = running(2);
        let y = batch_norm_train(&x, None, &running, Momentum::PyTorch(0.1), 1e-5, false).unwrap();
        assert_eq!(y.to_vec2::<f64>().unwrap(), [[0.0, 0.0]]);
        let dx = y.backward().unwrap().get(&x).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(dx, [[0.0, 0.0]]);
        assert_eq!(running.var.to_vec1::<f64>().unwrap(), [0.9, 0.9]);
    });
}

#[test]
fn resize_is_pytorchs_in_both_conventions() {
    on_every_device(|| {
        for case in oracles().resize {
            let name = format!("{:?} to {:?}, align {}", case.x.shape, case.y.shape, case.align_corners);
            let x = case.x.var();
            let y = resize_bilinear(&x, (case.y.shape[1], case.y.shape[2]), case.align_corners).unwrap();
            case.y.check(&name, &y);
            case.dx.check(&name, &gradient(&x, &y, &case.dy));
        }
    });
}

#[test]
fn lrn_is_pytorchs() {
    on_every_device(|| {
        for LrnCase { size, alpha, beta, k, x, y, dy, dx } in oracles().lrn {
            let options = Lrn { size, alpha, beta, k };
            let var = x.var();
            let ours = lrn(&var, options).unwrap();
            y.check(&format!("{options:?}"), &ours);
            dx.check(&format!("dx {options:?}"), &gradient(&var, &ours, &dy));
        }
    });
}

#[test]
fn cross_entropy_is_pytorchs() {
    on_every_device(|| {
        let case = oracles().cross_entropy;
        let logits = case.logits.var();
        let labels = Tensor::from_slice(&case.labels, case.labels.len(), &device()).unwrap();
        let loss = cross_entropy(&logits, &labels, Some(case.ignore)).unwrap();
        assert!((loss.to_scalar::<f64>().unwrap() - case.loss).abs() < TOLERANCE);
        case.dlogits.check("cross entropy", loss.backward().unwrap().get(&logits).unwrap());
    });
}

#[test]
fn bce_is_pytorchs_up_to_logits_of_120() {
    on_every_device(|| {
        let case = oracles().bce;
        let logits = case.logits.var();
        let (targets, mask) = (case.targets.tensor(), case.mask.tensor());
        let loss = bce_with_logits(&logits, &targets, Some(&mask), case.divisor).unwrap();
        assert!((loss.to_scalar::<f64>().unwrap() - case.loss).abs() < TOLERANCE);
        case.dlogits.check("bce", loss.backward().unwrap().get(&logits).unwrap());
    });
}

#[derive(Deserialize)]
struct DetectionOracles {
    roi_pool: Vec<RoiPool>,
    smooth_l1: SmoothL1,
}

#[derive(Deserialize)]
struct RoiPool {
    scale: f64,
    bins: (usize, usize),
    /// (picture, x1, y1, x2, y2)
    boxes: Vec<[f32; 5]>,
    x: Values,
    y: Values,
    dy: Values,
    dx: Values,
}

#[derive(Deserialize)]
struct SmoothL1 {
    predictions: Values,
    targets: Values,
    weights: Values,
    divisor: f64,
    loss: f64,
    gradient: Values,
}

fn detection_oracles() -> DetectionOracles {
    serde_json::from_str(include_str!("../../scripts/oracles/detection_ops.json")).unwrap()
}

#[test]
fn roi_max_pool_is_torchvisions() {
    on_every_device(|| {
        let cases = detection_oracles().roi_pool;
        assert!(cases.iter().map(|case| case.boxes.len()).sum::<usize>() > 40);
        // a GPU has no tensors without elements
        for case in cases.into_iter().filter(|c| device().is_cpu() || !c.boxes.is_empty()) {
            let name = format!("{} boxes, {:?} bins, scale {}", case.boxes.len(), case.bins, case.scale);
            let roi = |b: &[f32; 5]| Roi { image: b[0] as usize, bounds: Rect::new(b[1], b[2], b[3], b[4]) };
            let rois: Vec<Roi> = case.boxes.iter().map(roi).collect();
            let x = case.x.var();
            let y = roi_max_pool(&x, &rois, case.scale, case.bins).unwrap();
            case.y.check(&name, &y);
            case.dx.check(&format!("{name}, dx"), &gradient(&x, &y, &case.dy));
        }
    });
}

#[test]
fn smooth_l1_is_pytorchs() {
    on_every_device(|| {
        let case = detection_oracles().smooth_l1;
        let predictions = case.predictions.var();
        let (targets, weights) = (case.targets.tensor(), case.weights.tensor());
        let loss = smooth_l1(&predictions, &targets, &weights, case.divisor).unwrap();
        assert!((loss.to_scalar::<f64>().unwrap() - case.loss).abs() < TOLERANCE);
        case.gradient.check("smooth l1", loss.backward().unwrap().get(&predictions).unwrap());
    });
}
