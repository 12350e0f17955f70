//! Residual networks: their published figures, the logits of torchvision with the same weights (`scripts/oracles/resnet.py`),
//! weight files, and what each variant computes.

use super::hashed::fill;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        absorb::fitted,
        calibrate::check_layers,
        data_init::{DataInitSpec, initialize},
        exchange::{self, Architecture, Layout},
        input::Input,
        network::Network,
        resnet::{Depth, ResNetSpec, ResNetStem},
        summary::Summary,
        table::{lattice, reader},
    },
    bounded::{Count, Positive},
    extremes::{between, largest_of},
    nn::{
        Mode, TrainingPass,
        init::Filler,
        params::Params,
        weights::{self, Format, load_into},
    },
    rng::Rng,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles").join(name)
}

fn photographs(depth: Depth) -> BackboneSpec {
    BackboneSpec::Resnet(ResNetSpec { depth, input: Input::RgbUnit, ..ResNetSpec::default() })
}

fn tiny(depth: Depth) -> BackboneSpec {
    let (stem, width) = (ResNetStem::Small, Positive::of(0.03125));
    BackboneSpec::Resnet(ResNetSpec { depth, stem, width, ..ResNetSpec::default() })
}

fn classifier(spec: &BackboneSpec, outputs: usize) -> Build {
    Build { batch_norm: true, outputs: Some(outputs), ..spec.plain() }
}

fn built(spec: &BackboneSpec, build: &Build) -> Result<(Network, Params)> {
    let mut params = Params::new(&Device::Cpu);
    let net = spec.build(build, &mut params, &Rng::new(1))?;
    Ok((net, params))
}

fn noise(dims: (usize, usize, usize, usize), seed: u64) -> Result<Tensor> {
    Ok(Filler::Gaussian { std: Positive::of(20.0) }.fill(dims, &Rng::new(seed), &Device::Cpu)?)
}

/// Parameters and multiply-accumulates of torchvision's documentation, at 224 pixels and 1000 classes.
#[test]
fn the_figures_are_the_published_ones() -> Result<()> {
    let published = [
        (Depth::D18, 11_689_512, 1.814),
        (Depth::D34, 21_797_672, 3.664),
        (Depth::D50, 25_557_032, 4.089),
        (Depth::D101, 44_549_160, 7.801),
        (Depth::D152, 60_192_808, 11.514),
    ];
    for (depth, parameters, gmac) in published {
        let spec = photographs(depth);
        let summary = Summary::of(&spec.table(&classifier(&spec, 1000)), (224, 224))?;
        assert_eq!(summary.parameters(), parameters, "{depth:?}");
        assert_eq!((summary.macs() as f64 / 1e6).round() / 1e3, gmac, "{depth:?}");
        assert_eq!((summary.map("layer3"), summary.map("layer4")), (Some((14, 14)), Some((7, 7))));
    }
    Ok(())
}

#[test]
fn tables_as_printed() -> Result<()> {
    let spec = photographs(Depth::D18);
    insta::assert_snapshot!("resnet18_224", Summary::of(&spec.table(&classifier(&spec, 1000)), (224, 224))?);
    let spec = photographs(Depth::D50);
    insta::assert_snapshot!("resnet50_224", Summary::of(&spec.table(&classifier(&spec, 1000)), (224, 224))?);
    let small = tiny(Depth::D18);
    let pretext = Build { variant: Variant::Pretext, ..classifier(&small, 313) };
    insta::assert_snapshot!("resnet18_small_pretext_32", Summary::of(&small.table(&pretext), (32, 32))?);
    Ok(())
}

#[test]
fn logits_equal_torchvisions() -> Result<()> {
    let (answers, _) = weights::read(&oracle("resnet_answers.safetensors"))?;
    let x = Input::RgbUnit.read(&answers["pictures"])?;
    for (name, depth) in [("resnet18", Depth::D18), ("resnet50", Depth::D50)] {
        let spec = photographs(depth).with_init(Filler::Zero);
        let (net, params) = built(&spec, &classifier(&spec, 1000))?;
        for (name, var) in params.all() {
            fill(name, var)?;
        }
        let logits = net.forward(&x, &["fc"], &Mode::Frozen)?.remove(0).flatten_from(1)?;
        let (apart, scale) = (between(&logits, &answers[name])?, largest_of(&answers[name])?);
        assert!(scale > 0.5 && apart < 1e-4, "{name}: {apart} of {scale}");
    }
    Ok(())
}

/// torchvision's own file: names, counters in place of weights of statistics, the architecture told from the tensors.
#[test]
fn files_of_torchvision_are_read() -> Result<()> {
    let file = exchange::open(&oracle("resnet_torch.safetensors"))?;
    assert_eq!((file.layout, file.architecture), (Layout::Torchvision, Some(Architecture::Resnet)));
    let spec = file.backbone(None)?.context("it is known by its tensors")?;
    let narrow =
        ResNetSpec { width: Positive::of(16.0 / 512.0), input: Input::RgbUnit, ..ResNetSpec::default() };
    assert_eq!(spec, BackboneSpec::Resnet(narrow));
    let (answers, _) = weights::read(&oracle("resnet_answers.safetensors"))?;
    let (theirs, _) = weights::read(&oracle("resnet_narrow.safetensors"))?;
    let x = Input::RgbUnit.read(&answers["pictures"])?;
    for batch_norm in [true, false] {
        let build = Build { batch_norm, outputs: Some(7), ..spec.plain() };
        let (net, params) = built(&spec, &build)?;
        let tensors = fitted(&spec, &build, file.tensors.clone())?;
        assert!(load_into(&params, &tensors)?.is_complete(), "batch_norm: {batch_norm}");
        let logits = net.forward(&x, &["fc"], &Mode::Frozen)?.remove(0).flatten_from(1)?;
        let apart = between(&logits, &theirs["logits"])?;
        assert!(apart < 1e-5, "batch_norm: {batch_norm}: {apart}");
    }
    Ok(())
}

#[test]
fn what_goes_out_to_torchvision_comes_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (ours, theirs) = (folder.path().join("ours.safetensors"), folder.path().join("theirs.pth"));
    let spec = tiny(Depth::D50);
    // A colorizer: its head is a window of one cell, which torchvision holds as a matrix.
    let (_, params) = built(&spec, &Build { variant: Variant::Pretext, ..classifier(&spec, 313) })?;
    let header = serde_yaml::to_string(&serde_json::to_value(&spec)?)?;
    weights::save(&params, &BTreeMap::from([("backbone".to_string(), header)]), &ours)?;
    let file = exchange::open(&ours)?;
    exchange::save(&file, Layout::Torchvision, Format::Pytorch, &theirs)?;
    let back = exchange::open(&theirs)?;
    assert_eq!((back.layout, back.backbone(None)?), (Layout::Torchvision, file.backbone(None)?));
    for (name, tensor) in &back.tensors {
        let same = name.ends_with("weight_sum") || between(tensor, &file.tensors[name])? == 0.0;
        assert!(same, "{name}");
    }
    assert!(back.tensors.contains_key("layer4.2.bn3.running_var"));
    Ok(())
}

/// A label and its logit are the same cell: strides that became dilation keep every cell centered on a multiple of 8.
#[test]
fn predictions_lie_on_the_labels() -> Result<()> {
    for (spec, stride) in [(photographs(Depth::D50), 8), (tiny(Depth::D18), 2)] {
        let build = Build { variant: Variant::Pretext, ..classifier(&spec, 2) };
        let table = spec.table(&build);
        let at = lattice(&table, table.len());
        assert_eq!((at.stride, at.origin, spec.grid().stride), (stride as f64, 0.0, stride));
        for side in [64, 75, 81] {
            let labels = spec.grid().labels(side);
            assert_eq!(Summary::of(&table, (side, side))?.map("fc"), Some((labels, labels)));
        }
    }
    Ok(())
}

/// Regions are pooled behind layer3, every 16 pixels, and read by layer4.
#[test]
fn a_detector_reads_regions_with_the_last_stage() -> Result<()> {
    let spec = tiny(Depth::D18);
    let table = photographs(Depth::D18).table(&Build { variant: Variant::Regions, ..spec.plain() });
    let first = reader(&table).context("it has a reader")?;
    assert_eq!((table[first].name.as_str(), lattice(&table, first).stride), ("layer4.0.conv1", 16.0));
    let (net, params) = built(&spec, &Build { variant: Variant::Regions, ..spec.plain() })?;
    let training = TrainingPass::new(Rng::new(2));
    let mode = Mode::Train(training.clone());
    let map = net.forward(&noise((1, 32, 32, 1), 3)?, &["layer3"], &mode)?.remove(0);
    assert_eq!(map.dims(), [1, 8, 8, 8]);
    let read = net.forward_reader(&map, &["avgpool"], &mode)?.remove(0);
    let whole = net.forward(&noise((1, 32, 32, 1), 3)?, &["avgpool"], &mode)?.remove(0);
    assert_eq!(between(&read, &whole)?, 0.0, "the region is the whole map");
    let mut gradients = HashMap::new();
    training.tape.backward(read.sqr()?.sum_all()?, &mut gradients)?;
    let first = params.get("layer1.0.conv1.weight").context("a parameter")?;
    assert!(gradients.contains_key(&first.id()), "the gradient goes through the region");
    assert!(net.forward_reader(&map, &["layer2"], &mode).is_err(), "layer2 comes before the regions");
    Ok(())
}

/// With statistics that have moved, absorbed or kept, frozen or not, the function is the same.
#[test]
fn batch_normalization_is_absorbed_through_the_blocks() -> Result<()> {
    for depth in [Depth::D18, Depth::D50] {
        let spec = tiny(depth);
        let with = Build { batch_norm: true, ..spec.plain() };
        let (net, params) = built(&spec, &with)?;
        for seed in 0..3 {
            net.forward(
                &noise((4, 32, 32, 1), seed)?,
                &["avgpool"],
                &Mode::Train(TrainingPass::new(Rng::new(seed))),
            )?;
        }
        let tensors = params.all().map(|(name, var)| (name.to_string(), var.as_detached_tensor())).collect();
        let (plain, own) = built(&spec, &spec.plain())?;
        assert!(load_into(&own, &fitted(&spec, &spec.plain(), tensors)?)?.is_complete());
        let x = noise((2, 32, 32, 1), 9)?;
        let taps = ["conv1", "layer1.0", "layer2", "avgpool"];
        let (a, b) = (net.forward(&x, &taps, &Mode::Frozen)?, plain.forward(&x, &taps, &Mode::Frozen)?);
        for ((a, b), tap) in a.iter().zip(&b).zip(taps) {
            let (apart, scale) = (between(a, b)?, largest_of(a)?);
            assert!(apart < 1e-5 * scale, "{depth:?} {tap}: {apart} of {scale}");
        }
    }
    Ok(())
}

#[test]
fn frozen_stages_stand_still_and_the_rest_learns() -> Result<()> {
    let spec = tiny(Depth::D18);
    let (mut net, mut params) = built(&spec, &classifier(&spec, 3))?;
    let all = params.iter().count();
    net.freeze_through("layer2", &mut params)?;
    let frozen =
        |name: &str| ["conv1.", "bn1.", "layer1.", "layer2."].iter().any(|stage| name.starts_with(stage));
    assert!(params.iter().all(|param| !frozen(&param.name)) && params.iter().count() < all);
    let before = params.named("layer2.0.bn1.running_mean").context("a buffer")?.to_vec1::<f32>()?;
    let head = params.get("fc.weight").context("a head")?;
    head.set(&head.as_detached_tensor().ones_like()?)?;
    let training = TrainingPass::new(Rng::new(0));
    let x = noise((2, 32, 32, 1), 1)?;
    let logits = net.forward(&x, &["fc"], &Mode::Train(training.clone()))?.remove(0);
    assert_eq!(logits.dims(), [2, 1, 1, 3]);
    let mut gradients = HashMap::new();
    training.tape.backward(logits.sqr()?.sum_all()?, &mut gradients)?;
    assert!(
        params.iter().all(|param| gradients.contains_key(&param.var.id())),
        "every other parameter learns"
    );
    assert_eq!(params.named("layer2.0.bn1.running_mean").context("a buffer")?.to_vec1::<f32>()?, before);
    let (mut again, mut params) = built(&spec, &classifier(&spec, 3))?;
    again.freeze_before("layer3.0", &mut params)?;
    let first = params.iter().next().map(|param| param.name.clone());
    assert_eq!(first.as_deref(), Some("layer3.0.conv1.weight"));
    // A stage is all of its blocks, and its last block is called after it.
    let (mut whole, mut params) = built(&spec, &classifier(&spec, 3))?;
    whole.freeze_before("layer3", &mut params)?;
    assert_eq!(params.iter().next().map(|param| param.name.clone()), first);
    assert_eq!(
        ["reader", "head", "all", "layer2"].map(|name| spec.layer(name)),
        ["layer4", "fc", "conv1", "layer2"]
    );
    assert!(!spec.is_same_network(&tiny(Depth::D34)) && spec.is_same_network(&spec.with_init(Filler::Zero)));
    Ok(())
}

/// Weights from data go through sums and shortcuts; factors of single layers would change the function, and are refused.
#[test]
fn it_is_initialized_from_data_and_not_rescaled() -> Result<()> {
    let spec = tiny(Depth::D18);
    let (net, params) = built(&spec, &spec.plain())?;
    let how = DataInitSpec { patches: Count::of(500), ..DataInitSpec::default() };
    let reports = initialize(&how, &net, &[noise((4, 32, 32, 1), 1)?], &Rng::new(2))?;
    assert_eq!(reports.len(), 20, "every convolution, shortcuts too");
    assert!(reports.iter().all(|report| report.mean_error < 1e-3 && report.std_error < 1e-3), "{reports:?}");
    assert!(params.get("layer4.1.conv2.weight").is_some());
    let error = check_layers(net.layers()).expect_err("it has sums").to_string();
    assert!(error.contains("layer1.0.add") && error.contains("chains"), "{error}");
    Ok(())
}

#[test]
fn depths_are_those_that_were_published() {
    let read = |yaml: &str| serde_yaml::from_str::<ResNetSpec>(yaml);
    assert_eq!(read("depth: 50").expect("a depth").depth, Depth::D50);
    let error = read("depth: 20").expect_err("no such network").to_string();
    assert!(error.contains("20 layers") && error.contains("[18, 34, 50, 101, 152]"), "{error}");
}
