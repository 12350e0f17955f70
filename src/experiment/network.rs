//! Builds networks from the initialization in a spec: trained weights of a run or file with their batch normalization
//! absorbed, random weights, data-dependent weights, and any of them rescaled or extended to color.

use super::{
    fit::StageRun,
    plan::{DataSource, NetworkPlan, Trainable, required},
    sources::{InitSpec, Start},
};
use crate::{
    backbones::{
        BackboneSpec,
        absorb::fitted_through,
        calibrate::{CalibrationSpec, calibrate},
        data_init::{DataInitSpec, initialize},
        input::Input,
        network::{Interface, Network},
        surgery::lightness_to_lab_weights,
        table::{Layer, tap},
    },
    data::{
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass},
        source::Split,
    },
    nn::{params::Params, weights},
    pretext::{
        channels::LabChannels,
        inputs::inputs,
        predicts::{INPUT, THROUGH},
        trained_file,
    },
    transfer::InputColors,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use std::{collections::BTreeMap, path::Path};

/// Batch size for data-dependent initialization and rescaling.
const BATCH: usize = 16;

pub type WeightMap = BTreeMap<String, Tensor>;

impl StageRun {
    /// The planned network with its weights, frozen as planned.
    ///
    /// # Errors
    /// Missing or mismatched weights.
    pub fn network(&self) -> Result<(Network, Params)> {
        let spec = required(self.plan.network.as_ref(), "backbone")?;
        let (backbone, tensors) = self.prepare_weights()?;
        self.assemble(spec, &backbone, tensors)
    }

    /// The planned network with random weights, to check that a task can be built on it.
    pub fn untrained(&self) -> Result<(Network, Params)> {
        let mut fit = self.clone();
        fit.plan.row.start = Start::Random;
        fit.network()
    }

    /// Checks that the weights of a file fit the planned network. Other initializations are created later.
    ///
    /// # Errors
    /// An unusable file; mismatched weights.
    pub fn check_weights(&self) -> Result<()> {
        if self.located.is_none() {
            return Ok(());
        }
        let spec = required(self.plan.network.as_ref(), "backbone")?;
        let trained = read_trained(self.weights()?, Some(&spec.backbone))?;
        let (backbone, tensors) = self.completed(trained)?;
        self.assemble(spec, &backbone, Some(tensors)).map(drop)
    }

    /// Builds the network of a plan from an architecture and prepared weights.
    pub fn assemble(
        &self,
        plan: &NetworkPlan,
        spec: &BackboneSpec,
        tensors: Option<WeightMap>,
    ) -> Result<(Network, Params)> {
        let plan = NetworkPlan { backbone: spec.clone(), ..plan.clone() };
        let input = plan.input();
        let tensors = tensors.map(|tensors| adapt_input(spec, tensors, input)).transpose()?;
        let table = plan.table(self.sets.classes())?;
        let head = plan.head.and_then(|_| table.last().map(|layer| layer.name.clone()));
        let loads = tensors.is_some();
        let mut params = Params::with_values(&self.device, except(tensors, head.as_deref()));
        let rng = self.rng.split("init");
        let mut net = Network::new(Interface { input, ..spec.interface() }, table, &mut params, &rng)?;
        match loads {
            true => check_loaded(&mut params, head.as_deref()).with_context(|| self.weights_named())?,
            // A randomly initialized color network starts with zero chroma weights, like a trained one.
            false if plan.colors == InputColors::Color => zero_chroma_weights(&net, &params)?,
            false => {}
        }
        freeze(&plan, &mut net, &mut params)?;
        Ok((net, params))
    }

    /// The architecture and its transfer-variant weights without batch normalization; None for random weights.
    pub fn prepare_weights(&self) -> Result<(BackboneSpec, Option<WeightMap>)> {
        match &self.plan.row.start {
            Start::Weights(init) => self.prepare_from(init),
            Start::Random | Start::Method(_) => Ok((self.backbone()?.clone(), None)),
        }
    }

    fn prepare_from(&self, init: &InitSpec) -> Result<(BackboneSpec, Option<WeightMap>)> {
        let fallback = self.backbone()?;
        let with = |(spec, tensors)| (spec, Some(tensors));
        match init {
            InitSpec::Init(filler) => Ok((fallback.with_init(*filler), None)),
            InitSpec::Stage(_) if self.rehearsal.is_some() => Ok((fallback.clone(), None)),
            InitSpec::Stage(_) => {
                self.completed(read_trained(&self.upstream_weights()?, Some(fallback))?).map(with)
            }
            InitSpec::File(_) => self.completed(read_trained(self.weights()?, Some(fallback))?).map(with),
            InitSpec::DataDependent(how) => Ok((fallback.clone(), Some(self.init_from_data(how, fallback)?))),
            InitSpec::Rescaled(inner) => {
                let (spec, tensors) = self.prepare_from(inner)?;
                let tensors = self.rescaled(&spec, tensors)?;
                Ok((spec, Some(tensors)))
            }
        }
    }

    /// Trained weights, with random ones for the layers of the plan that the file does not hold.
    fn completed(&self, trained: TrainedWeights) -> Result<(BackboneSpec, WeightMap)> {
        let TrainedWeights { spec, mut tensors, through } = trained;
        let Some(through) = through else { return Ok((spec, tensors)) };
        let rows = spec.table(&spec.plain());
        let after = tap(&rows, &through).map_or(rows.len(), |last| last + 1);
        let planned = required(self.plan.network.as_ref(), "backbone")?.table(self.sets.classes())?;
        // Rescaling takes the whole network.
        let whole = matches!(self.plan.row.start, Start::Weights(InitSpec::Rescaled(_)));
        let is_planned = |row: &&Layer| whole || planned.iter().any(|planned| planned.name == row.name);
        let left: Vec<Layer> = rows[after..].iter().filter(is_planned).cloned().collect();
        let names = left.iter().filter(|row| row.kind.has_weights()).map(Layer::label);
        let names: Vec<&str> = names.collect();
        if !names.is_empty() {
            tracing::info!("the weights end with {through}: {} start with random ones", names.join(", "));
            let mut params = Params::new(&self.device);
            Network::new(spec.interface(), left.clone(), &mut params, &self.rng.split("init"))?;
            tensors.extend(params.state());
        }
        Ok((spec, tensors))
    }

    /// The network on which weights are prepared, with these weights, else random ones.
    fn plain_network(&self, spec: &BackboneSpec, tensors: Option<WeightMap>) -> Result<(Network, Params)> {
        let loads = tensors.is_some();
        let mut params = Params::with_values(&self.device, except(tensors, None));
        let net = spec.build(&spec.plain(), &mut params, &self.rng.split("init"))?;
        if loads {
            check_loaded(&mut params, None)?;
        }
        Ok((net, params))
    }

    fn init_from_data(&self, how: &DataInitSpec, spec: &BackboneSpec) -> Result<WeightMap> {
        let (net, params) = self.plain_network(spec, None)?;
        let batches = self.inputs(how.batches.get(), spec.input(), spec.crop())?;
        initialize(how, &net, &batches, &self.rng.split("data_init"))?;
        Ok(params.state().into_iter().collect())
    }

    fn rescaled(&self, spec: &BackboneSpec, tensors: Option<WeightMap>) -> Result<WeightMap> {
        let (net, params) = self.plain_network(spec, tensors)?;
        let batch = self.inputs(1, spec.input(), spec.crop())?.remove(0);
        let how = CalibrationSpec::default();
        let calibration = calibrate(&how, &net, &batch, &self.rng.split("rescale"))?;
        tracing::info!("rescaled: {calibration}");
        Ok(params.state().into_iter().collect())
    }

    /// Network input batches, from square crops of at least `side` pixels of the training pictures.
    pub fn inputs(&self, batches: usize, input: Input, side: usize) -> Result<Vec<Tensor>> {
        let rng = self.rng.split("inputs");
        let framing = match &self.plan.pictures.source {
            DataSource::Plain(spec) => {
                let (resize, crop) = (spec.resize.map(|short| short.get()), spec.crop.get().max(side));
                CropPolicy::Crop { resize, crop }
            }
            DataSource::Annotated(..) => CropPolicy::RandomScale { side },
        };
        let (set, (max_bad, threads)) =
            (self.sets.split(Split::Train), self.plan.pictures.source.reading_options());
        let feed =
            LoaderOptions { batch: BATCH.min(set.len()), pass: Pass::Train, flip: true, max_bad, threads };
        let mut loader = Loader::with_policy(set, framing, feed, &rng, &self.device)?;
        inputs(&mut loader, input, batches)
    }

    /// Description of the weights for messages.
    fn weights_named(&self) -> String {
        let start = &self.plan.row.start;
        match (start.stage(), start.file()) {
            (Some(stage), _) => format!("the weights of stage `{stage}`"),
            (_, Some(file)) => format!("the weights of {}", file.display()),
            _ => "the initial weights".into(),
        }
    }
}

/// Weights of a backbone, and its architecture.
pub struct TrainedWeights {
    pub spec: BackboneSpec,
    pub tensors: WeightMap,
    /// The last layer that they hold, if not all.
    pub through: Option<String>,
}

/// Reads the weights of a file, for the transfer variant without batch normalization, and the architecture; where the file
/// states none, it is `fallback`.
///
/// # Errors
/// As [`read_as_stored`]; batch normalization that cannot be absorbed.
pub fn read_trained(path: &Path, fallback: Option<&BackboneSpec>) -> Result<TrainedWeights> {
    let TrainedWeights { spec, tensors, through } = read_as_stored(path, fallback)?;
    let tensors = fitted_through(&spec, &spec.plain(), tensors, through.as_deref())
        .with_context(|| format!("{} does not fit the backbone", path.display()))?;
    Ok(TrainedWeights { spec, tensors, through })
}

/// As [`read_trained`], with batch normalization and heads as they are in the file.
///
/// # Errors
/// A file that cannot be read, or has no backbone while no fallback is given.
pub fn read_as_stored(path: &Path, fallback: Option<&BackboneSpec>) -> Result<TrainedWeights> {
    let file = trained_file::open_finite(path)?;
    let spec = file.backbone(fallback).with_context(|| path.display().to_string())?.with_context(|| {
        format!(
            "{} names no backbone; give `backbone:` in the spec (`--backbone` on the command line)",
            path.display()
        )
    })?;
    let sees = file.metadata.get(INPUT).map(|yaml| weights::section::<LabChannels>(yaml)).transpose();
    let sees = sees.with_context(|| format!("{}: the input in its header", path.display()))?;
    let spec = sees.map_or(spec.clone(), |sees| spec.with_input(sees.input_kind()));
    // What becomes of batch normalization is the spec's matter.
    let spec = fallback.filter(|own| own.is_same_network(&spec)).cloned().unwrap_or(spec);
    let through = file.metadata.get(THROUGH).map(|layer| layer.trim().to_string());
    Ok(TrainedWeights { spec, tensors: file.tensors, through })
}

/// Freezes layers as planned. In a color network, frozen layers keep their lightness weights, and only their weights
/// for a and b, which start at zero, are trained.
pub(super) fn freeze(plan: &NetworkPlan, net: &mut Network, params: &mut Params) -> Result<()> {
    match &plan.trainable {
        // Features are computed without gradient, so nothing needs to be frozen.
        Trainable::All | Trainable::Nothing => Ok(()),
        Trainable::After(layer) => {
            net.freeze_through(layer, params)?;
            match plan.colors {
                InputColors::Color => Ok(net.unfreeze_chroma(params)?),
                InputColors::Gray => Ok(()),
            }
        }
        Trainable::From(first) => Ok(net.freeze_before(first, params)?),
    }
}

/// Extends lightness weights to Lab. Weights for any other input must match it.
fn adapt_input(spec: &BackboneSpec, tensors: WeightMap, input: Input) -> Result<WeightMap> {
    match (spec.input(), input) {
        (own, wanted) if own == wanted => Ok(tensors),
        (Input::Lightness, Input::Lab) => Ok(lightness_to_lab_weights(&spec.table(&spec.plain()), &tensors)?),
        (own, _) => {
            bail!(
                "the weights take {} as input: `input: color` requires weights for lightness",
                own.describe()
            )
        }
    }
}

/// Sets the first convolution's weights to zero for all channels but the first.
fn zero_chroma_weights(net: &Network, params: &Params) -> Result<()> {
    let name = format!("{}.weight", net.layers()[0].name);
    let weight = params.named(&name).with_context(|| format!("the network has no {name}"))?;
    let channels = weight.dim(3)?;
    let gray = weight.as_detached_tensor().narrow(3, 0, 1)?.pad_with_zeros(3, 0, channels - 1)?;
    Ok(weight.set(&gray.contiguous()?)?)
}

fn is_of(name: &str, head: Option<&str>) -> bool {
    head.is_some_and(|head| name.rsplit_once('.').is_some_and(|(layer, _)| layer == head))
}

/// Prepared weights without those of the head, which starts anew.
fn except(tensors: Option<WeightMap>, head: Option<&str>) -> WeightMap {
    let mut tensors = tensors.unwrap_or_default();
    tensors.retain(|name, _| !is_of(name, head));
    tensors
}

/// Checks that all parameters were loaded, except those of the new head.
fn check_loaded(params: &mut Params, head: Option<&str>) -> Result<()> {
    let report = weights::finish_load(params).context("they do not fit the backbone")?;
    tracing::info!("{report}");
    let left = report.missing.iter().chain(&report.mismatched).filter(|name| !is_of(name, head));
    let left: Vec<&str> = left.map(String::as_str).collect();
    ensure!(left.is_empty(), "they do not fit the backbone: they lack {}; {report}", left.join(", "));
    Ok(())
}
