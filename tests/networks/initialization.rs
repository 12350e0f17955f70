//! Weights that depend on data, calibration of layers against one another, and other surgery on weights.

use candle_core::{DType, Device, Result, Tensor};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        absorb::absorb_batch_norm,
        alexnet::{AlexNetSpec, Stem},
        calibrate::{CalibrationSpec, calibrate, ratios},
        data_init::{DataInitSpec, Filters, initialize},
        input::Input,
        kinds::{ConvRow, LayerKind, SlidingWindow},
        network::{Interface, Network, PixelGrid},
        surgery::{difference, lightness_to_lab_weights, to_convolutions, to_matrices},
        table::{Layer, Role},
    },
    bounded::{Count, Positive},
    extremes::{apart, between, largest},
    nn::{
        Mode, TrainingPass,
        init::Filler,
        layers::Fillers,
        params::Params,
        weights::{self, Named, load_into},
    },
    ops::{conv::conv2d, resize::resize_bilinear},
    rng::Rng,
    spec::resolved_yaml,
};
use serde::Deserialize;
use std::{fs, path::Path, process::Command};

const ALL: [Filters; 5] = [Filters::Kmeans, Filters::Pca, Filters::Zca, Filters::Patches, Filters::Gaussian];

fn normal(shape: &[usize], std: f64, seed: u64) -> Tensor {
    let filler = Filler::Gaussian { std: Positive::of(std) };
    filler.fill(shape, &Rng::new(seed), &Device::Cpu).expect("a CPU tensor")
}

/// Blotches with a little noise, as lightness less 50 might be.
fn pictures(batch: usize, side: usize, channels: usize, seed: u64) -> Tensor {
    let coarse = normal(&[batch, side / 4, side / 4, channels], 20.0, seed);
    let smooth = resize_bilinear(&coarse, (side, side), false).expect("fits");
    (smooth + normal(&[batch, side, side, channels], 2.0, seed + 1000)).expect("one shape")
}

fn small() -> BackboneSpec {
    let spec = AlexNetSpec { stem: Stem::Small, width: Positive::of(0.1), ..AlexNetSpec::default() };
    BackboneSpec::Alexnet(spec)
}

fn built(variant: Variant, batch_norm: bool, outputs: Option<usize>) -> (Network, Params) {
    let build = Build { variant, batch_norm, input_channels: 1, outputs };
    let mut params = Params::new(&Device::Cpu);
    let net = small().build(&build, &mut params, &Rng::new(3)).expect("a network");
    (net, params)
}

fn tensors(params: &Params) -> Named {
    // Copies: the variables' own memory is what initialization writes to.
    params
        .all()
        .map(|(name, var)| (name.to_string(), var.as_detached_tensor().copy().expect("a copy")))
        .collect()
}

fn tap(net: &Network, x: &Tensor, name: &str) -> Tensor {
    net.forward(x, &[name], &Mode::Frozen).expect("a forward pass").remove(0)
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).and_then(|x| x.flatten_all()?.to_vec1()).expect("numbers")
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    between(a, b).expect("tensors of one shape")
}

/// Largest distance of the channels' means from `mean`, and of their deviations from 1.
fn moments(sums: &Tensor, mean: f64) -> Result<(f64, f64)> {
    let rows = sums.to_dtype(DType::F64)?.flatten(0, 2)?;
    let means = rows.mean_keepdim(0)?;
    let deviations = rows.broadcast_sub(&means)?.sqr()?.mean(0)?.sqrt()?;
    let worst = |x: &Tensor, wanted: f64| largest(numbers(x).iter().map(|v| v - wanted));
    Ok((worst(&means, mean), worst(&deviations, 1.0)))
}

fn with(filters: Filters) -> DataInitSpec {
    DataInitSpec { filters, patches: Count::of(2000), ..DataInitSpec::default() }
}

/// What every convolution answers is measured anew, from the taps around it.
#[test]
fn every_layer_answers_with_unit_variance() -> Result<()> {
    let batches = [pictures(6, 40, 1, 1), pictures(6, 40, 1, 2)];
    let x = Tensor::cat(&batches, 0)?;
    for filters in ALL {
        let (net, params) = built(Variant::Pretext, false, None);
        let spec = DataInitSpec { bias: 0.25, ..with(filters) };
        let reports = initialize(&spec, &net, &batches, &Rng::new(0))?;
        let names: Vec<&str> = reports.iter().map(|report| report.layer.as_str()).collect();
        assert_eq!(names, ["conv1", "conv2", "conv3", "conv4", "conv5"]);
        let mut input = x.clone();
        for layer in &net.layers()[..12] {
            if let Some(conv) = layer.conv() {
                let get = |which| params.get(&format!("{}.{which}", layer.name)).expect("a parameter");
                let sums = conv2d(&input, get("weight"), Some(get("bias")), conv.geometry())?;
                let (mean, deviation) = moments(&sums, 0.25)?;
                assert!(mean < 1e-3 && deviation < 1e-3, "{filters} {}: {mean} {deviation}", layer.name);
            }
            if let Some(name) = &layer.tap {
                input = tap(&net, &x, name);
            }
        }
        for report in reports {
            assert_eq!((report.filters, report.instead.clone()), (filters, None), "{report}");
            assert!(report.mean_error < 1e-3 && report.std_error < 1e-3, "{report}");
        }
    }
    Ok(())
}

#[test]
fn batch_normalization_is_passed_through() -> Result<()> {
    let batches = [pictures(8, 40, 1, 1)];
    let (net, params) = built(Variant::Pretext, true, Some(10));
    let (before, after) = (tensors(&params), {
        let reports = initialize(&with(Filters::Kmeans), &net, &batches, &Rng::new(0))?;
        assert!(reports.iter().all(|r| r.mean_error < 1e-3 && r.std_error < 1e-3), "{reports:?}");
        tensors(&params)
    });
    let changed: Vec<&str> = before
        .iter()
        .filter(|(name, old)| gap(old, &after[*name]) > 0.0)
        .map(|(name, _)| name.as_str())
        .collect();
    let wanted: Vec<String> =
        (1..=5).flat_map(|i| ["bias", "weight"].map(|w| format!("conv{i}.{w}"))).collect();
    assert_eq!(changed, wanted, "running statistics and what follows conv5 stay");
    // What a training batch sees: its own statistics.
    let sums = conv2d(
        &tap(&net, &batches[0], "pool1"),
        &after["conv2.weight"],
        Some(&after["conv2.bias"]),
        net.layers()[4].conv().expect("conv2").geometry(),
    )?;
    assert!(moments(&sums, 0.1)?.1 > 1e-3, "conv2 was fitted to normalized inputs, not to these");
    Ok(())
}

fn layer(inputs: usize, outputs: usize, kernel: usize, pad: usize, groups: usize) -> Layer {
    let fillers = Fillers { weight: Filler::Msra, bias: Some(Filler::Zero) };
    let window = SlidingWindow { kernel, stride: 1, pad, dilation: 1 };
    Layer {
        name: "conv1".into(),
        kind: LayerKind::Conv(ConvRow { inputs, outputs, window, groups, fillers, fully_connected: false }),
        from: vec![0],
        inputs,
        outputs,
        role: Role::Trunk,
        tap: Some("conv1".into()),
        skip: false,
    }
}

fn one_layer(layer: Layer) -> (Network, Params) {
    let grid = PixelGrid { stride: 1, align_corners: false, multiple: 1 };
    let interface = Interface { name: "one layer", input: Input::Lightness, grid, region: None };
    let mut params = Params::new(&Device::Cpu);
    let net = Network::new(interface, vec![layer], &mut params, &Rng::new(0)).expect("a network");
    (net, params)
}

/// Filters of the two groups of a layer that sees `x` `(B, H, W, 2)`.
fn two_groups(filters: Filters, x: &Tensor) -> Result<[Tensor; 2]> {
    let (net, params) = one_layer(layer(2, 12, 3, 1, 2));
    initialize(&with(filters), &net, std::slice::from_ref(x), &Rng::new(4))?;
    let weight = params.get("conv1.weight").expect("a weight").as_detached_tensor();
    Ok([weight.narrow(0, 0, 6)?, weight.narrow(0, 6, 6)?])
}

#[test]
fn groups_do_not_see_one_another() -> Result<()> {
    let (smooth, rough) = (pictures(4, 20, 1, 5), normal(&[4, 20, 20, 1], 3.0, 6));
    let beside = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 3)?.contiguous();
    for filters in [Filters::Kmeans, Filters::Pca, Filters::Zca, Filters::Patches] {
        let [first, second] = two_groups(filters, &beside(&smooth, &rough)?)?;
        let [again, other] = two_groups(filters, &beside(&smooth, &normal(&[4, 20, 20, 1], 9.0, 7))?)?;
        assert_eq!(gap(&first, &again), 0.0, "{filters}: the second group's data reached the first");
        assert!(gap(&second, &other) > 1e-3, "{filters}: the second group does not follow its data");
    }
    let [a, b] = two_groups(Filters::Pca, &beside(&smooth, &smooth)?)?;
    assert!(gap(&a, &b) < 1e-6, "alike groups have like components");
    let [a, b] = two_groups(Filters::Pca, &beside(&smooth, &rough)?)?;
    assert!(gap(&a.abs()?, &b.abs()?) > 1e-2, "groups of different data have different components");
    Ok(())
}

#[derive(Deserialize)]
struct Oracle {
    shape: Vec<usize>,
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    whitening: Vec<f64>,
}

fn oracle() -> (Tensor, Oracle) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/oracles/data_init.json");
    let oracle: Oracle = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let x = Tensor::from_vec(oracle.x.clone(), oracle.shape.clone(), &Device::Cpu).unwrap();
    (x.to_dtype(DType::F32).unwrap(), oracle)
}

/// Filters (10 of 12 numbers) and biases on the oracle's data.
fn on_oracle(filters: Filters) -> Result<(Vec<f64>, Vec<f64>)> {
    let (x, _) = oracle();
    let (net, params) = one_layer(layer(6, 10, 2, 1, 2));
    initialize(&with(filters), &net, &[x], &Rng::new(0))?;
    let get = |name| numbers(params.get(name).expect("a parameter"));
    Ok((get("conv1.weight"), get("conv1.bias")))
}

#[test]
fn principal_components_are_those_of_scikit_learn() -> Result<()> {
    let (_, oracle) = oracle();
    let (weight, bias) = on_oracle(Filters::Pca)?;
    for (i, (ours, theirs)) in weight.chunks(12).zip(oracle.weight.chunks(12)).enumerate() {
        let sign = ours.iter().zip(theirs).map(|(a, b)| a * b).sum::<f64>().signum();
        let worst = largest(ours.iter().zip(theirs).map(|(a, b)| a * sign - b));
        assert!(worst < 1e-5, "filter {i}: {ours:?} is not ±{theirs:?}");
        // The mean that is taken off turns with the filter.
        let wanted = 0.1 + sign * (oracle.bias[i] - 0.1);
        assert!((bias[i] - wanted).abs() < 1e-5, "bias {i}: {} is not {wanted}", bias[i]);
    }
    Ok(())
}

/// With as many filters as numbers every row of the whitening is one of them, in an order of chance.
#[test]
fn whitening_filters_are_those_of_numpy() -> Result<()> {
    let (x, oracle) = oracle();
    let (net, params) = one_layer(layer(6, 24, 2, 1, 2));
    initialize(&with(Filters::Zca), &net, &[x], &Rng::new(0))?;
    let weight = numbers(params.get("conv1.weight").expect("a weight"));
    for (ours, theirs) in weight.chunks(144).zip(oracle.whitening.chunks(144)) {
        for wanted in theirs.chunks(12) {
            let off = |row: &[f64]| apart(row, wanted);
            let nearest = ours.chunks(12).map(off).fold(f64::INFINITY, f64::min);
            assert!(nearest < 1e-5, "no filter is {wanted:?}: {nearest}");
        }
    }
    Ok(())
}

#[test]
fn filters_that_data_cannot_give_are_gaussian() -> Result<()> {
    let (net, _) = one_layer(layer(1, 64, 5, 0, 1));
    let few = DataInitSpec { patches: Count::of(63), ..with(Filters::Kmeans) };
    let x = [pictures(2, 20, 1, 1)];
    let report = initialize(&few, &net, &x, &Rng::new(0))?.remove(0);
    assert_eq!(report.filters, Filters::Gaussian);
    assert!(report.to_string().contains("63 patches are fewer than 64 filters"), "{report}");
    // 64 filters of 25 numbers: more than there are components.
    let report = initialize(&with(Filters::Pca), &net, &x, &Rng::new(0))?.remove(0);
    assert!(report.instead.is_none() && report.std_error < 1e-3, "{report}");
    let error = initialize(&few, &net, &[(x[0].zeros_like()? + 7.0)?], &Rng::new(0)).unwrap_err();
    assert!(error.to_string().contains("conv1") && error.to_string().contains("constant"), "{error}");
    let unknown = DataInitSpec { through: Some("conv9".into()), ..few };
    let error = initialize(&unknown, &net, &x, &Rng::new(0)).unwrap_err().to_string();
    assert!(error.contains("conv9") && error.contains("conv1"), "{error}");
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bits() -> Result<()> {
    let run = |seed| -> Result<Vec<f64>> {
        let (net, params) = built(Variant::Pretext, false, None);
        let spec = DataInitSpec { through: Some("conv2".into()), ..with(Filters::Kmeans) };
        initialize(&spec, &net, &[pictures(4, 40, 1, 1)], &Rng::new(seed))?;
        Ok(numbers(params.get("conv2.weight").expect("a weight")))
    };
    assert_eq!(run(1)?, run(1)?);
    assert_ne!(run(1)?, run(2)?);
    Ok(())
}

/// Biases of all signs, so that those that do not follow would be seen.
fn trained_like() -> (Network, Params) {
    let (net, params) = built(Variant::Transfer, false, None);
    let x = [pictures(16, 29, 1, 8)];
    let spec = DataInitSpec { through: Some("fc7".into()), ..with(Filters::Gaussian) };
    initialize(&spec, &net, &x, &Rng::new(0)).expect("initialized");
    for (i, param) in params.iter().enumerate() {
        let factor = [3.0, 0.4, 1.7, 0.2][i / 2 % 4];
        param.var.set(&param.var.as_detached_tensor().affine(factor, 0.0).expect("a product")).expect("set");
    }
    (net, params)
}

/// Both outputs, divided by their largest numbers.
fn shapes(before: &Tensor, after: &Tensor) -> f64 {
    let unit = |x: &Tensor| {
        let largest = largest(numbers(x));
        assert!(largest > 0.0);
        (x / largest).expect("a quotient")
    };
    gap(&unit(before), &unit(after))
}

#[test]
fn calibration_balances_the_layers_and_keeps_the_function() -> Result<()> {
    let x = pictures(16, 29, 1, 9);
    for input in [false, true] {
        let (net, _) = trained_like();
        let before = tap(&net, &x, "fc7");
        let first = ratios(&net, &x, &Rng::new(2))?;
        assert!(first.spread() > 0.5, "the test must begin unbalanced: {first:?}");
        let spec = CalibrationSpec { input, ..CalibrationSpec::default() };
        let done = calibrate(&spec, &net, &x, &Rng::new(2))?;
        assert!(done.converged && done.homogeneous && done.rounds.len() <= 11, "{done}");
        assert!(done.rounds.last().expect("a round").spread() < 0.01, "{done}");
        assert!(shapes(&before, &tap(&net, &x, "fc7")) < 1e-4, "the function is another");
        // Measured anew, with another head behind: the layers are balanced, up to one factor.
        let last = ratios(&net, &x, &Rng::new(2))?;
        let mut ratios = last.ratios[..7].to_vec();
        if input {
            ratios[0] *= done.input_scale.powi(2);
            assert!((done.input_scale - 1.0).abs() > 1e-3, "{done}");
        } else {
            assert_eq!(done.input_scale, 1.0);
        }
        for ratio in &ratios {
            assert!((ratio / ratios[6]).ln().abs() < 0.02, "{ratios:?}");
        }
    }
    Ok(())
}

#[test]
fn networks_that_cannot_be_calibrated_are_refused() {
    let x = pictures(2, 29, 1, 1);
    let (net, _) = built(Variant::Transfer, true, None);
    let spec = CalibrationSpec::default();
    let error = calibrate(&spec, &net, &x, &Rng::new(0)).unwrap_err().to_string();
    assert!(error.contains("bn1") && error.contains("absorb"), "{error}");
    let (net, _) = built(Variant::Transfer, false, Some(4));
    let error = calibrate(&spec, &net, &x, &Rng::new(0)).unwrap_err().to_string();
    assert!(error.contains("zero") || error.contains("same for every picture"), "{error}");
}

#[test]
fn absorption_leaves_no_difference() -> Result<()> {
    let (net, params) = built(Variant::Pretext, true, Some(5));
    let x = pictures(4, 40, 1, 1);
    for param in params.iter().filter(|param| param.name == "fc8.weight") {
        param.var.set(&normal(param.var.dims(), 0.1, 3))?;
    }
    for step in 0..3 {
        net.forward(&pictures(4, 40, 1, step), &["fc8"], &Mode::Train(TrainingPass::new(Rng::new(step))))?;
    }
    let absorbed = absorb_batch_norm(net.layers(), &tensors(&params))?;
    let (plain, theirs) = built(Variant::Pretext, false, Some(5));
    assert!(load_into(&theirs, &absorbed).expect("it fits").is_complete());
    let apart = difference(&net, &plain, &x)?;
    assert!(apart.scale > 1e-3 && apart.largest < 1e-5 * apart.scale.max(1.0), "{apart:?}");
    let (fresh, _) = built(Variant::Pretext, true, Some(5));
    assert!(difference(&net, &fresh, &x)?.largest > 1e-3, "a difference is seen");
    Ok(())
}

#[test]
fn fully_connected_layers_become_matrices_and_come_back() -> Result<()> {
    let (net, params) = trained_like();
    let (x, ours) = (pictures(3, 29, 1, 4), tensors(&params));
    let flat = to_matrices(net.layers(), &ours)?;
    let weight = &flat["fc6.weight"];
    let map = tap(&net, &x, "pool5");
    let (batch, height, width, channels) = map.dims4()?;
    assert_eq!(weight.dims(), [ours["fc6.weight"].dims()[0], channels * height * width]);
    // As Caffe flattens it: channels, rows, columns.
    let vectors = map.permute((0, 3, 1, 2))?.reshape((batch, ()))?;
    let fc6 = vectors.matmul(&weight.t()?)?.broadcast_add(&flat["fc6.bias"])?.relu()?;
    let window = tap(&net, &x, "fc6").reshape(fc6.dims())?;
    assert!(gap(&fc6, &window) < 1e-4, "{}", gap(&fc6, &window));
    let back = to_convolutions(net.layers(), &flat)?;
    assert!(ours.iter().all(|(name, tensor)| gap(tensor, &back[name]) == 0.0));
    assert_eq!(to_matrices(net.layers(), &flat)?["fc7.weight"].rank(), 2, "matrices stay matrices");
    let wrong = Named::from([("fc6.weight".to_string(), normal(&[8, 5], 1.0, 0))]);
    assert!(to_convolutions(net.layers(), &wrong).unwrap_err().to_string().contains("fc6.weight"));
    Ok(())
}

#[test]
fn color_of_zero_weight_changes_nothing() -> Result<()> {
    let (net, params) = trained_like();
    let lab = lightness_to_lab_weights(net.layers(), &tensors(&params))?;
    let build = Build { variant: Variant::Transfer, batch_norm: false, input_channels: 3, outputs: None };
    let mut theirs = Params::new(&Device::Cpu);
    let color = small().build(&build, &mut theirs, &Rng::new(0))?;
    assert!(load_into(&theirs, &lab).expect("it fits").is_complete());
    let (gray, ab) = (pictures(3, 29, 1, 4), normal(&[3, 29, 29, 2], 40.0, 5));
    let full = Tensor::cat(&[&gray, &ab], 3)?.contiguous()?;
    assert!(gap(&tap(&net, &gray, "fc7"), &tap(&color, &full, "fc7")) < 1e-5);
    assert!(lightness_to_lab_weights(color.layers(), &lab).is_err(), "color is given once");
    Ok(())
}

const SPEC: &str = "\
name: tiny
data: { source: { scenes: { train: 64, val: 16 } }, crop: 32 }
backbone: { alexnet: { stem: small, width: 0.1 } }
stages:
  pretrain:
    pretext:
      task: colorization
      train: { steps: 20, batch: 16, optimizer: { adam: { lr: 3e-5 } } }
";

/// Exit code and what was said.
fn hueristic(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("HUERISTIC_DATA")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), said.concat())
}

#[test]
fn the_verbs_follow_one_another() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    let verb = |arguments: &str, code: i32, wanted: &[&str]| {
        let arguments: Vec<&str> = ["weights"].into_iter().chain(arguments.split_whitespace()).collect();
        let (got, said) = hueristic(folder.path(), &arguments);
        assert_eq!(got, code, "{arguments:?}: {said}");
        wanted.iter().for_each(|w| assert!(said.contains(w), "{arguments:?}: no `{w}` in {said}"));
    };
    let made = "init spec.yaml --filters pca --batches 2 --patches 1000 --out start.safetensors";
    verb(made, 0, &["conv1: pca of", "conv5: pca of", "start.safetensors"]);
    verb(made, 2, &["start.safetensors exists", "--overwrite"]);
    verb("init spec.yaml --through conv9 --out other.safetensors", 2, &["conv9", "conv5"]);
    verb("inspect start.safetensors", 0, &["header backbone", "filters: pca"]);
    verb("absorb start.safetensors plain.safetensors", 0, &["apart"]);
    verb("absorb plain.safetensors twice.safetensors", 2, &["no batch normalization"]);
    verb(
        "rescale start.safetensors even.safetensors --pictures spec.yaml",
        0,
        &["ratio of", "absorbed first"],
    );
    let scaled = "rescale start.safetensors scaled.safetensors --pictures spec.yaml --with-input";
    verb(scaled, 0, &["ratio of", "input scale"]);
    verb("color plain.safetensors lab.safetensors", 0, &["Lab"]);
    verb("inspect lab.safetensors", 0, &["input: lab"]);
    verb("color lab.safetensors more.safetensors", 1, &["lab.safetensors", "3 channels"]);
    verb("fc even.safetensors flat.safetensors", 0, &["fc6, fc7 are matrices"]);
    verb("conv flat.safetensors back.safetensors", 0, &["convolutions"]);
    let read = |name: &str| weights::read(&folder.path().join(name)).unwrap();
    let ((even, about), (back, same)) = (read("even.safetensors"), read("back.safetensors"));
    assert_eq!(about, same);
    assert!(even.len() == back.len() && even.iter().all(|(name, tensor)| gap(tensor, &back[name]) == 0.0));
    verb("color spec.yaml lab2.safetensors", 1, &["spec.yaml"]);
    // a file that ends before fc6
    let (whole, about) = read("start.safetensors");
    let part = whole
        .iter()
        .filter(|(name, _)| !["fc6.", "fc7.", "bn6.", "bn7."].iter().any(|of| name.starts_with(of)));
    let part: Vec<(&str, &Tensor)> = part.map(|(name, tensor)| (name.as_str(), tensor)).collect();
    assert!(part.len() < whole.len());
    weights::write(&part, &about, &folder.path().join("part.safetensors")).unwrap();
    verb("absorb part.safetensors less.safetensors", 0, &["apart", "ends before fc6, fc7"]);
    let ((less, _), (plain, _)) = (read("less.safetensors"), read("plain.safetensors"));
    assert!(less.keys().eq(plain.keys().filter(|name| !name.starts_with("fc"))));
    assert!(less.iter().all(|(name, tensor)| gap(tensor, &plain[name]) == 0.0));
}

/// What is logged of each layer while it is made is not said again.
#[test]
fn a_run_says_once_how_each_layer_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let spec = "name: p\ndata: { source: { scenes: { train: 32, val: 8 } }, crop: 29 }\nstages:\n  a:\n    pretext:\n      \
                backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }\n      \
                init_from: { data_dependent: { batches: 1, patches: 300, through: conv2 } }\n      \
                task: { rotation: { head: { embedding: 8, hidden: [] } } }\n      \
                train: { steps: 1, batch: 4, optimizer: { adam: { lr: 1e-3 } } }\n";
    fs::write(folder.path().join("spec.yaml"), spec).unwrap();
    let (code, said) = hueristic(folder.path(), &["run", "spec.yaml", "--out", "runs"]);
    assert_eq!((code, said.matches("conv1: kmeans of").count()), (0, 1), "{said}");
}

/// A file of the network with batch normalization, one value of it changed.
fn damaged(folder: &Path, name: &str, at: usize, value: f32) -> String {
    let (net, params) = built(Variant::Transfer, true, None);
    net.forward(&pictures(4, 29, 1, 1), &["fc7"], &Mode::Train(TrainingPass::new(Rng::new(1))))
        .expect("a pass");
    let tensor = params.named(name).expect("a parameter");
    let mut values = tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
    values[at] = value;
    tensor.set(&Tensor::from_vec(values, tensor.dims(), &Device::Cpu).expect("a tensor")).expect("set");
    let file = format!("{name}-{at}-{value}.safetensors");
    let about = [("backbone".to_string(), resolved_yaml(&small()).expect("YAML"))];
    weights::save(&params, &about.into(), &folder.join(&file)).expect("written");
    file
}

/// One value that is no number hides behind the first ReLU or maximum: the outputs alone would not show it.
#[test]
fn values_that_are_not_finite_are_refused_by_tensor_and_channel() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    let probe = "name: p\ndata: { source: { scenes: { train: 8, val: 4 } }, crop: 29 }\nstages:\n  a:\n    linear_probe:\n      \
                 backbone: { alexnet: { stem: small, width: 0.1 } }\n      backbones: { x: { rescaled: { file: FILE } } }\n      \
                 train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 1e-3 } } }\n";
    for (name, at, value, channel) in [
        ("conv2.bias", 5, f32::NAN, 5),
        ("conv3.weight", 9 * 24 * 3 + 7, f32::INFINITY, 3),
        ("bn2.running_var", 1, -0.5, 1),
        ("bn1.running_mean", 7, f32::NAN, 7),
    ] {
        let file = damaged(folder.path(), name, at, value);
        fs::write(folder.path().join("probe.yaml"), probe.replace("FILE", &file)).unwrap();
        for verb in [
            format!("weights absorb {file} out.safetensors"),
            format!("weights rescale {file} out.safetensors --pictures spec.yaml"),
            format!("weights color {file} out.safetensors"),
            format!("weights fc {file} out.safetensors"),
            format!("weights conv {file} out.safetensors"),
            "run probe.yaml".into(),
        ] {
            let (code, said) = hueristic(folder.path(), &verb.split(' ').collect::<Vec<_>>());
            assert!(code != 0, "{verb}: {said}");
            let part = format!("`{name}`, channel {channel}: ");
            assert!(said.contains(&part) && said.contains(&file), "{verb}: no {part} in {said}");
            assert!(!folder.path().join("out.safetensors").exists(), "{verb}");
        }
    }
    // Finite before, but not after: γ / √(var + ε) of the largest numbers.
    let file = damaged(folder.path(), "conv1.weight", 3, 3e38);
    let (code, said) = hueristic(folder.path(), &["weights", "absorb", &file, "out.safetensors"]);
    assert!(code != 0 && said.contains("finite"), "{said}");
}
