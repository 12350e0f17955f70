//! Released AlexNets of every convention: the file, read as a user reads it, computes what PyTorch computes
//! (`scripts/oracles/alexnet_conventions.py`).

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        absorb::fitted,
        alexnet::{AlexNetSpec, Stem},
        alexnet_conventions::{Preset, TestNorm},
        calibrate::{CalibrationSpec, calibrate},
        data_init::{DataInitSpec, Filters, initialize},
        exchange::{self, Layout},
        network::Network,
        summary::Summary,
        table::{Role, taps},
    },
    bounded::{Count, Positive},
    extremes::{apart, largest},
    nn::{
        Mode,
        init::Filler,
        params::Params,
        weights::{self, Format},
    },
    ops::{conv::conv2d, resize::resize_bilinear},
    rng::Rng,
};
use std::path::{Path, PathBuf};

const FC: usize = 2;
const CLASSES: usize = 3;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/conventions").join(name)
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// The largest difference, as a share of the largest value.
fn difference(ours: &Tensor, theirs: &Tensor) -> Result<f64> {
    assert_eq!(ours.dims(), theirs.dims());
    let (ours, theirs) = (flat(ours)?, flat(theirs)?);
    let scale = largest(theirs.iter().copied());
    assert!(scale > 0.0, "the oracle is not all zero");
    Ok(apart(&ours, &theirs) / scale)
}

/// The oracle's bytes, RGB, `(1, side, side, 3)`.
fn picture(side: usize) -> Result<Tensor> {
    let value = |i: usize| {
        let (y, x, c) = (i / (3 * side), i / 3 % side, i % 3);
        ((37 * y + 91 * x + 53 * c + y * x) % 256) as u8
    };
    Ok(Tensor::from_vec((0..3 * side * side).map(value).collect(), (1, side, side, 3), &Device::Cpu)?)
}

/// A preset, as narrow as the oracle.
fn narrow(preset: Preset) -> AlexNetSpec {
    AlexNetSpec { channels: [8; 5].map(Count::of), fc: Some(Count::of(FC)), ..preset.spec() }
}

fn build(spec: &BackboneSpec, outputs: Option<usize>) -> Build {
    Build { variant: Variant::Transfer, batch_norm: false, input_channels: spec.input().channels(), outputs }
}

/// The network of a file on the transfer graph; all its parameters must come from the file, those of fc6 and fc7 apart
/// where the oracle leaves them out.
fn network(file: &str, given: Option<&BackboneSpec>, classes: Option<usize>) -> Result<Network> {
    let file = exchange::open(&fixture(file))?;
    let spec = file.backbone(given)?.context("nobody says what it is")?;
    let build = build(&spec, classes);
    let mut params = Params::new(&Device::Cpu);
    let net = spec.build(&build, &mut params, &Rng::new(0))?;
    let report = weights::load_into(&params, &fitted(&spec, &build, file.tensors)?)?;
    assert!(report.missing.is_empty() && report.mismatched.is_empty(), "{report}");
    Ok(net)
}

/// Every tap that the oracle has for `name`, from a picture as bytes.
fn parity(net: &Network, name: &str, side: usize, taps: &[&str]) -> Result<()> {
    let (answers, _) = weights::read(&fixture("answers.safetensors"))?;
    let input = net.input().read(&picture(side)?)?;
    let corner = input.narrow(1, 0, 4)?.narrow(2, 0, 4)?;
    assert!(difference(&corner, &answers[&format!("{name}.input")])? < 1e-5, "{name}: input");
    for (tap, ours) in taps.iter().zip(net.forward(&input, taps, &Mode::Frozen)?) {
        let off = difference(&ours, &answers[&format!("{name}.{tap}")])?;
        assert!(off < 2e-5, "{name}.{tap} is off by {off} of its largest value");
    }
    Ok(())
}

const NORMED: [&str; 9] = ["pool1", "norm1", "conv2", "pool2", "norm2", "conv3", "conv4", "conv5", "pool5"];
const PLAIN: [&str; 7] = ["pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"];

#[test]
fn caffenet_pools_then_normalizes() -> Result<()> {
    let spec = BackboneSpec::Alexnet(narrow(Preset::Caffenet));
    let net = network("caffenet.caffemodel", Some(&spec), Some(CLASSES))?;
    parity(&net, "caffenet", 55, &NORMED)?;
    parity(&net, "caffenet", 55, &["conv1"])?;
    let names: Vec<_> = taps(net.layers()).take(5).collect();
    assert_eq!(names, ["conv1", "pool1", "norm1", "conv2", "pool2"]);
    Ok(())
}

/// Flat `(O, C·H·W)` weights as windows: the one part that needs the whole crop.
#[test]
fn caffenet_classifies_a_crop() -> Result<()> {
    let spec = BackboneSpec::Alexnet(narrow(Preset::Caffenet));
    let net = network("caffenet.caffemodel", Some(&spec), Some(CLASSES))?;
    parity(&net, "caffenet", 227, &["fc6", "fc7", "fc8"])
}

#[test]
fn the_paper_of_2012_normalizes_then_pools() -> Result<()> {
    let spec = BackboneSpec::Alexnet(narrow(Preset::Krizhevsky));
    parity(&network("krizhevsky.caffemodel", Some(&spec), None)?, "krizhevsky", 55, &NORMED)?;
    // The order matters: CaffeNet's would not pass.
    let swapped = BackboneSpec::Alexnet(narrow(Preset::Caffenet));
    let net = network("krizhevsky.caffemodel", Some(&swapped), None)?;
    let (answers, _) = weights::read(&fixture("answers.safetensors"))?;
    let ours = net.forward(&net.input().read(&picture(55)?)?, &["conv2"], &Mode::Frozen)?.remove(0);
    assert!(difference(&ours, &answers["krizhevsky.conv2"])? > 1e-3);
    Ok(())
}

#[test]
fn the_jigsaw_network_steps_by_two_and_has_columns() -> Result<()> {
    let spec = BackboneSpec::Alexnet(narrow(Preset::Noroozi));
    parity(&network("noroozi.caffemodel", Some(&spec), None)?, "noroozi", 33, &NORMED)?;
    let notes = exchange::open(&fixture("noroozi.caffemodel"))?.notes.join("\n");
    assert!(notes.contains("`_s1` removed"), "{notes}");
    Ok(())
}

/// Kept in evaluation, and absorbed: the same function.
#[test]
fn batch_normalization_stays_or_is_absorbed() -> Result<()> {
    let absorbed = AlexNetSpec { width: Positive::of(1.0), ..narrow(Preset::SplitBrain) };
    // The oracle normalizes the convolutions alone.
    let file = exchange::open(&fixture("split_brain.pth"))?;
    let kept = AlexNetSpec { batch_norm: TestNorm::Kept, ..absorbed.clone() };
    for spec in [kept, absorbed] {
        let spec = BackboneSpec::Alexnet(spec);
        let build = build(&spec, None);
        let mut tensors = file.tensors.clone();
        for (norm, channels) in [("bn6", FC), ("bn7", FC)] {
            let (zeros, ones) = (
                Tensor::zeros(channels, candle_core::DType::F32, &Device::Cpu)?,
                Tensor::ones(channels, candle_core::DType::F32, &Device::Cpu)?,
            );
            tensors.insert(format!("{norm}.running_mean"), zeros);
            tensors.insert(format!("{norm}.running_var"), ones);
            tensors.insert(format!("{norm}.weight_sum"), Tensor::new(&[1f32], &Device::Cpu)?);
        }
        let mut params = Params::new(&Device::Cpu);
        let net = spec.build(&build, &mut params, &Rng::new(0))?;
        let report = weights::load_into(&params, &fitted(&spec, &build, tensors)?)?;
        assert!(report.missing.is_empty() && report.mismatched.is_empty(), "{report}");
        parity(&net, "split_brain", 55, &PLAIN)?;
    }
    let notes = file.notes.join("\n");
    for part in ["`net.` removed", "conv1.bias is not in the file: zeros", "left out: head"] {
        assert!(notes.contains(part), "`{part}` is not in {notes}");
    }
    Ok(())
}

/// Its names say all of it: no spec is needed.
#[test]
fn torchvisions_describes_itself() -> Result<()> {
    let net = network("torchvision.pth", None, Some(CLASSES))?;
    parity(&net, "torchvision", 63, &PLAIN)
}

#[test]
fn the_adversarial_encoder_leaks() -> Result<()> {
    let spec = BackboneSpec::Alexnet(narrow(Preset::Donahue));
    parity(&network("donahue.safetensors", Some(&spec), Some(CLASSES))?, "donahue", 55, &PLAIN)
}

#[test]
fn files_that_do_not_say_their_input_ask_for_it() -> Result<()> {
    for name in ["caffenet.caffemodel", "krizhevsky.caffemodel", "noroozi.caffemodel", "donahue.safetensors"]
    {
        let file = exchange::open(&fixture(name))?;
        assert!(file.backbone(None)?.is_none(), "{name}");
        assert!(file.notes.iter().any(|note| note.contains("preset: caffenet")), "{name}: {:?}", file.notes);
    }
    let caffenet = exchange::open(&fixture("caffenet.caffemodel"))?;
    assert_eq!((caffenet.format, caffenet.layout), (Format::Caffe, Layout::Caffe));
    assert!(caffenet.notes.iter().any(|note| note.contains("left out: cls_score")), "{:?}", caffenet.notes);
    Ok(())
}

/// Published sizes at the crops that the releases were made for.
#[test]
fn presets_have_their_releases_sizes() -> Result<()> {
    let cases = [
        (Preset::Caffenet, 227, 60_965_224),
        (Preset::Torchvision, 224, 61_100_840),
        (Preset::Krizhevsky, 227, 60_965_224),
    ];
    for (preset, side, parameters) in cases {
        let spec = BackboneSpec::Alexnet(preset.spec());
        let summary = Summary::of(&spec.table(&build(&spec, Some(1000))), (side, side))?;
        assert_eq!((summary.parameters(), summary.map("fc8")), (parameters, Some((1, 1))), "{preset}");
    }
    let noroozi = BackboneSpec::Alexnet(Preset::Noroozi.spec());
    let summary = Summary::of(&noroozi.table(&build(&noroozi, None)), (227, 227))?;
    assert_eq!((summary.map("conv1"), summary.map("conv5")), (Some((109, 109)), Some((27, 27))));
    Ok(())
}

/// A preset on the small stem and a few channels, as a spec writes it.
fn tiny(preset: Preset) -> BackboneSpec {
    BackboneSpec::Alexnet(AlexNetSpec {
        stem: Stem::Small,
        width: Positive::of(0.1),
        fc: Some(Count::of(16)),
        ..preset.spec()
    })
}

fn built(spec: &BackboneSpec) -> Result<(Network, Params)> {
    let mut params = Params::new(&Device::Cpu);
    let net = spec.build(&build(spec, None), &mut params, &Rng::new(0))?;
    Ok((net, params))
}

/// Blotches with a little noise, `(batch, 32, 32, C)`, as deviations from a mean.
fn blotches(spec: &BackboneSpec, seed: u64) -> Result<Tensor> {
    let channels = spec.input().channels();
    let noise = |side: usize, std| {
        let filler = Filler::Gaussian { std: Positive::of(std) };
        filler.fill((8, side, side, channels), &Rng::new(seed + side as u64), &Device::Cpu)
    };
    Ok((resize_bilinear(&noise(8, 2.0)?, (32, 32), false)? + noise(32, 0.2)?)?)
}

/// Largest distance of the channels' deviations from 1.
fn unevenness(x: &Tensor) -> Result<f64> {
    let rows = x.to_dtype(DType::F64)?.flatten(0, 2)?;
    let variances = rows.broadcast_sub(&rows.mean_keepdim(0)?)?.sqr()?.mean(0)?.to_vec1::<f64>()?;
    Ok(largest(variances.iter().map(|variance| variance.sqrt() - 1.0)))
}

/// Every convolution of every preset, measured on what the network itself gives it: behind the response normalization
/// where there is one, and with the slope of leaky ReLUs.
#[test]
fn every_preset_is_made_from_data_and_rescaled() -> Result<()> {
    for preset in Preset::ALL {
        let spec = tiny(preset);
        let x = blotches(&spec, 1)?;
        for filters in [Filters::Kmeans, Filters::Pca, Filters::Zca, Filters::Patches, Filters::Gaussian] {
            let (net, params) = built(&spec)?;
            let how = DataInitSpec { filters, patches: Count::of(1000), ..DataInitSpec::default() };
            let reports = initialize(&how, &net, std::slice::from_ref(&x), &Rng::new(2))?;
            assert_eq!(reports.len(), 5, "{preset}: conv1 to conv5");
            let mut input = x.clone();
            for layer in net.layers().iter().take_while(|layer| layer.role == Role::Trunk) {
                if let Some(conv) = layer.conv() {
                    let get = |which| params.get(&format!("{}.{which}", layer.name)).context("a parameter");
                    let sums = conv2d(&input, get("weight")?, Some(get("bias")?), conv.geometry())?;
                    let off = unevenness(&sums)?;
                    assert!(off < 1e-3, "{preset}, {filters}, {}: {off}", layer.name);
                }
                if let Some(tap) = &layer.tap {
                    input = net.forward(&x, &[tap], &Mode::Frozen)?.remove(0);
                }
            }
            let calibration = calibrate(&CalibrationSpec::default(), &net, &x, &Rng::new(3))?;
            assert!(calibration.converged, "{preset}, {filters}: {calibration}");
            assert_eq!(calibration.layers.len(), 8, "{preset}: seven layers and one behind them");
        }
    }
    Ok(())
}
