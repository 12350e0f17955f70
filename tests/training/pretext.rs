//! Colorization as a task: initial loss, effects of the gray gate and of rebalancing, overfitting of eight images.

use candle_core::{Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    color::bins::Bins,
    data::{
        Batch,
        loader::{Loader, Pass},
        scenes::Scenes,
        source::{DataError, Dataset, RgbImage, Split},
    },
    nn::{
        TrainingPass,
        optim::{Gradients, Optimizer, OptimizerSpec},
    },
    pretext::colorization::{Colorization, ColorizationSpec},
    rng::Rng,
    train::task::Task,
};
use std::sync::Arc;

type Result<T> = anyhow::Result<T>;

/// `images` scenes of 29 pixels; gray if `color` is false.
fn batch(images: usize, color: bool) -> Result<Batch> {
    let scenes = Scenes::new(images, 29, 3, Split::Train);
    let mut pixels = vec![];
    for i in 0..images {
        let image = scenes.image(i)?;
        let gray = |p: &[u8]| if color { [p[0], p[1], p[2]] } else { [p[1]; 3] };
        pixels.extend(image.pixels.chunks_exact(3).flat_map(gray));
    }
    let pixels = Tensor::from_vec(pixels, (images, 29, 29, 3), &Device::Cpu)?;
    Ok(Batch { pixels, labels: None, indices: (0..images).collect(), frames: vec![] })
}

fn small() -> Result<BackboneSpec> {
    Ok(serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.25, "fc": 64}}"#)?)
}

fn task(spec: &str) -> Result<Colorization> {
    let spec: ColorizationSpec = serde_json::from_str(spec)?;
    let uniform = vec![1.0 / 313.0; Bins::new(10.0).len()];
    Colorization::new(&spec, &small()?, Some(&uniform), &Rng::new(1), &Device::Cpu)
}

fn scalar(task: &mut Colorization, batch: &Batch, name: &str) -> Result<f64> {
    let training = TrainingPass::new(Rng::new(0));
    let step = task.step(batch, &training)?;
    Ok(step.numbers()?.into_iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, v)| v))
}

#[test]
fn the_first_loss_is_ln_313_per_pixel() -> Result<()> {
    let loss = scalar(&mut task("{}")?, &batch(4, true)?, "loss")?;
    assert!((loss - 313f64.ln()).abs() < 1e-5, "{loss}");
    Ok(())
}

#[test]
fn gray_images_teach_nothing_but_are_logged() -> Result<()> {
    let mut task = task("{}")?;
    let training = TrainingPass::new(Rng::new(0));
    let step = task.step(&batch(4, false)?, &training)?;
    let scalars = step.numbers()?;
    assert!(scalars[0].1 > 5.0 && scalars[1] == ("weighted_loss", 0.0), "{scalars:?}");
    let mut grads = Gradients::new(task.params());
    grads.add(&training.tape, step.loss)?;
    assert_eq!(grads.finish(None)?, 0.0);
    Ok(())
}

#[test]
fn the_gate_can_be_switched_off() -> Result<()> {
    let weighted = scalar(&mut task(r#"{"gray_gate": null}"#)?, &batch(4, false)?, "weighted_loss")?;
    assert!(weighted > 1.0, "{weighted}");
    Ok(())
}

#[test]
fn a_prior_of_the_wrong_length_is_refused() -> Result<()> {
    let spec: ColorizationSpec = serde_json::from_str("{}")?;
    let made = Colorization::new(&spec, &small()?, Some(&[0.5, 0.5]), &Rng::new(0), &Device::Cpu);
    let message = made.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("313") && message.contains('2'), "{message}");
    Ok(())
}

#[test]
fn eight_images_are_learned_by_heart() -> Result<()> {
    let (mut task, batch) = (task(r#"{"rebalance": "off"}"#)?, batch(8, true)?);
    let adam: OptimizerSpec = serde_json::from_str(r#"{"adam": {"lr": 2e-3}}"#)?;
    let mut optimizer = Optimizer::new(&adam, task.params())?;
    let mut last = f64::NAN;
    for index in 0..150 {
        let training = TrainingPass::new(Rng::new(index));
        let step = task.step(&batch, &training)?;
        last = step.numbers()?.into_iter().find(|(n, _)| *n == "kl").map_or(f64::NAN, |(_, v)| v);
        let mut grads = Gradients::new(task.params());
        grads.add(&training.tape, step.loss)?;
        grads.finish(None)?;
        optimizer.step(task.params(), &grads, 2e-3)?;
    }
    // From a KL divergence of 4.3 nats to a small fraction of it.
    assert!(last < 0.8, "KL after 150 steps: {last}");
    Ok(())
}

/// Scenes without their colors.
struct Gray(Scenes);

impl Dataset for Gray {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn classes(&self) -> &[String] {
        self.0.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.0.label(index)
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn image(&self, index: usize) -> std::result::Result<RgbImage, DataError> {
        let mut image = self.0.image(index)?;
        image.pixels.chunks_exact_mut(3).for_each(|p| p.copy_from_slice(&[p[1]; 3]));
        Ok(image)
    }
    fn fingerprint(&self) -> String {
        format!("gray {}", self.0.fingerprint())
    }
}

/// A ratio to zero chroma is NaN and causes a warning.
#[test]
fn pictures_without_color_have_no_vividness() -> Result<()> {
    let data = serde_json::from_str(r#"{"source": {"scenes": {"train": 1, "val": 1}}, "crop": 29}"#)?;
    for spec in ["{}", r#"{"loss": "l2"}"#] {
        let mut task = task(spec)?;
        let set = Arc::new(Gray(Scenes::new(12, 29, 3, Split::Val)));
        let mut val = Loader::new(set, &data, Pass::Once, 8, &Rng::new(0), &Device::Cpu)?;
        let metrics = task.evaluate(&mut val)?;
        let vividness = metrics.iter().find(|m| m.name == "vividness").map(|m| m.value);
        assert!(vividness.is_some_and(f64::is_nan), "{metrics:?}");
        assert!(task.warnings()[0].0.contains("have no color"), "{:?}", task.warnings());
    }
    Ok(())
}
