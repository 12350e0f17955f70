//! AlexNet: figures of the paper's tables, function of the two graphs, absorbed batch normalization.

use candle_core::{DType, Device, Result, Tensor};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        absorb::absorb_batch_norm,
        alexnet::{AlexNetSpec, Stem, TAPS},
        network::Network,
        summary::{Line, Summary},
        table::Layer,
    },
    bounded::{Count, Positive},
    extremes::{apart, between, largest},
    nn::{Mode, TrainingPass, params::Params, weights},
    ops::tape::Tape,
    rng::Rng,
};
use std::collections::{BTreeMap, HashMap};

fn spec(stem: Stem, width: f64) -> AlexNetSpec {
    AlexNetSpec { stem, width: Positive::of(width), ..Default::default() }
}
fn colorizer() -> Build {
    Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(313) }
}
fn features() -> Build {
    Build { variant: Variant::Transfer, batch_norm: false, input_channels: 1, outputs: None }
}
fn classifier() -> Build {
    Build { variant: Variant::Transfer, batch_norm: false, input_channels: 3, outputs: Some(1000) }
}
fn table(spec: &AlexNetSpec, build: &Build) -> Vec<Layer> {
    BackboneSpec::Alexnet(spec.clone()).table(build)
}

fn summary(spec: &AlexNetSpec, build: &Build, size: usize) -> Summary {
    Summary::of(&table(spec, build), (size, size)).expect("large enough")
}
fn full(build: &Build, size: usize) -> Summary {
    summary(&AlexNetSpec::default(), build, size)
}
fn rounded(value: usize, unit: f64, decimals: i32) -> f64 {
    let tens = 10f64.powi(decimals);
    (value as f64 / unit * tens).round() / tens
}

/// name, map at 180 and at 256 pixels, weights, million multiply-accumulates at 180 pixels: the training graph.
const COLORIZER: [(&str, usize, usize, usize, f64); 11] = [
    ("conv1", 45, 64, 11_616, 23.5),
    ("pool1", 23, 33, 0, 0.0),
    ("conv2", 23, 33, 307_200, 162.5),
    ("pool2", 12, 17, 0, 0.0),
    ("conv3", 12, 17, 884_736, 127.4),
    ("conv4", 12, 17, 663_552, 95.6),
    ("conv5", 12, 17, 442_368, 63.7),
    ("pool5", 12, 17, 0, 0.0),
    ("fc6", 12, 17, 37_748_736, 5435.8),
    ("fc7", 12, 17, 16_777_216, 2415.9),
    ("fc8", 12, 17, 1_282_048, 184.6),
];

/// The same at 227 pixels for the transfer graph on lightness.
const FEATURES: [(&str, usize, usize, f64); 10] = [
    ("conv1", 55, 11_616, 35.1),
    ("pool1", 27, 0, 0.0),
    ("conv2", 27, 307_200, 223.9),
    ("pool2", 13, 0, 0.0),
    ("conv3", 13, 884_736, 149.5),
    ("conv4", 13, 663_552, 112.1),
    ("conv5", 13, 442_368, 74.8),
    ("pool5", 6, 0, 0.0),
    ("fc6", 1, 37_748_736, 37.7),
    ("fc7", 1, 16_777_216, 16.8),
];

fn check_row(row: &Line, name: &str, map: usize, weights: usize, mmac: f64) {
    assert_eq!((row.name.as_str(), row.map), (name, (map, map)));
    let biases = if weights > 0 { row.outputs } else { 0 };
    assert_eq!(row.parameters, weights + biases, "{name}");
    assert_eq!(rounded(row.macs, 1e6, 1), mmac, "{name}");
}

#[test]
fn the_colorizer_is_the_papers() {
    let (small, large) = (full(&colorizer(), 180), full(&colorizer(), 256));
    assert_eq!(small.parameters(), 58_127_353);
    assert_eq!(rounded(small.macs(), 1e9, 3), 8.509);
    assert_eq!(rounded(large.macs(), 1e9, 3), 17.086);
    assert_eq!(small.lines.len(), COLORIZER.len());
    for ((name, at_180, at_256, weights, mmac), row) in COLORIZER.iter().zip(&small.lines) {
        check_row(row, name, *at_180, *weights, *mmac);
        assert_eq!(large.map(name), Some((*at_256, *at_256)));
    }
}

#[test]
fn the_transfer_graph_is_the_papers() {
    let lightness = full(&features(), 227);
    assert_eq!((lightness.parameters(), rounded(lightness.macs(), 1e6, 1)), (56_844_992, 650.0));
    assert_eq!(lightness.lines.len(), FEATURES.len());
    for ((name, map, weights, mmac), row) in FEATURES.iter().zip(&lightness.lines) {
        check_row(row, name, *map, *weights, *mmac);
    }
    let color = full(&classifier(), 227);
    assert_eq!((color.parameters(), rounded(color.macs(), 1e6, 1)), (60_965_224, 724.4));
    assert_eq!(rounded(color.lines[0].macs, 1e6, 1), 105.4);
}

#[test]
fn the_small_stem_keeps_the_alignment() {
    let small = spec(Stem::Small, 1.0);
    let maps = |build: &Build| TAPS.map(|tap| summary(&small, build, 29).map(tap).map_or(0, |(h, _)| h));
    assert_eq!(maps(&colorizer()), [29, 15, 15, 8, 8, 8, 8, 8, 8, 8, 8]);
    assert_eq!(maps(&features()), [29, 14, 14, 7, 7, 7, 7, 3, 1, 1, 0]);
}

#[test]
fn labels_are_twice_as_dense_as_logits() -> Result<()> {
    for (stem, pixels, stride, labels) in [(Stem::Standard, 180, 8, 23), (Stem::Small, 29, 2, 15)] {
        let (net, _) = build(&spec(stem, 0.05), &colorizer())?;
        assert_eq!((net.grid().stride, net.grid().labels(pixels)), (stride, labels));
        let logits = net.summary((pixels, pixels))?.map("fc8").map(|(h, _)| h);
        assert_eq!(logits, Some(labels.div_ceil(2)));
    }
    Ok(())
}

#[test]
fn tables_as_printed() {
    insta::assert_snapshot!("colorizer_180", full(&colorizer(), 180));
    insta::assert_snapshot!("colorizer_256", full(&colorizer(), 256));
    insta::assert_snapshot!("features_227", full(&features(), 227));
    insta::assert_snapshot!("classifier_227", full(&classifier(), 227));
    let half = spec(Stem::Small, 0.5);
    insta::assert_snapshot!("small_colorizer_29_half", summary(&half, &colorizer(), 29));
    insta::assert_snapshot!("small_features_29_half", summary(&half, &features(), 29));
}

#[test]
fn widths_keep_two_groups_whole() {
    for width in [0.01, 0.1, 0.25, 0.33, 0.77, 1.5] {
        for row in table(&spec(Stem::Standard, width), &features()).iter().skip(1) {
            assert_eq!((row.inputs % 8, row.outputs % 8), (0, 0), "{} at {width}", row.name);
        }
    }
    let fc = AlexNetSpec { fc: Some(hueristic::bounded::Count::of(100)), ..spec(Stem::Standard, 0.25) };
    let table = table(&fc, &features());
    let channels = |name: &str| table.iter().find(|layer| layer.name == name).map(|l| (l.inputs, l.outputs));
    assert_eq!((channels("conv1"), channels("fc7")), (Some((1, 24)), Some((100, 100))));
}

#[test]
fn pictures_that_are_too_small_are_refused_with_the_layer() {
    let error = Summary::of(&table(&AlexNetSpec::default(), &features()), (100, 100));
    let error = error.expect_err("fc6 is 6×6").to_string();
    assert!(error.contains("fc6") && error.contains("2×2 map") && error.contains("100×100"), "{error}");
}

fn build(spec: &AlexNetSpec, build: &Build) -> Result<(Network, Params)> {
    let mut params = Params::new(&Device::Cpu);
    let net = BackboneSpec::Alexnet(spec.clone()).build(build, &mut params, &Rng::new(1))?;
    Ok((net, params))
}
fn picture(batch: usize, size: usize) -> Result<Tensor> {
    let values: Vec<f32> = (0..batch * size * size).map(|i| ((i * 7919 + 13) % 101) as f32 - 50.0).collect();
    Tensor::from_vec(values, (batch, size, size, 1), &Device::Cpu)
}
fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
}
fn train_mode(step: u64) -> Mode {
    Mode::Train(TrainingPass::new(Rng::new(5).split(&format!("step {step}"))))
}

#[test]
fn parameters_are_those_of_the_table() -> Result<()> {
    let (net, params) = build(&spec(Stem::Standard, 0.1), &colorizer())?;
    assert_eq!(params.count(), net.summary((180, 180))?.parameters());
    let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names[..4], ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"]);
    assert_eq!((names.len(), names[15]), (16, "fc8.bias"));
    let buffers: Vec<&str> = params.buffers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (buffers.len(), &buffers[..3]),
        (21, &["bn1.running_mean", "bn1.running_var", "bn1.weight_sum"][..])
    );
    assert!(buffers.contains(&"bn7.weight_sum"));
    Ok(())
}

#[test]
fn fillers_are_the_papers() -> Result<()> {
    let (_, params) = build(&spec(Stem::Standard, 0.1), &colorizer())?;
    let values = |name: &str| flat(params.get(name).expect("in the table"));
    assert!(values("fc8.weight").iter().chain(&values("fc8.bias")).all(|v| *v == 0.0));
    assert!(values("fc6.bias").iter().chain(&values("fc7.bias")).all(|v| *v == 1.0));
    assert!(values("conv1.bias").iter().all(|v| *v == 0.0));
    let fc6 = values("fc6.weight");
    let std = (fc6.iter().map(|v| v * v).sum::<f32>() / fc6.len() as f32).sqrt();
    assert!((std / 0.005 - 1.0).abs() < 0.02, "fc6: {std}");
    Ok(())
}

/// Zero logits make the first loss the logarithm of 313, exactly, whatever the picture.
#[test]
fn the_first_logits_are_zero() -> Result<()> {
    let (net, _) = build(&spec(Stem::Standard, 0.1), &colorizer())?;
    let logits = net.forward(&picture(2, 180)?, &["fc8"], &train_mode(0))?.remove(0);
    assert_eq!(logits.dims(), [2, 12, 12, 313]);
    assert!(flat(&logits).iter().all(|v| *v == 0.0));
    Ok(())
}

#[test]
fn taps_come_in_the_order_asked_and_no_layer_beyond() -> Result<()> {
    let (net, _) = build(&spec(Stem::Standard, 0.1), &features())?;
    let x = picture(2, 100)?; // too small for fc6
    let outputs = net.forward(&x, &["conv3", "pool1", "conv1", "conv3"], &Mode::Frozen)?;
    let dims: Vec<_> = outputs.iter().map(|t| t.dims().to_vec()).collect();
    assert_eq!(dims, [[2, 5, 5, 40], [2, 11, 11, 8], [2, 23, 23, 8], [2, 5, 5, 40]]);
    assert!(flat(&outputs[2]).iter().all(|v| *v >= 0.0), "conv1 is tapped before its ReLU");
    let error = net.forward(&x, &["fc7"], &Mode::Frozen).expect_err("too small").to_string();
    assert!(error.contains("fc6"), "{error}");
    assert!(net.forward(&x, &[], &Mode::Frozen)?.is_empty());
    Ok(())
}

#[test]
fn unknown_taps_and_wrong_channels_are_named() -> Result<()> {
    let (net, _) = build(&spec(Stem::Small, 0.1), &features())?;
    let error =
        net.forward(&picture(1, 29)?, &["relu5"], &Mode::Frozen).expect_err("no such layer").to_string();
    assert!(error.contains("`relu5`") && error.contains("conv5, pool5, fc6, fc7"), "{error}");
    let color = Tensor::zeros((1, 29, 29, 3), DType::F32, &Device::Cpu)?;
    let error = net.forward(&color, &["conv1"], &Mode::Frozen).expect_err("three channels").to_string();
    assert!(error.contains("conv1 takes 1 channels"), "{error}");
    Ok(())
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    let (net, params) = build(&spec(Stem::Small, 0.05), &colorizer())?;
    let fc8 = params.get("fc8.weight").expect("in the table");
    fc8.set(&(fc8.ones_like()? * 0.1)?)?;
    let training = TrainingPass::new(Rng::new(5));
    let logits = net.forward(&picture(2, 29)?, &["fc8"], &Mode::Train(training.clone()))?.remove(0);
    let mut gradients = HashMap::new();
    training.tape.backward(logits.sqr()?.mean_all()?, &mut gradients)?;
    for param in params.iter() {
        let grad = gradients.get(&param.var.id());
        assert_eq!(grad.map(|g| g.dims()), Some(param.var.dims()), "{}", param.name);
    }
    let conv1 = params.get("conv1.weight").expect("in the table");
    let conv1 = gradients.get(&conv1.id()).map(flat).unwrap_or_default();
    assert!(conv1.iter().any(|v| *v != 0.0));
    Ok(())
}

#[test]
fn frozen_builds_no_graph() -> Result<()> {
    let (net, _) = build(&spec(Stem::Small, 0.05), &colorizer())?;
    let x = picture(2, 29)?;
    let frozen = net.forward(&x, &["conv1", "fc8"], &Mode::Frozen)?;
    let eval = net.forward(&x, &["conv1", "fc8"], &Mode::Eval(Tape::default()))?;
    for (frozen, eval) in frozen.iter().zip(&eval) {
        assert!(!frozen.track_op() && eval.track_op());
        assert_eq!(flat(frozen), flat(eval));
    }
    Ok(())
}

#[test]
fn dropout_is_for_training_and_follows_the_step() -> Result<()> {
    let (net, _) = build(&spec(Stem::Small, 0.5), &features())?;
    let x = picture(2, 29)?;
    let fc6 = |mode: &Mode| net.forward(&x, &["fc6"], mode).map(|mut t| flat(&t.remove(0)));
    assert_eq!(fc6(&train_mode(1))?, fc6(&train_mode(1))?);
    assert_ne!(fc6(&train_mode(1))?, fc6(&train_mode(2))?);
    let (train, eval) = (fc6(&train_mode(1))?, fc6(&Mode::Frozen)?);
    let alive = eval.iter().filter(|v| **v > 0.0).count() as f64;
    let kept = train.iter().filter(|v| **v > 0.0).count() as f64;
    assert!((kept / alive - 0.5).abs() < 0.05, "{kept} of {alive} are left");
    assert!(train.iter().zip(&eval).all(|(t, e)| *t == 0.0 || (t - 2.0 * e).abs() < 1e-3 * e));
    Ok(())
}

#[test]
fn the_seed_decides_the_weights() -> Result<()> {
    let weights = |seed: u64| -> Result<Vec<f32>> {
        let mut params = Params::new(&Device::Cpu);
        let spec = BackboneSpec::Alexnet(spec(Stem::Small, 0.1));
        spec.build(&colorizer(), &mut params, &Rng::new(seed))?;
        Ok(params.iter().flat_map(|p| flat(&p.var)).collect())
    };
    assert_eq!(weights(3)?, weights(3)?);
    assert_ne!(weights(3)?, weights(4)?);
    Ok(())
}

/// Relative to the largest value, the largest difference.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (flat(a), flat(b));
    let largest = largest(b.iter().copied());
    assert!(largest > 0.0);
    apart(&a, &b) / largest
}

/// A trained network with batch normalization, whose weights without it compute the same function in evaluation.
#[test]
fn absorbed_batch_norm_changes_nothing() -> anyhow::Result<()> {
    let small = spec(Stem::Small, 0.1);
    let (net, params) = build(&small, &colorizer())?;
    let fc8 = params.get("fc8.weight").expect("in the table");
    fc8.set(&Tensor::arange(0f32, fc8.elem_count() as f32, &Device::Cpu)?.sin()?.reshape(fc8.shape())?)?;
    for step in 0..3 {
        net.forward(&(picture(4, 29)? * (1.0 + step as f64))?, &["fc8"], &train_mode(step))?;
    }
    let tensors: BTreeMap<String, Tensor> = params.state().into_iter().collect();
    let plain = Build { batch_norm: false, ..colorizer() };
    let (absorbed, own) = build(&small, &plain)?;
    let report = weights::load_into(&own, &absorb_batch_norm(net.layers(), &tensors)?)?;
    assert!(report.is_complete(), "{report}");
    let x = picture(2, 29)?;
    let taps = ["conv1", "conv5", "fc7", "fc8"];
    let (before, after) =
        (net.forward(&x, &taps, &Mode::Frozen)?, absorbed.forward(&x, &taps, &Mode::Frozen)?);
    for ((tap, before), after) in taps.iter().zip(&before).zip(&after) {
        let difference = difference(after, before);
        assert!(difference < 1e-5, "{tap}: {difference}");
    }
    Ok(())
}

#[test]
fn absorbing_asks_for_the_statistics() -> Result<()> {
    let (net, params) = build(&spec(Stem::Small, 0.05), &colorizer())?;
    let mut tensors: BTreeMap<String, Tensor> = params.state().into_iter().collect();
    tensors.remove("bn3.running_var");
    let error = absorb_batch_norm(net.layers(), &tensors).expect_err("no variance").to_string();
    assert!(error.contains("`bn3.running_var` is missing"), "{error}");
    Ok(())
}

#[test]
fn frozen_rows_keep_their_weights_and_build_no_graph() -> Result<()> {
    let spec = AlexNetSpec {
        stem: Stem::Small,
        width: Positive::of(0.1),
        fc: Some(Count::of(16)),
        ..Default::default()
    };
    let build = Build { variant: Variant::Regions, batch_norm: true, input_channels: 1, outputs: Some(3) };
    let mut params = Params::new(&Device::Cpu);
    let mut net = BackboneSpec::Alexnet(spec).build(&build, &mut params, &Rng::new(1))?;
    let trained = params.iter().count();
    net.freeze_through("conv2", &mut params)?;
    let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(trained - names.len(), 4, "two weights and two biases went");
    assert!(names.iter().all(|name| !name.starts_with("conv1") && !name.starts_with("conv2")), "{names:?}");
    let before = params.named("bn1.running_mean").expect("a buffer").to_vec1::<f32>()?;

    let x = Tensor::randn(0f32, 1.0, (2, 29, 29, 1), &Device::Cpu)?;
    let training = TrainingPass::new(Rng::new(2));
    let mode = Mode::Train(training.clone());
    let maps = net.forward(&x, &["pool2", "conv5"], &mode)?;
    assert!(!maps[0].track_op(), "pool2 is a constant");
    assert_eq!(params.named("bn1.running_mean").expect("a buffer").to_vec1::<f32>()?, before);
    let regions = maps[1].narrow(1, 0, 3)?.narrow(2, 0, 3)?.contiguous()?;
    let logits = net.forward_reader(&regions, &["fc8"], &mode)?.remove(0);
    assert_eq!(logits.dims(), [2, 1, 1, 3]);
    let mut gradients = HashMap::new();
    training.tape.backward(logits.sqr()?.sum_all()?, &mut gradients)?;
    assert!(gradients.contains_key(&params.get("conv3.weight").expect("trained").id()));

    assert!(net.forward_reader(&regions, &["conv5"], &mode).is_err(), "conv5 comes before fc6");
    assert!(net.freeze_through("conv9", &mut params).is_err());
    Ok(())
}

/// Of a frozen first layer that is given color, the filters of a and b learn and nothing else.
#[test]
fn color_can_be_learned_on_top_of_frozen_lightness() -> Result<()> {
    let build = Build { variant: Variant::Regions, batch_norm: false, input_channels: 3, outputs: None };
    let mut params = Params::new(&Device::Cpu);
    let mut net = BackboneSpec::Alexnet(spec(Stem::Small, 0.1)).build(&build, &mut params, &Rng::new(1))?;
    let x = Tensor::randn(0f32, 1.0, (1, 29, 29, 3), &Device::Cpu)?;
    let before = net.forward(&x, &["conv2"], &Mode::Frozen)?.remove(0);
    net.freeze_through("conv2", &mut params)?;
    net.unfreeze_chroma(&mut params)?;
    let training = TrainingPass::new(Rng::new(2));
    let after = net.forward(&x, &["conv2"], &Mode::Train(training.clone()))?.remove(0);
    let far = between(&before, &after)?;
    assert!(far < 1e-5, "the function stays: {far}");
    let mut gradients = HashMap::new();
    training.tape.backward(after.sqr()?.sum_all()?, &mut gradients)?;
    let color = params.get("conv1_color.weight").expect("it learns");
    assert_eq!(color.dim(3)?, 2);
    let gradient = gradients.get(&color.id()).expect("a gradient");
    assert_eq!(gradient.dims(), color.dims());
    let learning = params.iter().filter(|p| gradients.contains_key(&p.var.id())).count();
    assert_eq!(learning, 1, "nothing else up to conv2 does");
    Ok(())
}
