//! From what a spec calls an initialisation to a network with its weights: trained ones from a run or a file, their batch
//! normalisation absorbed; random ones; ones made from the training pictures; any of them rescaled, or given colour.

use super::{
    fits::{Fit, INPUT, given},
    sets::{AnnotatedSets, Plain, Sets},
};
use crate::{
    backbones::{
        BackboneSpec, Build, Graph,
        absorb::fitted,
        calibrate::{CalibrationSpec, calibrate},
        data_init::{DataInitSpec, initialize},
        exchange,
        input::Input,
        network::Network,
        surgery::grey_to_lab,
    },
    data::{
        framing::Framing,
        loader::{Feed, Loader, Pass},
    },
    nn::{layers::Fillers, params::Params, weights},
    pretext::{channels::Channels, inputs::inputs},
    spec::experiment::InitSpec,
    transfer::Colors,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use std::{collections::BTreeMap, path::Path};

/// Pictures in a batch that weights are made from or rescaled by.
const BATCH: usize = 16;

type Tensors = BTreeMap<String, Tensor>;

/// Which network a stage needs.
pub(super) struct Wanted {
    pub graph: Graph,
    /// Outputs of a new last layer, and how it starts.
    pub head: Option<(usize, Fillers)>,
    pub colors: Colors,
    /// The layers that are read; what comes after the last of them is not built. None: all are.
    pub taps: Option<Vec<String>>,
}

impl Wanted {
    /// What a probe of some layers needs.
    pub fn frozen(taps: &[String]) -> Self {
        Self { graph: Graph::Transfer, head: None, colors: Colors::Gray, taps: Some(taps.to_vec()) }
    }
}

impl Fit<'_> {
    /// The network of a row of the table. `fallback` is the architecture where the weights do not bring their own.
    ///
    /// # Errors
    /// Weights that are not there, or do not fit.
    pub fn backbone(
        &self,
        init: &InitSpec,
        fallback: Option<&BackboneSpec>,
        wanted: &Wanted,
    ) -> Result<(Network, Params)> {
        let (spec, tensors) = self.prepared(init, fallback)?;
        self.assembled(init, &spec, tensors, wanted)
    }

    /// The network that a stage needs of an architecture and its prepared weights.
    pub fn assembled(
        &self,
        init: &InitSpec,
        spec: &BackboneSpec,
        tensors: Option<Tensors>,
        wanted: &Wanted,
    ) -> Result<(Network, Params)> {
        let input = wanted.colors.input(spec.input());
        let tensors = tensors.map(|tensors| coloured(spec, tensors, input)).transpose()?;
        let spec = spec.with_input(input);
        let build = Build {
            graph: wanted.graph,
            batch_norm: false,
            input_channels: input.channels(),
            outputs: wanted.head.map(|(outputs, _)| outputs),
        };
        let mut table = spec.table(&build);
        if let Some(taps) = &wanted.taps {
            let last = table.iter().rposition(|layer| taps.contains(&layer.name));
            table.truncate(last.map_or(table.len(), |at| at + 1));
        }
        if let (Some((_, fillers)), Some(last)) = (wanted.head, table.last_mut()) {
            last.fillers = fillers;
        }
        let head = wanted.head.and_then(|_| table.last().map(|layer| layer.name.clone()));
        let mut params = Params::new(self.device);
        let rng = self.rng.split("init");
        let net = Network::new(spec.name(), spec.grid(), input, table, &mut params, &rng)?;
        match tensors {
            Some(tensors) => {
                set(&params, tensors, head.as_deref()).with_context(|| self.weights_named(init))?
            }
            // Random weights of a network that is given colour see none of it at first, as trained ones.
            None if wanted.colors == Colors::Color => bleach(&net, &params)?,
            None => {}
        }
        Ok((net, params))
    }

    /// The architecture, and the weights of its transfer graph without batch normalisation; none of random ones.
    pub fn prepared(
        &self,
        init: &InitSpec,
        fallback: Option<&BackboneSpec>,
    ) -> Result<(BackboneSpec, Option<Tensors>)> {
        match init {
            InitSpec::Init(filler) => Ok((given(fallback, "backbone")?.with_init(*filler), None)),
            InitSpec::Stage(_) => self.trained(&self.upstream_weights()?, fallback),
            InitSpec::File(_) => self.trained(self.weights()?, fallback),
            InitSpec::DataDependent(how) => {
                let spec = given(fallback, "backbone")?.clone();
                let tensors = self.made_from_data(how, &spec)?;
                Ok((spec, Some(tensors)))
            }
            InitSpec::Rescaled(inner) => {
                let (spec, tensors) = self.prepared(inner, fallback)?;
                let tensors = self.rescaled(&spec, tensors)?;
                Ok((spec, Some(tensors)))
            }
        }
    }

    /// The transfer graph on which weights are prepared.
    fn transfer_graph(&self, spec: &BackboneSpec) -> Result<(Network, Params)> {
        let input_channels = spec.input().channels();
        let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels, outputs: None };
        let mut params = Params::new(self.device);
        let net = spec.build(&build, &mut params, &self.rng.split("init"))?;
        Ok((net, params))
    }

    /// The architecture comes from the file when it says one, else from the spec.
    fn trained(
        &self,
        path: &Path,
        fallback: Option<&BackboneSpec>,
    ) -> Result<(BackboneSpec, Option<Tensors>)> {
        let file = exchange::open_finite(path)?;
        let spec = file
            .backbone(fallback)
            .with_context(|| path.display().to_string())?
            .with_context(|| format!("{} names no backbone; give `backbone:` in the spec", path.display()))?;
        let sees = file.metadata.get(INPUT).map(|yaml| weights::section::<Channels>(yaml)).transpose();
        let sees = sees.with_context(|| format!("{}: the input in its header", path.display()))?;
        let spec = sees.map_or(spec.clone(), |sees| spec.with_input(sees.expected()));
        let input_channels = spec.input().channels();
        let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels, outputs: None };
        let tensors = fitted(&spec, &build, file.tensors)
            .with_context(|| format!("{} does not fit the backbone", path.display()))?;
        Ok((spec, Some(tensors)))
    }

    fn made_from_data(&self, how: &DataInitSpec, spec: &BackboneSpec) -> Result<Tensors> {
        let (net, params) = self.transfer_graph(spec)?;
        let batches = self.inputs(how.batches.get(), spec.input(), spec.crop())?;
        for layer in initialize(how, &net, &params, &batches, &self.rng.split("data_init"))? {
            tracing::info!("{layer}");
        }
        Ok(params.state().into_iter().collect())
    }

    fn rescaled(&self, spec: &BackboneSpec, tensors: Option<Tensors>) -> Result<Tensors> {
        let (net, params) = self.transfer_graph(spec)?;
        if let Some(tensors) = tensors {
            set(&params, tensors, None)?;
        }
        let batch = self.inputs(1, spec.input(), spec.crop())?.remove(0);
        let how = CalibrationSpec::default();
        let calibration = calibrate(&how, &net, &params, &batch, &self.rng.split("rescale"))?;
        tracing::info!("rescaled: {calibration}");
        Ok(params.state().into_iter().collect())
    }

    /// Batches of what a network reads, from squares of at least `side` pixels of the training pictures.
    pub fn inputs(&self, batches: usize, input: Input, side: usize) -> Result<Vec<Tensor>> {
        let rng = self.rng.split("inputs");
        let feed = |len: usize, max_bad, threads| {
            let batch = BATCH.min(len);
            Feed { batch, pass: Pass::Train, flip: true, max_bad, threads }
        };
        let mut loader = match &self.job.sets {
            Sets::Plain(Plain { spec, train, .. }) => {
                let (resize, crop) = (spec.resize.map(|short| short.get()), spec.crop.get().max(side));
                let feed = feed(train.len(), spec.max_bad.get(), spec.threads.map(|n| n.get()));
                Loader::framed(train.clone(), Framing::Crop { resize, crop }, feed, &rng, self.device)?
            }
            Sets::Annotated(AnnotatedSets { spec, train, .. }) => {
                let feed = feed(train.len(), spec.max_bad.get(), spec.threads.map(|n| n.get()));
                Loader::framed(train.clone(), Framing::RandomScale { side }, feed, &rng, self.device)?
            }
        };
        inputs(&mut loader, input, batches)
    }

    /// For messages: where the weights come from.
    fn weights_named(&self, init: &InitSpec) -> String {
        match (init.stage(), init.file()) {
            (Some(stage), _) => format!("the weights of stage `{stage}`"),
            (_, Some(file)) => format!("the weights of {}", file.display()),
            _ => "the initial weights".into(),
        }
    }
}

/// Weights of lightness become weights of Lab; others must be for the input already.
fn coloured(spec: &BackboneSpec, tensors: Tensors, input: Input) -> Result<Tensors> {
    match (spec.input(), input) {
        (own, wanted) if own == wanted => Ok(tensors),
        (Input::Lightness, Input::Lab) => {
            let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels: 1, outputs: None };
            Ok(grey_to_lab(&spec.table(&build), &tensors)?)
        }
        (own, _) => {
            bail!("the weights see {}: `input: color` is for those that see lightness", own.describe())
        }
    }
}

/// Sets all but the first of the channels that the first convolution reads to zero.
fn bleach(net: &Network, params: &Params) -> Result<()> {
    let name = format!("{}.weight", net.layers()[0].name);
    let weight = params.named(&name).with_context(|| format!("the network has no {name}"))?;
    let channels = weight.dim(3)?;
    let grey = weight.as_detached_tensor().narrow(3, 0, 1)?.pad_with_zeros(3, 0, channels - 1)?;
    Ok(weight.set(&grey.contiguous()?)?)
}

/// Sets every parameter but those of the head, which starts anew.
fn set(params: &Params, mut tensors: Tensors, head: Option<&str>) -> Result<()> {
    let of_head =
        |name: &str| head.is_some_and(|head| name.split_once('.').is_some_and(|(layer, _)| layer == head));
    tensors.retain(|name, _| !of_head(name));
    let report = weights::load_into(params, &tensors).context("they do not fit the backbone")?;
    tracing::info!("{report}");
    let left = report.missing.iter().chain(&report.mismatched).filter(|name| !of_head(name));
    let left: Vec<&str> = left.map(String::as_str).collect();
    ensure!(left.is_empty(), "they do not fit the backbone: they lack {}; {report}", left.join(", "));
    Ok(())
}
