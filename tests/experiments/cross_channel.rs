//! Cross-channel pretext tasks: initial losses, equivalence with colorization, overfitting of eight images, and the
//! outputs of a stage.

use super::home::Home;
use candle_core::{Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    data::{
        Batch,
        loader::{Loader, Pass},
        scenes::Scenes,
        source::{DataSpec, Dataset, Split},
    },
    experiment::{Outcome, check, run},
    nn::{
        TrainingPass,
        optim::{Gradients, Optimizer, OptimizerSpec},
        weights,
    },
    pretext::{
        channel_target::ChannelTarget,
        colorization::{Colorization, ColorizationSpec},
        cross_channel::{AutoencoderSpec, CrossChannel, CrossChannelSpec},
    },
    rng::Rng,
    train::task::Task,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

type Result<T> = anyhow::Result<T>;

fn batch(images: usize) -> Result<Batch> {
    let scenes = Scenes::new(images, 29, 3, Split::Train);
    let mut pixels = vec![];
    for i in 0..images {
        pixels.extend(scenes.image(i)?.pixels);
    }
    let pixels = Tensor::from_vec(pixels, (images, 29, 29, 3), &Device::Cpu)?;
    Ok(Batch { pixels, labels: None, indices: (0..images).collect(), frames: vec![] })
}

fn small() -> Result<BackboneSpec> {
    Ok(serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.25, "fc": 64}}"#)?)
}

fn problem(predict: &str, loss: &str) -> Result<ChannelTarget> {
    let spec: CrossChannelSpec =
        serde_json::from_str(&format!(r#"{{"predict": "{predict}", "loss": "{loss}"}}"#))?;
    Ok(spec.into())
}

fn task(problem: ChannelTarget) -> Result<CrossChannel> {
    CrossChannel::new(problem, &small()?, &Rng::new(1), &Device::Cpu)
}

fn loss(task: &mut dyn Task, batch: &Batch) -> Result<(f64, f64)> {
    let training = TrainingPass::new(Rng::new(0));
    let step = task.step(batch, &training)?;
    Ok((f64::from(step.loss.to_scalar::<f32>()?), step.numbers()?[0].1))
}

#[test]
fn the_first_losses_are_those_of_knowing_nothing() -> Result<()> {
    let batch = batch(4)?;
    for (predict, bins) in [("ab", 313f64), ("lightness", 100.0)] {
        let (total, mean) = loss(&mut task(problem(predict, "classification")?)?, &batch)?;
        assert!((mean - bins.ln()).abs() < 1e-5, "{predict}: {mean}");
        // 15 × 15 label pixels of a 29-pixel picture, summed.
        assert!((total / mean - 225.0).abs() < 1e-3, "{predict}: {total} for {mean}");
    }
    Ok(())
}

/// What `experiments/tiny/channels.yaml` must reach: on its pictures, one who does not look has a loss of at least half the
/// variance of Lab, and the entropy of the bins of L.
#[test]
fn the_expected_losses_of_the_tiny_experiment_are_out_of_reach_of_chance() -> Result<()> {
    let (scenes, pictures) = (Scenes::new(500, 32, 0, Split::Val), 500);
    let (mut sums, mut squares, mut bins, mut count) = ([0f64; 3], [0f64; 3], [0f64; 100], 0f64);
    for i in 0..pictures {
        let pixels = scenes.image(i)?.pixels;
        let at = |(i, _): &(usize, &[u8])| i % 32 % 2 == 0 && i / 32 % 2 == 0;
        for (_, rgb) in pixels.chunks_exact(3).enumerate().filter(at) {
            let lab = hueristic::color::lab::srgb8_to_lab([rgb[0], rgb[1], rgb[2]]);
            for (channel, value) in lab.into_iter().map(f64::from).enumerate() {
                sums[channel] += value;
                squares[channel] += value * value;
            }
            bins[(lab[0] as usize).min(99)] += 1.0;
            count += 1.0;
        }
    }
    let variance = |channel: usize| squares[channel] / count - (sums[channel] / count).powi(2);
    let half = 0.5 * (variance(0) + variance(1) + variance(2));
    let shares = bins.iter().map(|n| n / count).filter(|share| *share > 0.0);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/tiny/channels.yaml");
    let spec = std::fs::read_to_string(path)?;
    let floor = |stage: &str| -> Result<f64> {
        let start = format!("{stage}: {{ loss: ");
        let floor = spec.lines().find_map(|line| line.trim().strip_prefix(&start)).expect("a floor");
        Ok(floor.trim_end_matches(" }").parse()?)
    };
    println!("blind: {half} and {entropy}");
    assert!(half > 1.5 * floor("autoencoder")?, "{half}");
    assert!(entropy > floor("lightness")? + 0.1, "{entropy}");
    Ok(())
}

/// Half the squared Lab distance from gray with L 50, computed pixel by pixel in f64.
#[test]
fn the_first_loss_of_an_autoencoder_is_the_distance_to_gray() -> Result<()> {
    let batch = batch(3)?;
    let bytes = batch.pixels.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let (mut sum, mut pixels) = (0.0, 0.0);
    for (i, rgb) in bytes.chunks_exact(3).enumerate() {
        let (x, y) = (i % 29, i / 29 % 29);
        if x % 2 == 0 && y % 2 == 0 {
            let lab = hueristic::color::lab::srgb8_to_lab([rgb[0] as u8, rgb[1] as u8, rgb[2] as u8]);
            let [l, a, b] = lab.map(f64::from);
            sum += 0.5 * ((l - 50.0).powi(2) + a * a + b * b);
            pixels += 1.0;
        }
    }
    let (_, mean) = loss(&mut task(AutoencoderSpec {}.into())?, &batch)?;
    assert!((mean / (sum / pixels) - 1.0).abs() < 1e-5, "{mean}, expected {}", sum / pixels);
    Ok(())
}

/// Colorization without soft encoding, rebalancing and gate is the same problem, as is its regression: the same
/// network with the same seed must have equal losses after some steps.
#[test]
fn ab_from_lightness_is_colorization_without_its_refinements() -> Result<()> {
    let batch = batch(4)?;
    let plain = r#"{"neighbors": 1, "rebalance": "off", "gray_gate": null}"#;
    for (ours, colorization) in [("classification", plain), ("regression", r#"{"loss": "l2"}"#)] {
        let spec: ColorizationSpec = serde_json::from_str(colorization)?;
        let mut theirs = Colorization::new(&spec, &small()?, None, &Rng::new(1), &Device::Cpu)?;
        let mut ours = task(problem("ab", ours)?)?;
        learn(&mut theirs, &batch, 5)?;
        learn(&mut ours, &batch, 5)?;
        let ((a, _), (b, _)) = (loss(&mut ours, &batch)?, loss(&mut theirs, &batch)?);
        assert!((a / b - 1.0).abs() < 1e-3, "{colorization}: {a} and {b}");
    }
    Ok(())
}

fn learn(task: &mut dyn Task, batch: &Batch, steps: u64) -> Result<f64> {
    let adam: OptimizerSpec = serde_json::from_str(r#"{"adam": {"lr": 2e-3}}"#)?;
    let mut optimizer = Optimizer::new(&adam, task.params())?;
    let mut last = f64::NAN;
    for index in 0..steps {
        let training = TrainingPass::new(Rng::new(index));
        let step = task.step(batch, &training)?;
        last = step.numbers()?[0].1;
        let mut grads = Gradients::new(task.params());
        grads.add(&training.tape, step.loss)?;
        grads.finish(None)?;
        optimizer.step(task.params(), &grads, 2e-3)?;
    }
    Ok(last)
}

#[test]
fn eight_images_are_learned_by_heart() -> Result<()> {
    let batch = batch(8)?;
    // Color from lightness is colorization (see above), whose overfitting tests/training/pretext.rs covers. The
    // thresholds are the best losses without looking at the input: the entropy of L, and the variances around mean L
    // and mean Lab.
    let (entropy, variance) = blind(&batch)?;
    for (name, problem, steps, blind) in [
        ("classes of L", problem("lightness", "classification")?, 120, entropy),
        ("L", problem("lightness", "regression")?, 60, 0.5 * variance[0]),
        ("Lab", AutoencoderSpec {}.into(), 60, 0.5 * variance.iter().sum::<f64>()),
    ] {
        let last = learn(&mut task(problem)?, &batch, steps)?;
        println!("{name}: {last}, blind {blind}");
        assert!(last < 0.75 * blind, "{name}: {last}, blind {blind}");
    }
    Ok(())
}

/// Over all pixels: the entropy of L in bins of width 1, and the variances of L, a and b.
fn blind(batch: &Batch) -> Result<(f64, [f64; 3])> {
    let pixels = batch.pixels.flatten_all()?.to_vec1::<u8>()?;
    let lab: Vec<[f64; 3]> = pixels
        .chunks_exact(3)
        .map(|p| hueristic::color::lab::srgb8_to_lab([p[0], p[1], p[2]]).map(f64::from))
        .collect();
    let count = lab.len() as f64;
    let mut bins = [0.0; 101];
    lab.iter().for_each(|p| bins[p[0] as usize] += 1.0 / count);
    let entropy = bins.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum();
    let mean = |channel: usize, power| lab.iter().map(|p| p[channel].powi(power)).sum::<f64>() / count;
    Ok((entropy, [0, 1, 2].map(|channel| mean(channel, 2) - mean(channel, 1).powi(2))))
}

fn val() -> Result<Loader> {
    let set: Arc<dyn Dataset> = Arc::new(Scenes::new(12, 29, 3, Split::Val));
    let data: DataSpec =
        serde_json::from_str(r#"{"source": {"scenes": {"train": 8, "val": 12}}, "crop": 29}"#)?;
    Ok(Loader::new(set, &data, Pass::Once, 8, &Rng::new(0), &Device::Cpu)?)
}

#[test]
fn a_network_that_knows_nothing_is_warned_of_and_a_trained_one_is_not() -> Result<()> {
    let mut task = task(AutoencoderSpec {}.into())?;
    let value = |metrics: &[hueristic::train::task::Metric], name: &str| {
        metrics.iter().find(|m| m.name == name).map_or(f64::NAN, |m| m.value)
    };
    let fresh = task.evaluate(&mut val()?)?;
    assert_eq!(value(&fresh, "contrast"), 0.0, "a head of zeros paints one gray");
    assert!(task.warnings()[0].0.contains("a constant"), "{:?}", task.warnings());

    learn(&mut task, &batch(8)?, 60)?;
    // Batch normalization statistics lag in so few steps, but predictions already vary.
    let trained = task.evaluate(&mut val()?)?;
    assert!(value(&trained, "contrast") > 0.1, "{trained:?}");
    assert!(task.warnings().is_empty());
    assert!(value(&trained, "psnr").is_finite() && value(&trained, "rmse") > 0.0, "{trained:?}");
    Ok(())
}

/// The metrics by their definition: a network of zeros predicts L 50 and no color everywhere.
#[test]
fn figures_of_a_gray_prediction_are_those_of_gray() -> Result<()> {
    let mut task = task(problem("lightness", "regression")?)?;
    let metrics = task.evaluate(&mut val()?)?;
    let (mut squared, mut count) = (0.0, 0.0);
    let mut loader = val()?;
    while let Some(batch) = loader.next_batch()? {
        let lab = hueristic::color::lab::rgb_to_lab(&batch.pixels)?;
        for l in lab.narrow(3, 0, 1)?.flatten_all()?.to_vec1::<f32>()?.chunks_exact(29 * 29) {
            let labels = l.iter().enumerate().filter(|(i, _)| i % 29 % 2 == 0 && i / 29 % 2 == 0);
            for (_, l) in labels {
                squared += f64::from(l - 50.0).powi(2);
                count += 1.0;
            }
        }
    }
    let rmse = metrics.iter().find(|m| m.name == "rmse").map_or(f64::NAN, |m| m.value);
    assert!((rmse / (squared / count).sqrt() - 1.0).abs() < 1e-5, "{rmse}");
    Ok(())
}

#[test]
fn a_picture_shows_input_prediction_and_truth() -> Result<()> {
    let mut task = task(problem("lightness", "classification")?)?;
    let Some(panel) = task.picture(&mut val()?)? else { panic!("no picture") };
    assert_eq!(panel.rgb.len(), 3 * panel.width * panel.height);
    // Three columns of 29 pixels, upscaled three times, plus gaps; one row per picture of a batch.
    assert_eq!(panel.width, 3 * 29 * 3 + 4 * 8);
    Ok(())
}

const SPEC: &str = r#"
name: channels
data: { source: { scenes: { train: 48, val: 24 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }
stages:
  ab: { pretext: { task: { cross_channel: { predict: ab } }, train: TRAIN } }
  light: { pretext: { task: { cross_channel: { predict: lightness, loss: regression } }, train: TRAIN } }
  auto: { pretext: { task: autoencoder, train: TRAIN } }
  probe:
    linear_probe:
      backbones: { ab: { stage: ab } }
      probe: { layers: [conv1], dimensions: 96, augment: false }
      train: { steps: 2, batch: 16, optimizer: { sgd: { lr: 0.01 } } }
"#;

#[test]
fn stages_leave_weights_that_say_what_they_see() -> Result<()> {
    let home = Home::new()?;
    let experiment = home.load(&SPEC.replace("TRAIN", TRAIN), &[])?;
    let plan = check(&experiment, &home.options())?.to_string();
    assert!(plan.contains("stage auto (pretext)"), "{plan}");
    let Outcome::Finished { report: Some(_), pictures } = run(&experiment, &home.options())? else {
        panic!("not finished")
    };
    assert_eq!(pictures.len(), 3);
    for (stage, input, channels) in [("ab", "lightness", 1), ("light", "ab", 2), ("auto", "lab", 3)] {
        let (tensors, about) = weights::read(&weights_of(&home, stage)?)?;
        assert_eq!(about["input"].trim(), input);
        assert!(about["backbone"].contains("alexnet"));
        assert_eq!(tensors["conv1.weight"].dims()[3], channels);
    }
    home.reports_as_planned()
}

const TRAIN: &str = "{ steps: 2, batch: 8, optimizer: { adam: { lr: 1e-3 } } }";

fn weights_of(home: &Home, stage: &str) -> Result<PathBuf> {
    for entry in std::fs::read_dir(home.path().join("runs/channels"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{stage}-s0")) {
            return Ok(entry.path().join("weights.safetensors"));
        }
    }
    anyhow::bail!("no run of {stage}")
}

#[test]
fn wrong_input_is_refused_with_advice() -> Result<()> {
    let home = Home::new()?;
    let yaml = SPEC.replace("TRAIN", TRAIN);
    let refusal = |yaml: &str| -> String {
        let outcome = home.load(yaml, &[]).and_then(|e| run(&e, &home.options()));
        outcome.err().map(|e| format!("{e:#}")).unwrap_or_default()
    };
    let word = refusal(&yaml.replace("predict: ab", "predict: rgb"));
    assert!(word.contains("rgb") && word.contains("lightness"), "{word}");
    let colors = refusal(&yaml.replace("{ ab: { stage: ab } }", "{ light: { stage: light } }"));
    assert_eq!(colors, "", "a network that sees color is shown color");
    let probe = yaml.find("  probe:").unwrap_or(0);
    let evaluated = format!(
        "{}  colors: {{ color_evaluation: {{ methods: {{ auto: {{ stage: auto }} }} }} }}\n",
        &yaml[..probe]
    );
    let evaluated = refusal(&evaluated);
    assert!(evaluated.contains("does not learn to color"), "{evaluated}");
    Ok(())
}
