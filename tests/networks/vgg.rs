//! The VGG colorizer: figures of the paper's table, its options, predictions at any size.

use candle_core::{DType, Device, Result, Tensor};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        kinds::LayerKind,
        network::Network,
        summary::Summary,
        table::Layer,
        vgg::{BRANCHES, VggSpec},
    },
    bounded::Positive,
    color::decode::Decode,
    nn::{Mode, TrainingPass, params::Params},
    pretext::{
        colorization::{ColorizationLoss, ColorizationSpec},
        colorizer::Colorizer,
    },
    rng::Rng,
};
use std::collections::HashMap;

fn build(outputs: usize) -> Build {
    Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(outputs) }
}
fn summary(spec: VggSpec, size: usize) -> Summary {
    Summary::of(&BackboneSpec::Vgg(spec).table(&build(313)), (size, size)).expect("large enough")
}
fn gmac(size: usize) -> f64 {
    (summary(VggSpec::default(), size).macs() as f64 / 1e7).round() / 100.0
}
fn narrow_width() -> VggSpec {
    VggSpec { width: Positive::of(0.05), ..VggSpec::default() }
}
fn network(spec: &VggSpec, outputs: usize) -> Result<(Network, Params)> {
    let mut params = Params::new(&Device::Cpu);
    let net = BackboneSpec::Vgg(spec.clone()).build(&build(outputs), &mut params, &Rng::new(1))?;
    Ok((net, params))
}
fn light(batch: usize, height: usize, width: usize) -> Result<Tensor> {
    let values = (0..batch * height * width).map(|i| ((i * 7919 + 13) % 101) as f32 - 50.0);
    Tensor::from_iter(values, &Device::Cpu)?.reshape((batch, height, width, 1))
}
fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
}

/// Parameters of the blocks and the head; maps at 176, 224 and 256 pixels.
const BLOCKS: [(&str, usize, [usize; 3]); 9] = [
    ("conv1_", 37_568, [88, 112, 128]),
    ("conv2_", 221_440, [44, 56, 64]),
    ("conv3_", 1_475_328, [22, 28, 32]),
    ("conv4_", 5_899_776, [22, 28, 32]),
    ("conv5_", 7_079_424, [22, 28, 32]),
    ("conv6_", 7_079_424, [22, 28, 32]),
    ("conv7_", 7_079_424, [22, 28, 32]),
    ("conv8_", 3_277_568 + 80_441, [44, 56, 64]),
    ("conv8_313", 80_441, [44, 56, 64]),
];

#[test]
fn the_colorizer_is_the_papers() {
    let tables = [176, 224, 256].map(|size| summary(VggSpec::default(), size));
    assert_eq!(tables[0].parameters(), 32_230_393);
    assert_eq!([176, 224, 256].map(gmac), [19.74, 31.98, 41.77]);
    for (prefix, parameters, maps) in BLOCKS {
        let rows = tables[0].lines.iter().filter(|row| row.name.starts_with(prefix));
        assert_eq!(rows.map(|row| row.parameters).sum::<usize>(), parameters, "{prefix}");
        for (table, map) in tables.iter().zip(maps) {
            let last = table.lines.iter().rfind(|row| row.name.starts_with(prefix));
            assert_eq!(last.map(|row| row.map), Some((map, map)), "{prefix}");
        }
    }
}

#[test]
fn the_figures_narrow_blocks_have_fewer_parameters() {
    let narrow = VggSpec { narrow: true, ..VggSpec::default() };
    assert_eq!(summary(narrow, 176).parameters(), 25_012_985);
}

#[test]
fn tables_as_printed() {
    insta::assert_snapshot!("vgg_176", summary(VggSpec::default(), 176));
    let supervised = VggSpec { deep_supervision: true, ..narrow_width() };
    insta::assert_snapshot!("vgg_64_supervised", summary(supervised, 64));
}

#[test]
fn norms_follow_the_last_relu_of_a_block_and_block_8_has_none() {
    let table = BackboneSpec::Vgg(VggSpec::default()).table(&build(313));
    let norms: Vec<_> = table.iter().filter(|layer| matches!(layer.kind, LayerKind::BatchNorm(_))).collect();
    let names: Vec<&str> = norms.iter().map(|norm| norm.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "conv1_2norm",
            "conv2_2norm",
            "conv3_3norm",
            "conv4_3norm",
            "conv5_3norm",
            "conv6_3norm",
            "conv7_3norm"
        ]
    );
    let after_relu = |norm: &&Layer| matches!(table[norm.from[0] - 1].kind, LayerKind::Activation(_));
    assert!(norms.iter().all(after_relu) && norms.iter().all(|norm| norm.kind.parameters() == 0));
}

/// In training a block's output has mean 0 and variance 1, which no output of a ReLU has.
#[test]
fn a_block_puts_out_what_the_normalization_gives() -> Result<()> {
    let (net, _) = network(&narrow_width(), 313)?;
    let mode = Mode::Train(TrainingPass::new(Rng::new(0)));
    let y = net.forward(&light(2, 32, 32)?, &["conv1_2", "conv8_3"], &mode)?;
    let (normed, plain) = (flat(&y[0]), flat(&y[1]));
    let mean = normed.iter().sum::<f32>() / normed.len() as f32;
    assert!(mean.abs() < 1e-4 && normed.iter().any(|v| *v < 0.0), "{mean}");
    assert!(plain.iter().all(|v| *v >= 0.0));
    Ok(())
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    let spec = VggSpec { deep_supervision: true, affine: true, ..narrow_width() };
    let (net, params) = network(&spec, 5)?;
    let heads: Vec<&str> = BRANCHES.iter().map(|(name, _)| *name).chain(["conv8_313"]).collect();
    for head in &heads {
        let weight = params.get(&format!("{head}.weight")).expect("in the table");
        weight.set(
            &Tensor::arange(0f32, weight.elem_count() as f32, &Device::Cpu)?
                .sin()?
                .reshape(weight.shape())?,
        )?;
    }
    let training = TrainingPass::new(Rng::new(0));
    let outputs = net.forward(&light(2, 16, 24)?, &heads, &Mode::Train(training.clone()))?;
    let dims: Vec<_> = outputs.iter().map(|map| map.dims().to_vec()).collect();
    assert_eq!(dims, [[2, 2, 3, 5], [2, 2, 3, 5], [2, 2, 3, 5], [2, 4, 6, 5]]);
    let losses = outputs.iter().map(|map| map.sqr()?.mean_all()).collect::<Result<Vec<_>>>()?;
    let mut gradients = HashMap::new();
    training.tape.backward(Tensor::stack(&losses, 0)?.sum_all()?, &mut gradients)?;
    for param in params.iter() {
        let grad = gradients.get(&param.var.id()).map(flat).unwrap_or_default();
        assert_eq!(grad.len(), param.var.elem_count(), "{}", param.name);
        assert!(grad.iter().any(|v| *v != 0.0), "{} has a zero gradient", param.name);
    }
    Ok(())
}

/// Branches cost nothing, and change nothing, where only the head is read.
#[test]
fn branches_leave_the_head_alone() -> Result<()> {
    let spec = VggSpec { deep_supervision: true, ..narrow_width() };
    let ((with, params), (without, plain)) = (network(&spec, 313)?, network(&narrow_width(), 313)?);
    for param in plain.iter() {
        param.var.set(params.get(&param.name).expect("the same rows and more"))?;
    }
    let taps = ["conv7_3", "conv8_3"];
    let (a, b) = (
        with.forward(&light(1, 16, 16)?, &taps, &Mode::Frozen)?,
        without.forward(&light(1, 16, 16)?, &taps, &Mode::Frozen)?,
    );
    assert!(a.iter().zip(&b).all(|(a, b)| flat(a) == flat(b)));
    Ok(())
}

fn colorizer(loss: ColorizationLoss) -> Result<(Colorizer, Params)> {
    let mut params = Params::new(&Device::Cpu);
    let spec = ColorizationSpec { loss, ..ColorizationSpec::default() };
    let colorizer = Colorizer::new(&spec, &BackboneSpec::Vgg(narrow_width()), &mut params, &Rng::new(3))?;
    Ok((colorizer, params))
}

#[test]
fn pictures_of_any_size_are_colored_at_their_size() -> Result<()> {
    for loss in [ColorizationLoss::Classification, ColorizationLoss::L2] {
        let (colorizer, _) = colorizer(loss)?;
        for (h, w) in [(16, 24), (13, 21), (1, 1), (9, 40)] {
            let x = light(1, h, w)?;
            let ab = colorizer.color(&x, Decode::Annealed(0.38))?;
            assert_eq!(ab.dims(), [1, h, w, 2], "{loss:?}");
            assert_eq!(&colorizer.output_map(&x, None)?.dims()[1..3], &[h.div_ceil(4), w.div_ceil(4)]);
        }
    }
    Ok(())
}

/// What continues a picture beyond its border is its own last row and column.
#[test]
fn a_side_that_does_not_divide_by_eight_is_continued() -> Result<()> {
    let (colorizer, params) = colorizer(ColorizationLoss::Classification)?;
    let head = params.get("conv8_313.weight").expect("in the table");
    head.set(&Tensor::arange(0f32, head.elem_count() as f32, &Device::Cpu)?.sin()?.reshape(head.shape())?)?;
    let x = light(1, 13, 21)?;
    let larger = x.pad_with_same(1, 0, 3)?.pad_with_same(2, 0, 3)?;
    let (own, larger) = (colorizer.output_map(&x, None)?, colorizer.output_map(&larger, None)?);
    assert_eq!(larger.dims(), [1, 4, 6, 313]);
    assert_eq!(flat(&own), flat(&larger.narrow(1, 0, 4)?.narrow(2, 0, 6)?));
    assert!(flat(&own).iter().any(|v| *v != 0.0));
    Ok(())
}

/// A head whose bias makes one color certain paints it everywhere.
#[test]
fn a_certain_head_paints_its_color() -> Result<()> {
    let (colorizer, params) = colorizer(ColorizationLoss::Classification)?;
    let bias = params.get("conv8_313.bias").expect("in the table");
    let bins = ColorizationSpec::default().bins();
    let (certain, color) = (200, bins.centers()[200]);
    let values = (0..bins.len()).map(|bin| if bin == certain { 1e4f32 } else { 0.0 });
    bias.set(&Tensor::from_iter(values, &Device::Cpu)?)?;
    for how in [Decode::Mean, Decode::Mode, Decode::Annealed(0.38)] {
        let ab = flat(&colorizer.color(&light(1, 20, 12)?, how)?);
        assert!(ab.as_chunks::<2>().0.iter().all(|c| c.iter().zip(color).all(|(x, y)| (x - y).abs() < 1e-3)));
    }
    Ok(())
}

/// The regressing head speaks in hundred-and-tenths: a bias of 0.5 is 55 ab units.
#[test]
fn a_regressing_head_puts_out_ab() -> Result<()> {
    let (colorizer, params) = colorizer(ColorizationLoss::L2)?;
    params.get("conv8_ab.bias").expect("in the table").set(&Tensor::new(&[0.5f32, -0.1], &Device::Cpu)?)?;
    let ab = flat(&colorizer.color(&light(1, 8, 8)?, Decode::Mode)?);
    assert!(ab.as_chunks::<2>().0.iter().all(|[a, b]| (a - 55.0).abs() < 1e-4 && (b + 11.0).abs() < 1e-4));
    Ok(())
}

#[test]
fn frozen_builds_no_graph() -> Result<()> {
    let (net, _) = network(&narrow_width(), 313)?;
    let y = net.forward(&light(1, 16, 16)?, &["conv8_313"], &Mode::Frozen)?.remove(0);
    assert!(!y.track_op() && y.dtype() == DType::F32);
    Ok(())
}

/// The released formats open as colorizers, with the temperature that their own decoding has.
#[test]
fn released_files_open_as_colorizers() -> anyhow::Result<()> {
    for (name, temperature) in [("eccv16.pth", 1.0), ("vgg_colorizer.caffemodel", 1.0 / 2.606)] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name);
        let (colorizer, spec) = Colorizer::open(&path, &Device::Cpu)?;
        let Decode::Annealed(used) = spec.decode() else { panic!("{name}: {:?}", spec.decode()) };
        assert!((used - temperature).abs() < 1e-3, "{name}: {used}");
        let ab = flat(&colorizer.color(&light(1, 24, 16)?, spec.decode())?);
        assert!(ab.iter().all(|v| v.is_finite()) && ab.iter().any(|v| *v != ab[0]), "{name}");
    }
    let classifier =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/vgg16.caffemodel");
    let error = format!("{:#}", Colorizer::open(&classifier, &Device::Cpu).expect_err("a classifier"));
    assert!(error.contains("vgg16.caffemodel") && error.contains("no colorizer"), "{error}");
    Ok(())
}
