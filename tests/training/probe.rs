//! The linear probe on cases with known results: solvable and unsolvable.

use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::{BackboneSpec, Build, Variant, network::Network},
    data::Batch,
    nn::{
        TrainingPass,
        optim::{Gradients, Optimizer, OptimizerSpec},
        params::Params,
    },
    probe::linear::{LinearProbe, LinearProbeSpec},
    rng::Rng,
    train::task::Task,
};
use rand::RngExt;

type Result<T> = anyhow::Result<T>;

fn backbone() -> Result<(Network, Params)> {
    let spec: BackboneSpec =
        serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.25, "fc": 64}}"#)?;
    let mut params = Params::new(&Device::Cpu);
    let build = Build { variant: Variant::Transfer, batch_norm: false, input_channels: 1, outputs: None };
    Ok((spec.build(&build, &mut params, &Rng::new(5))?, params))
}

fn probe(augment: bool) -> Result<LinearProbe> {
    let mut spec: LinearProbeSpec = serde_json::from_str(r#"{"dimensions": 400}"#)?;
    spec.augment = augment;
    LinearProbe::new(&spec, backbone()?.0, 2, 29, 64, &Device::Cpu)
}

/// Horizontal (label 0) and vertical (1) stripes in noise, with random phase, period and contrast.
fn stripes(seed: u64, images: usize) -> Result<Batch> {
    let mut rng = Rng::new(seed).at(0, 0);
    let (mut pixels, mut labels) = (vec![], vec![]);
    for i in 0..images {
        let (label, period, phase) = (i % 2, rng.random_range(3.0..6.0f32), rng.random_range(0.0..6.0f32));
        for y in 0..29 {
            for x in 0..29 {
                let along = if label == 0 { y } else { x } as f32;
                let light = 128.0 + 60.0 * (std::f32::consts::TAU * (along + phase) / period).sin();
                pixels.extend([(light + rng.random_range(-30.0..30.0f32)) as u8; 3]);
            }
        }
        labels.push(label as u32);
    }
    let pixels = Tensor::from_vec(pixels, (images, 29, 29, 3), &Device::Cpu)?;
    Ok(Batch {
        pixels,
        labels: Some(Tensor::from_vec(labels, images, &Device::Cpu)?),
        indices: (0..images).collect(),
        frames: vec![],
    })
}

fn train(probe: &mut LinearProbe, batch: &Batch, steps: usize) -> Result<f64> {
    let sgd: OptimizerSpec = serde_json::from_str(r#"{"sgd": {"lr": 0.02}}"#)?;
    let mut optimizer = Optimizer::new(&sgd, probe.params())?;
    let mut loss = f64::NAN;
    for i in 0..steps {
        let training = TrainingPass::new(Rng::new(i as u64));
        let step = probe.step(batch, &training)?;
        loss = step.numbers()?[0].1;
        let mut grads = Gradients::new(probe.params());
        grads.add(&training.tape, step.loss)?;
        grads.finish(None)?;
        optimizer.step(probe.params(), &grads, 0.02)?;
    }
    Ok(loss)
}

#[test]
fn starts_at_chance_and_learns_what_features_show() -> Result<()> {
    let mut probe = probe(true)?;
    let first = probe.step(&stripes(0, 32)?, &TrainingPass::new(Rng::new(0)))?.numbers()?[0].1;
    assert!((first - 2f64.ln()).abs() < 1e-6, "zero weights give ln 2, got {first}");
    train(&mut probe, &stripes(0, 64)?, 60)?;
    let unseen = probe.accuracies_on(std::slice::from_ref(&stripes(1, 64)?))?;
    for row in &unseen[1..] {
        assert!(row.top1 > 0.9, "{}: {:.2} on unseen stripes", row.layer, row.top1);
    }
    Ok(())
}

#[test]
fn random_labels_stay_at_chance_on_unseen_images() -> Result<()> {
    let mut probe = probe(true)?;
    let shuffled = |seed| -> Result<Batch> {
        let mut batch = stripes(seed, 128)?;
        let mut rng = Rng::new(seed).at(1, 1);
        let labels: Vec<u32> = (0..128).map(|_| rng.random_range(0..2)).collect();
        batch.labels = Some(Tensor::from_vec(labels, 128, &Device::Cpu)?);
        Ok(batch)
    };
    train(&mut probe, &shuffled(0)?, 30)?;
    for row in probe.accuracies_on(std::slice::from_ref(&shuffled(1)?))? {
        assert!((0.3..0.7).contains(&row.top1), "{}: {:.2} from random labels", row.layer, row.top1);
    }
    Ok(())
}

#[test]
fn remembered_features_train_the_same_heads() -> Result<()> {
    let batch = stripes(0, 64)?;
    let (mut anew, mut remembered) = (probe(true)?, probe(false)?);
    let losses = (train(&mut anew, &batch, 5)?, train(&mut remembered, &batch, 5)?);
    assert_eq!(losses.0, losses.1);
    Ok(())
}

#[test]
fn the_backbone_does_not_move() -> Result<()> {
    let (net, params) = backbone()?;
    let before: Vec<Vec<f32>> =
        params.iter().map(|p| p.var.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?;
    let spec: LinearProbeSpec = serde_json::from_str(r#"{"dimensions": 400, "layers": ["conv5"]}"#)?;
    let mut probe = LinearProbe::new(&spec, net, 2, 29, 64, &Device::Cpu)?;
    train(&mut probe, &stripes(0, 32)?, 3)?;
    for (param, before) in params.iter().zip(before) {
        assert_eq!(
            param.var.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?,
            before,
            "{}",
            param.name
        );
    }
    assert!(probe.params().iter().all(|p| p.name.starts_with("conv5")));
    Ok(())
}

#[test]
fn an_unknown_layer_is_named() -> Result<()> {
    let spec: LinearProbeSpec = serde_json::from_str(r#"{"layers": ["conv9"]}"#)?;
    let message =
        LinearProbe::new(&spec, backbone()?.0, 2, 29, 64, &Device::Cpu).err().map(|e| e.to_string());
    assert!(message.as_deref().is_some_and(|m| m.contains("conv9") && m.contains("conv5")), "{message:?}");
    Ok(())
}

#[test]
fn its_parameters_are_named_before_it_is_built() -> Result<()> {
    for affine in [false, true] {
        let layers = vec!["conv1".to_string(), "conv3".into()];
        let spec = LinearProbeSpec { layers: layers.clone(), affine, ..LinearProbeSpec::default() };
        let probe = LinearProbe::new(&spec, backbone()?.0, 2, 29, 64, &Device::Cpu)?;
        let mut built: Vec<&str> = probe.params().iter().map(|param| param.name.as_str()).collect();
        let mut named = spec.parameters(&layers);
        built.sort_unstable();
        named.sort();
        assert_eq!(named, built);
    }
    Ok(())
}
