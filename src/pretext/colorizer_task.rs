//! Training of colorizers whose loss belongs to one network. A task's own file says what its network is given, what it puts
//! out, and its loss; validation, panels and warnings are here.

use super::{
    color_meter::{self, ColorFault, ColorMeter, PANEL_IMAGES, color_panel},
    colorizer::{Colorizer, ColorizerSpec},
    label_grid::maps,
};
use crate::{
    backbones::{BackboneSpec, Build},
    color::{decode::Decode, lab},
    data::{Batch, loader::Loader},
    key_error::KeyError,
    nn::{Mode, TrainingPass, params::Params},
    rng::Rng,
    train::task::{ImagePanel, Metric, StepOutput, Task},
};
use anyhow::Result;
use candle_core::{Device, Tensor};

/// A task on one colorizer's network.
pub trait ColorizerTaskSpec: ColorizerSpec {
    /// Names of its losses, of which the first ranks checkpoints.
    fn losses(&self) -> &'static [&'static str];

    /// Whether it needs the classes of pictures.
    fn needs_labels(&self) -> bool {
        false
    }

    /// The network that is trained, whose gradients the task may restrict.
    fn adapted(&self, backbone: &BackboneSpec) -> BackboneSpec {
        backbone.clone()
    }

    /// Checks that pictures of `crop` pixels fit.
    ///
    /// # Errors
    /// What to change.
    fn check_crop(&self, _crop: usize) -> Result<(), KeyError> {
        Ok(())
    }

    /// Its criterion.
    fn criterion(&self) -> Box<dyn ColorizerCriterion>;
}

/// Checks that square training pictures fit a network whose maps halve without remainder.
pub(super) fn check_multiple(task: &str, multiple: usize, crop: usize) -> Result<(), KeyError> {
    if crop.is_multiple_of(multiple) {
        return Ok(());
    }
    let reason = format!("`{task}` takes pictures whose sides are multiples of {multiple}, not {crop}");
    let advice = format!("set `crop: {}`", crop.next_multiple_of(multiple));
    Err(KeyError::new(["data", "crop"], reason).advice(advice))
}

/// The loss of a colorizer.
pub trait ColorizerCriterion {
    /// The loss of a batch, and the values of all of [`ColorizerTaskSpec::losses`] as scalars. Random choices depend on
    /// `rng` at `(0, first + i)` for picture i.
    ///
    /// # Errors
    /// Pictures that do not fit the network.
    fn score(&self, colorizer: &Colorizer, batch: &Batch, mode: &Mode, draw: Draw) -> Result<StepOutput>;
}

/// Source of the random choices for a batch.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    pub rng: &'a Rng,
    /// Number of the batch's first picture.
    pub first: usize,
}

/// A colorizer in training.
pub struct ColorizerTask {
    name: &'static str,
    losses: &'static [&'static str],
    colorizer: Colorizer,
    criterion: Box<dyn ColorizerCriterion>,
    params: Params,
    decode: Decode,
    /// Random choices in validation are the same every time.
    validation: Rng,
    fault: ColorFault,
}

impl ColorizerTask {
    /// A new network on `device`, for data with `classes` classes if the task needs them.
    ///
    /// # Errors
    /// A tensor cannot be created on the device.
    pub fn new(
        spec: &dyn ColorizerTaskSpec,
        (backbone, classes): (&BackboneSpec, usize),
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let mut params = Params::new(device);
        let usual = spec.build();
        let outputs = if spec.needs_labels() { Some(classes) } else { usual.outputs };
        let (build, init) = (Build { outputs, ..usual }, rng.split("init"));
        let colorizer = Colorizer::with_build(spec, &build, backbone, &mut params, &init)?;
        Ok(Self {
            name: spec.name(),
            losses: spec.losses(),
            colorizer,
            criterion: spec.criterion(),
            params,
            decode: spec.decode(),
            validation: rng.split("validation"),
            fault: ColorFault::default(),
        })
    }

    /// Names of the metrics, losses first.
    pub fn metrics(spec: &dyn ColorizerTaskSpec) -> impl Iterator<Item = &'static str> {
        spec.losses().iter().copied().chain(color_meter::METRICS)
    }

    /// The trained network.
    pub fn colorizer(&self) -> &Colorizer {
        &self.colorizer
    }

    /// Predicted ab `(B, H, W, 2)` of pictures u8 RGB `(B, H, W, 3)`, of which the network sees its gray.
    fn color(&self, pixels: &Tensor) -> Result<Tensor> {
        let lightness = self.colorizer.gray().of_pictures(pixels)?;
        Ok(self.colorizer.color(&lightness, self.decode)?)
    }
}

impl Task for ColorizerTask {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let (mode, rng) = (Mode::Train(training.clone()), training.rng.split("criterion"));
        self.criterion.score(&self.colorizer, batch, &mode, Draw { rng: &rng, first: 0 })
    }

    /// The losses; distance in ab and vividness at every pixel, of colors predicted without hints.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let (mut meter, size) = (ColorMeter::default(), val.batch());
        let measure = |batch: &Batch, number: usize| {
            let draw = Draw { rng: &self.validation, first: number * size };
            let losses = self.criterion.score(&self.colorizer, batch, &Mode::Frozen, draw)?.numbers()?;
            let ab = lab::rgb_to_lab(&batch.pixels)?.narrow(3, 1, 2)?.contiguous()?;
            ColorMeter::of_batch(&losses, &self.color(&batch.pixels)?, &ab)
        };
        val.fold(measure, |batch| {
            meter.merge(&batch);
            Ok(())
        })?;
        let (metrics, fault) = meter.metrics(self.losses);
        self.fault = fault;
        Ok(metrics)
    }

    /// Input (gray), prediction and truth in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PANEL_IMAGES))?.contiguous()?;
        Ok(Some(color_panel(self.name, &pixels, &self.color(&pixels)?)?))
    }

    /// Without hints.
    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        let lightness = self.colorizer.gray().of_pictures(pixels)?;
        Ok(maps(self.colorizer.network(), &self.colorizer.input(&lightness, None)?, layers)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        self.fault.warnings("train longer, or raise the learning rate")
    }
}
