//! Split-brain autoencoders: first losses, what is learned, what a stage leaves to later ones, resuming, and refusals.

use super::home::Home;
use candle_core::{Device, Tensor, TensorId};
use hueristic::{
    backbones::BackboneSpec,
    color::{bins::Bins, nearest::nearest_bins},
    data::{
        Batch,
        loader::{Loader, Pass},
        scenes::Scenes,
        source::{DataSpec, Dataset, Locations, Split},
    },
    experiment::{Experiment, Outcome, RunOptions, check, run},
    nn::{
        TrainingPass,
        optim::{Gradients, Optimizer, OptimizerSpec},
        weights,
    },
    pretext::split_brain::{SplitBrain, SplitBrainSpec},
    rng::Rng,
    train::{
        checkpoint::{self, Checkpoint},
        task::Task,
    },
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

type Result<T> = anyhow::Result<T>;

const SIDE: usize = 29;

fn batch(images: usize) -> Result<Batch> {
    let scenes = Scenes::new(images, SIDE, 3, Split::Train);
    let mut pixels = vec![];
    for i in 0..images {
        pixels.extend(scenes.image(i)?.pixels);
    }
    let pixels = Tensor::from_vec(pixels, (images, SIDE, SIDE, 3), &Device::Cpu)?;
    Ok(Batch { pixels, labels: None, indices: (0..images).collect(), frames: vec![] })
}

fn task(loss: &str) -> Result<SplitBrain> {
    let spec: SplitBrainSpec = serde_json::from_str(&format!(r#"{{"loss": "{loss}"}}"#))?;
    let backbone: BackboneSpec =
        serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.25, "fc": 64}}"#)?;
    SplitBrain::new(spec, &backbone, &Rng::new(1), &Device::Cpu)
}

/// Of L, a, and b at every fourth pixel, in f64.
fn labels(batch: &Batch) -> Result<Vec<[f64; 3]>> {
    let pixels = batch.pixels.flatten_all()?.to_vec1::<u8>()?;
    let at = |(i, _): &(usize, &[u8])| (i % SIDE).is_multiple_of(4) && (i / SIDE % SIDE).is_multiple_of(4);
    let lab = |rgb: &[u8]| hueristic::color::lab::srgb8_to_lab([rgb[0], rgb[1], rgb[2]]).map(f64::from);
    Ok(pixels.chunks_exact(3).enumerate().filter(at).map(|(_, rgb)| lab(rgb)).collect())
}

#[test]
fn the_first_losses_are_those_of_knowing_nothing() -> Result<()> {
    let batch = batch(4)?;
    let numbers = |loss: &str| -> Result<(f64, Vec<f64>)> {
        let step = task(loss)?.step(&batch, &TrainingPass::new(Rng::new(0)))?;
        let scalars = step.numbers()?.into_iter().map(|(_, value)| value).collect();
        Ok((f64::from(step.loss.to_scalar::<f32>()?), scalars))
    };
    let (total, scalars) = numbers("classification")?;
    let wanted = [313f64.ln() + 50f64.ln(), 313f64.ln(), 50f64.ln()];
    assert!(scalars.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{scalars:?}");
    // 8 × 8 label pixels of a 29-pixel picture, summed.
    assert!((total / scalars[0] - 64.0).abs() < 1e-3, "{total} for {scalars:?}");

    // Half the squared distances from gray with L 50.
    let (_, scalars) = numbers("regression")?;
    let labels = labels(&batch)?;
    let mean = |of: &dyn Fn(&[f64; 3]) -> f64| labels.iter().map(of).sum::<f64>() / labels.len() as f64;
    let (ab, l) = (mean(&|p| 0.5 * (p[1] * p[1] + p[2] * p[2])), mean(&|p| 0.5 * (p[0] - 50.0).powi(2)));
    for (ours, wanted) in scalars.iter().zip([ab + l, ab, l]) {
        assert!((ours / wanted - 1.0).abs() < 1e-5, "{ours}, expected {wanted}");
    }
    Ok(())
}

/// What `experiments/tiny/split_brain.yaml` must reach: on its pictures, one who does not look has a loss of at least the
/// entropies of the bins of ab and of L.
#[test]
fn the_expected_loss_of_the_tiny_experiment_is_out_of_reach_of_chance() -> Result<()> {
    let (scenes, bins) = (Scenes::new(500, 32, 0, Split::Val), Bins::new(10.0));
    let (mut ab, mut l) = (vec![0.0; 313], vec![0.0; 50]);
    for i in 0..500 {
        let pixels = scenes.image(i)?.pixels;
        let at = |(i, _): &(usize, &[u8])| i % 32 % 4 == 0 && i / 32 % 4 == 0;
        for (_, rgb) in pixels.chunks_exact(3).enumerate().filter(at) {
            let lab = hueristic::color::lab::srgb8_to_lab([rgb[0], rgb[1], rgb[2]]);
            let color = Tensor::new(&[[[[lab[1], lab[2]]]]], &Device::Cpu)?;
            ab[nearest_bins(&color, &bins)?.to_vec1::<u32>()?[0] as usize] += 1.0 / 32_000.0;
            l[((lab[0] / 2.0) as usize).min(49)] += 1.0 / 32_000.0;
        }
    }
    let entropy = |shares: &[f64]| -> f64 { shares.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum() };
    let blind = entropy(&ab) + entropy(&l);
    let spec =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/tiny/split_brain.yaml"))?;
    let floor = spec.lines().find_map(|line| line.trim().strip_prefix("split: { loss: ")).expect("a floor");
    let floor: f64 = floor.trim_end_matches(" }").parse()?;
    println!("blind {blind} ({} and {}), expected below {floor}", entropy(&ab), entropy(&l));
    assert!(blind > floor + 0.3, "blind {blind}, floor {floor}");
    Ok(())
}

fn learn(task: &mut SplitBrain, batch: &Batch, steps: u64) -> Result<Vec<f64>> {
    let adam: OptimizerSpec = serde_json::from_str(r#"{"adam": {"lr": 2e-3}}"#)?;
    let (mut optimizer, mut last) = (Optimizer::new(&adam, task.params())?, vec![]);
    for index in 0..steps {
        let training = TrainingPass::new(Rng::new(index));
        let step = task.step(batch, &training)?;
        last = step.numbers()?.into_iter().map(|(_, value)| value).collect();
        let mut grads = Gradients::new(task.params());
        grads.add(&training.tape, step.loss)?;
        grads.finish(None)?;
        optimizer.step(task.params(), &grads, 2e-3)?;
    }
    Ok(last)
}

/// Both halves get below what one who does not look can reach: half the variances of ab and of L.
#[test]
fn eight_images_are_learned_by_heart_by_both_halves() -> Result<()> {
    let (batch, mut task) = (batch(8)?, task("regression")?);
    let labels = labels(&batch)?;
    let mean = |channel: usize, power| {
        labels.iter().map(|p| p[channel].powi(power)).sum::<f64>() / labels.len() as f64
    };
    let variance = |channel| mean(channel, 2) - mean(channel, 1).powi(2);
    let blind = [0.5 * (variance(1) + variance(2)), 0.5 * variance(0)];
    let last = learn(&mut task, &batch, 60)?;
    println!("{last:?}, blind {blind:?}");
    assert!(last[1] < 0.75 * blind[0] && last[2] < 0.75 * blind[1], "{last:?}, blind {blind:?}");
    Ok(())
}

/// The loss of one half moves no parameter of the other.
#[test]
fn halves_share_nothing() -> Result<()> {
    let (batch, task) = (batch(2)?, task("classification")?);
    let taps = ["lightness.fc7", "ab.fc7"];
    for (tap, other) in taps.iter().zip(["ab.", "lightness."]) {
        let (lab, training) =
            (hueristic::color::lab::rgb_to_lab(&batch.pixels)?, TrainingPass::new(Rng::new(1)));
        let mode = hueristic::nn::Mode::Train(training.clone());
        let map = task.network().forward(&lab, &[tap], &mode)?.remove(0);
        let mut grads: HashMap<TensorId, Tensor> = HashMap::new();
        training.tape.backward(map.sqr()?.sum_all()?, &mut grads)?;
        let moved = |name: &str| task.params().get(name).is_some_and(|var| grads.contains_key(&var.id()));
        let names: Vec<&str> = task.params().iter().map(|param| param.name.as_str()).collect();
        assert!(names.iter().filter(|name| moved(name)).count() == 14, "{tap}");
        assert!(!names.iter().any(|name| name.starts_with(other) && moved(name)), "{tap}");
    }
    Ok(())
}

fn val() -> Result<Loader> {
    let set: Arc<dyn Dataset> = Arc::new(Scenes::new(12, SIDE, 3, Split::Val));
    let data: DataSpec =
        serde_json::from_str(r#"{"source": {"scenes": {"train": 8, "val": 12}}, "crop": 29}"#)?;
    Ok(Loader::new(set, &data, Pass::Once, 8, &Rng::new(0), &Device::Cpu)?)
}

#[test]
fn metrics_and_pictures_show_both_directions() -> Result<()> {
    let mut task = task("regression")?;
    let metrics = task.evaluate(&mut val()?)?;
    let value = |name: &str| metrics.iter().find(|m| m.name == name).map_or(f64::NAN, |m| m.value);
    let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, SplitBrain::metrics());
    // A head of zeros paints gray of L 50: the distances are those of the pictures from it.
    let (mut squares, mut loader) = (vec![], val()?);
    while let Some(batch) = loader.next_batch()? {
        squares.extend(labels(&batch)?.iter().map(|p| [(p[0] - 50.0).powi(2), p[1] * p[1] + p[2] * p[2]]));
    }
    let mean = |at: usize| squares.iter().map(|s| s[at]).sum::<f64>() / squares.len() as f64;
    assert!((value("lightness_rmse") / mean(0).sqrt() - 1.0).abs() < 1e-5, "{metrics:?}");
    assert!((value("ab_rmse") / (mean(1) / 2.0).sqrt() - 1.0).abs() < 1e-5, "{metrics:?}");
    assert!((value("loss") / (0.5 * (mean(0) + mean(1))) - 1.0).abs() < 1e-5, "{metrics:?}");
    let warnings = task.warnings();
    assert!(warnings.len() == 2 && warnings.iter().all(|w| w.0.contains("a constant")), "{warnings:?}");
    let Some(panel) = task.picture(&mut val()?)? else { panic!("no picture") };
    // Five columns of 29 pixels, upscaled three times, plus gaps.
    assert_eq!(panel.width, 5 * SIDE * 3 + 6 * 8);
    Ok(())
}

const SPEC: &str = r#"
name: halves
data: { source: { scenes: { train: 48, val: 24 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }
stages:
  split:
    pretext:
      init_from: { data_dependent: { batches: 1, patches: 300, through: conv3 } }
      task: split_brain
      train: &train { steps: 2, batch: 8, optimizer: { adam: { lr: 1e-3 } } }
"#;

const LATER: &str = r#"
  again: { pretext: { init_from: { stage: split }, task: { split_brain: { loss: regression } }, train: { <<: *train, ema: { decay: 0.5 } } } }
  turned: { pretext: { backbone: { alexnet: { stem: small, width: 0.25, fc: 32, input: lab } }, init_from: { stage: again }, task: { rotation: { head: { embedding: 8, hidden: [] } } }, train: *train } }
  probe:
    linear_probe:
      backbones: { split: { stage: split }, again: { stage: again } }
      probe: { layers: [conv1, conv5], dimensions: 96, augment: false }
      train: { steps: 2, batch: 16, optimizer: { sgd: { lr: 0.01 } } }
"#;

fn run_of(home: &Home, stage: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(home.path().join("runs/halves"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{stage}-s0")) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("no run of {stage}")
}

fn finish(home: &Home, yaml: &str, sets: &[&str]) -> Result<()> {
    match run(&home.load(yaml, sets)?, &home.options())? {
        Outcome::Finished { .. } => Ok(()),
        _ => anyhow::bail!("not finished"),
    }
}

/// The weight file holds the merged backbone, checkpoints hold the halves; probes, views, and further halves start from it.
#[test]
fn a_stage_leaves_the_backbone_that_its_halves_form() -> Result<()> {
    let home = Home::new()?;
    finish(&home, &format!("{SPEC}{LATER}"), &[])?;
    home.reports_as_planned()?;
    for stage in ["split", "again"] {
        let (tensors, about) = weights::read(&run_of(&home, stage)?.join("weights.safetensors"))?;
        assert_eq!(about["input"].trim(), "lab");
        assert!(about["backbone"].contains("input: lab"), "{}", about["backbone"]);
        assert!(tensors.keys().all(|name| !name.starts_with("ab.") && !name.starts_with("fc8")));
        let first = &tensors["conv1.weight"];
        assert_eq!(first.dims(), [24, 5, 5, 3]);
        // the first half of the filters sees L, the second a and b
        let largest = |rows: usize, channels: (usize, usize)| -> Result<f32> {
            let block = first.narrow(0, rows, 12)?.narrow(3, channels.0, channels.1)?;
            Ok(block.abs()?.max_all()?.to_scalar()?)
        };
        assert_eq!((largest(0, (1, 2))?, largest(12, (0, 1))?), (0.0, 0.0));
        assert!(largest(0, (0, 1))? > 0.0 && largest(12, (1, 2))? > 0.0);
        let kept = Checkpoint::read_params(&checkpoint::last(&run_of(&home, stage)?), &Device::Cpu)?;
        let own = kept.iter().find(|(name, _)| name == "ab.conv1.weight").expect("a half");
        assert_eq!(own.1.dims(), [12, 5, 5, 2]);
        if stage == "split" {
            let part = first.narrow(0, 12, 12)?.narrow(3, 1, 2)?;
            let apart = (part - &own.1)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert_eq!(apart, 0.0);
        }
    }
    let raw = run_of(&home, "again")?.join("weights_raw.safetensors");
    assert!(weights::read(&raw)?.0.contains_key("fc7.weight"));
    Ok(())
}

#[test]
fn every_backbone_with_pixels_is_split() -> Result<()> {
    for backbone in ["{ resnet: { stem: small, width: 0.1 } }", "{ resnet: { depth: 50, width: 0.05 } }"] {
        let home = Home::new()?;
        let yaml = SPEC.replace("{ alexnet: { stem: small, width: 0.25, fc: 32 } }", backbone);
        let yaml = yaml.replace(", through: conv3", "").replace("steps: 2, batch: 8", "steps: 1, batch: 4");
        finish(&home, &yaml, &[])?;
        let (tensors, _) = weights::read(&run_of(&home, "split")?.join("weights.safetensors"))?;
        assert_eq!(tensors["conv1.weight"].dims()[3], 3, "{backbone}");
    }
    Ok(())
}

/// A run of two steps that goes on to four leaves the bits of one of four.
#[test]
fn a_resumed_run_has_the_bits_of_a_whole_one() -> Result<()> {
    let ran = |steps: &[&[&str]]| -> Result<Vec<Vec<u8>>> {
        let home = Home::new()?;
        for sets in steps {
            finish(&home, SPEC, sets)?;
        }
        let mut files = vec![];
        for entry in fs::read_dir(home.path().join("runs/halves"))? {
            let path = entry?.path();
            let manifest = fs::read_to_string(path.join("manifest.json")).unwrap_or_default();
            if manifest.is_empty() || serde_json::from_str::<serde_json::Value>(&manifest)?["steps"] != 4 {
                continue;
            }
            for (name, tensor) in weights::read(&path.join("weights.safetensors"))?.0 {
                let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                files.push(values.iter().flat_map(|v| v.to_le_bytes()).chain(name.bytes()).collect());
            }
        }
        Ok(files)
    };
    let four: &[&str] = &["split.train.steps=4"];
    let straight = ran(&[four])?;
    assert!(straight.len() > 20);
    assert!(ran(&[&[], four])? == straight, "resumed");
    Ok(())
}

#[test]
fn what_cannot_be_split_is_refused_before_the_first_step() -> Result<()> {
    let home = Home::new()?;
    let refused = |from: &str, to: &str| -> String {
        assert!(SPEC.contains(from), "{from}");
        let outcome =
            home.load(&SPEC.replace(from, to), &[]).and_then(|e| run(&e, &home.options()).map(drop));
        format!("{:#}", outcome.expect_err("refused"))
    };
    for (from, to, parts) in [
        ("fc: 32", "fc: 33", ["stage `split`: `fc6` has 33 channels", "spec.yaml:4:"]),
        ("fc: 32", "fc: 32, lrn: pool_norm", ["`norm1` would mix the halves", "`lrn: none`"]),
        (
            "alexnet: { stem: small, width: 0.25, fc: 32 }",
            "vgg: { width: 0.1 }",
            ["`vgg` sees lightness", "`alexnet`"],
        ),
        (
            "alexnet: { stem: small, width: 0.25, fc: 32 }",
            "vgg16: {}",
            ["it predicts nothing per pixel", "`vgg16`"],
        ),
        (
            "task: split_brain",
            "task: { split_brain: { los: regression } }",
            ["unknown field `los`", "`loss`"],
        ),
        ("through: conv3", "through: conv9", ["through: conv9", "conv5"]),
    ] {
        let error = refused(from, to);
        assert!(parts.iter().all(|part| error.contains(part)), "{to}: {error}");
    }
    // weights of a network that is not split
    let whole = SPEC.replace("task: split_brain", "task: autoencoder").replace("split:", "auto:");
    let more = "  split: { pretext: { init_from: { stage: auto }, task: split_brain, train: *train } }\n";
    let outcome = home.load(&format!("{whole}{more}"), &[]).and_then(|e| run(&e, &home.options()).map(drop));
    let error = format!("{:#}", outcome.expect_err("refused"));
    assert!(error.contains("connects the halves") && error.contains("stage"), "{error}");
    assert!(error.contains("is of one network, and `split_brain` trains two"), "{error}");
    Ok(())
}

/// A file says which task wrote it, what its network sees, and what can be done.
#[test]
fn weights_of_split_and_of_other_networks_are_told_apart() -> Result<()> {
    let home = Home::new()?;
    let auto = "  auto: { pretext: { task: { cross_channel: { predict: ab } }, train: *train } }\n";
    finish(&home, &format!("{SPEC}{auto}"), &[])?;
    let weights = |stage: &str| Ok::<_, anyhow::Error>(run_of(&home, stage)?.join("weights.safetensors"));
    let second = |task: &str, input: &str, stage: &str| -> Result<String> {
        let backbone = format!("{{ alexnet: {{ stem: small, width: 0.25, fc: 32{input} }} }}");
        let init = format!("{{ file: {} }}", weights(stage)?.display());
        let own = format!(
            "second: {{ pretext: {{ backbone: {backbone}, init_from: {init}, task: {task}, train: *train }} }}"
        );
        let outcome = home.load(&format!("{SPEC}  {own}\n"), &[]).and_then(|e| check(&e, &home.options()));
        Ok(outcome.err().map(|error| format!("{error:#}")).unwrap_or_default())
    };
    let turned = "{ rotation: { head: { embedding: 8, hidden: [] } } }";
    for (task, advice) in [(turned, "give `input: lab`"), ("colorization", "weights of another task")] {
        let error = second(task, "", "split")?;
        let parts = [
            "stage `second`",
            "weights.safetensors, by the task `split_brain`, is of a network that sees",
            advice,
        ];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(error.contains("that of this stage sees 1 channel"), "{error}");
    }
    assert_eq!(second(turned, ", input: lab", "split")?, "");
    assert_eq!(second("autoencoder", "", "split")?, "");
    assert_eq!(second("split_brain", "", "split")?, "");
    let error = second("split_brain", "", "auto")?;
    let parts =
        ["by the task `cross_channel`, is of one network", "weights of `split_brain`", "`data_dependent`"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    Ok(())
}

/// The recipe passes `check` on a data set in ImageNet's layout: two halves of an AlexNet, each of about a quarter of its
/// parameters.
#[test]
fn the_papers_recipe_passes_check() -> Result<()> {
    let home = Home::new()?;
    let picture = image::RgbImage::from_fn(300, 280, |x, y| image::Rgb([x as u8, y as u8, 10]));
    let mut jpeg = std::io::Cursor::new(vec![]);
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
    for (split, count) in [("train", 140), ("val", 2)] {
        for class in ["n01440764", "n01443537"] {
            let folder = home.path().join("data/imagenet").join(split).join(class);
            fs::create_dir_all(&folder)?;
            for i in 0..count {
                fs::write(folder.join(format!("{class}_{i}.JPEG")), jpeg.get_ref())?;
            }
        }
    }
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/paper/pretext_split_brain.yaml");
    let locations = Locations { data: Some(home.path().join("data")), ..Locations::default() };
    let plan =
        check(&Experiment::load(&spec, &[])?, &RunOptions { locations, ..home.options() })?.to_string();
    for part in [
        "split into L → ab (313 outputs) and ab → L (50)",
        "split into L → ab (2 outputs) and ab → L (1)",
        "450000 steps × 80",
        "12×12×313",
        "12×12×50",
    ] {
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    Ok(())
}
