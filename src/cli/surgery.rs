//! `weights init`, `rescale`, `absorb`, `color`, `fc`, `conv`: edits weights between trainings.

use super::{device::DeviceArgs, experiment::locations, failure::Usage, out, output::CommandOutput};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        absorb::{absorb_batch_norm, unabsorbable},
        calibrate::{CalibrationSpec, calibrate},
        data_init::{DataInitSpec, Filters, initialize},
        input::Input,
        network::Network,
        surgery::{difference, lightness_to_lab_weights, to_convolutions, to_matrices},
        table::Layer,
    },
    bounded::{Count, Positive},
    data::{
        loader::{Loader, Pass},
        open::open,
        source::{DataSpec, Split},
    },
    device::{Compute, Precision},
    experiment::Experiment,
    nn::{
        init::Filler,
        params::Params,
        weights::{self, Named},
    },
    pretext::{inputs::inputs, trained_file},
    rng::Rng,
    spec,
    text::counted,
    weight_source,
};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use clap::{Args, ValueEnum};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    ops::Range,
    path::{Path, PathBuf},
};

/// Pictures per calibration.
const CALIBRATED_ON: usize = 32;
/// Sides of the random pictures on which networks are compared: the transfer crop and the small one.
const SIDES: [usize; 2] = [227, 29];

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// An experiment; its first stage with data and a backbone provides both, and the batch size
    spec: PathBuf,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE", value_parser = out::path())]
    out: PathBuf,
    /// Source of the filters
    #[arg(long, value_enum, default_value_t)]
    filters: FiltersArg,
    /// Batches of pictures to use
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    batches: u32,
    /// Maximum number of patches per layer
    #[arg(long, value_name = "N", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..))]
    patches: u32,
    /// The last initialized layer [default: conv5, or the last before the fully connected layers]
    #[arg(long, value_name = "LAYER")]
    through: Option<String>,
    #[command(flatten)]
    sample: SampleArgs,
    /// Replace an existing output file
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args, Debug)]
struct SampleArgs {
    /// Seed of the picture sample and of all random choices
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    data: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl SampleArgs {
    /// Statistics are computed in f32 unless the command line says otherwise.
    fn device(&self) -> Result<Device> {
        self.device.open(Compute { precision: Some(Precision::F32), exact: true, ..Compute::default() })
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FiltersArg {
    /// Centroids of whitened patches
    #[default]
    Kmeans,
    /// Principal components
    Pca,
    /// Rows of the symmetric whitening matrix
    Zca,
    /// Whitened patches
    Patches,
    /// N(0, 1); only the scale depends on the data
    Gaussian,
}

impl From<FiltersArg> for Filters {
    fn from(filters: FiltersArg) -> Self {
        match filters {
            FiltersArg::Kmeans => Self::Kmeans,
            FiltersArg::Pca => Self::Pca,
            FiltersArg::Zca => Self::Zca,
            FiltersArg::Patches => Self::Patches,
            FiltersArg::Gaussian => Self::Gaussian,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct InOut {
    /// Weights: a file in any format that `inspect` recognizes, a run directory, or a released colorizer by name
    input: PathBuf,
    /// The safetensors file to write
    output: PathBuf,
    /// Replace an existing output file
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args, Debug)]
pub(super) struct RescaleArgs {
    #[command(flatten)]
    files: InOut,
    /// An experiment; its first stage with data provides the pictures
    #[arg(long, value_name = "SPEC")]
    pictures: PathBuf,
    #[command(flatten)]
    sample: SampleArgs,
    /// Treat the input scale as a layer, as the authors' code does. It is folded into the first convolution, which
    /// then learns at a different rate
    #[arg(long)]
    with_input: bool,
}

/// A weight file and its network.
struct LoadedWeights {
    spec: BackboneSpec,
    tensors: Named,
    metadata: BTreeMap<String, String>,
}

impl LoadedWeights {
    fn of(files: &InOut) -> Result<Self> {
        may_write(&files.output, files.overwrite)?;
        if files.input == files.output {
            return Err(Usage(format!("{} is both input and output", files.input.display())).into());
        }
        let file = trained_file::open_finite(&weight_source::locate(&files.input)?)?;
        file.notes.iter().for_each(|note| tracing::info!("{}: {note}", files.input.display()));
        let yaml = file.metadata.get("backbone").with_context(|| {
            format!(
                "the header of {} does not say which network it is for; use the weights.safetensors of a run, or a \
                 release that `hueristic weights inspect` recognizes",
                files.input.display()
            )
        })?;
        let spec = weights::section(yaml)
            .with_context(|| format!("{}: the backbone in its header is damaged", files.input.display()))?;
        Ok(Self { spec, tensors: file.tensors, metadata: file.metadata })
    }

    /// The layer table up to the last layer that the file contains, with the head that it contains, if any.
    fn layers(&self, batch_norm: bool, heads: bool) -> (Build, Vec<Layer>) {
        let weight = |layer: &Layer| self.tensors.get(&format!("{}.weight", layer.name)).map(Tensor::dims);
        let plain = Build { batch_norm, ..self.spec.plain() };
        let first = self.spec.table(&plain).first().and_then(|layer| weight(layer)?.last().copied());
        let plain = Build { input_channels: first.unwrap_or(1), ..plain };
        // A colorizer's head may be a different layer, or the same layer with a window.
        let outputs = [1, 2].into_iter().find_map(|outputs| {
            let table = self.spec.table(&Build { outputs: Some(outputs), ..plain.clone() });
            table.last().and_then(|head| weight(head)?.first().copied())
        });
        let outputs = outputs.filter(|_| heads);
        let builds =
            [Variant::Transfer, Variant::Pretext].map(|variant| Build { variant, outputs, ..plain.clone() });
        let fits = |build: &&Build| {
            let table = self.spec.table(build);
            table.last().is_none_or(|head| weight(head) == head.kind.weight().as_deref())
        };
        let build = builds.iter().find(fits).unwrap_or(&builds[0]).clone();
        let mut layers = self.spec.table(&build);
        layers.truncate(self.held(&layers).end);
        (build, layers)
    }

    /// The rows up to the last whose weights the file contains, with the rows without weights after it.
    fn held(&self, rows: &[Layer]) -> Range<usize> {
        let is_held = |row: &Layer| self.tensors.contains_key(&format!("{}.weight", row.name));
        let last = rows.iter().rposition(|row| row.kind.has_weights() && is_held(row));
        let next = last.and_then(|last| rows[last + 1..].iter().position(|row| row.kind.has_weights()));
        0..last.zip(next).map_or(rows.len(), |(last, next)| last + 1 + next)
    }

    /// What to say of a file that ends before its network does.
    fn ending(&self) -> Option<String> {
        let rows = self.spec.table(&Build { batch_norm: true, ..self.spec.plain() });
        let missing: Vec<&str> =
            rows[self.held(&rows).end..].iter().filter(|row| row.is_hidden()).map(Layer::label).collect();
        (!missing.is_empty()).then(|| format!("the file ends before {}, as it did", missing.join(", ")))
    }

    /// The network with these weights; `heads` says whether the head is one of its rows.
    fn network(
        &self,
        tensors: &Named,
        (batch_norm, heads): (bool, bool),
        device: &Device,
    ) -> Result<(Network, Params)> {
        let (_, layers) = self.layers(batch_norm, heads);
        let mut params = Params::with_values(device, tensors.clone());
        let net = Network::new(self.spec.interface(), layers, &mut params, &Rng::new(0))?;
        let report = weights::finish_load(&mut params)?;
        ensure!(
            report.missing.is_empty() && report.mismatched.is_empty(),
            "the weights do not fit the network that the header names: {report}"
        );
        Ok((net, params))
    }

    fn has_batch_norm(&self) -> bool {
        self.tensors.keys().any(|name| name.ends_with(".running_mean"))
    }

    /// The weights with batch normalization absorbed, if possible.
    fn absorbed(&self) -> Result<Named> {
        let (_, layers) = self.layers(true, true);
        if let Some(norm) = unabsorbable(&layers) {
            return Err(Usage(format!(
                "the normalization of {} follows its ReLU and cannot be absorbed into a convolution",
                norm.label()
            ))
            .into());
        }
        Ok(absorb_batch_norm(&layers, &self.tensors)?)
    }

    fn save(&self, tensors: &Named, output: &Path) -> Result<()> {
        let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        weights::write(&tensors, &self.metadata, output)
    }
}

fn may_write(path: &Path, overwrite: bool) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(Usage(format!("{} must end in .safetensors", path.display())).into());
    }
    if path.exists() && !overwrite {
        return Err(Usage(format!("{} exists: give --overwrite to replace it", path.display())).into());
    }
    Ok(())
}

/// Batches of pictures as network inputs.
fn draw(
    spec: &DataSpec,
    (input, batches, batch): (Input, usize, usize),
    sample: &SampleArgs,
    rng: &Rng,
    device: &Device,
) -> Result<Vec<Tensor>> {
    let set = open(spec, Split::Train, &locations(sample.data.as_ref())?)?;
    let batch = batch.min(set.len());
    let mut loader = Loader::new(set, spec, Pass::Train, batch, rng, device)?;
    inputs(&mut loader, input, batches)
}

pub(super) fn init(args: &InitArgs) -> Result<CommandOutput> {
    may_write(&args.out, args.overwrite)?;
    let wanted = DataInitSpec {
        filters: args.filters.into(),
        batches: Count::of(args.batches as usize),
        patches: Count::of(args.patches as usize),
        through: args.through.clone(),
        ..DataInitSpec::default()
    };
    let experiment = Experiment::load(&args.spec, &[])?;
    let stage = experiment
        .stages
        .iter()
        .filter(|(_, stage)| stage.trains_backbone())
        .find_map(|(_, stage)| Some((stage.data()?, stage.backbone()?, stage)));
    let (data, backbone, stage) = stage.ok_or_else(|| {
        Usage(format!(
            "{} has no stage that trains a backbone: give one with `backbone:`",
            args.spec.display()
        ))
    })?;
    let batch = stage.train().map_or(16, |train| train.batch.get());
    let rng = Rng::new(args.sample.seed).split("data init");
    let device = args.sample.device()?;
    let (mut params, build) = (Params::new(&device), without_head(backbone, true));
    let net = backbone.build(&build, &mut params, &rng.split("init"))?;
    wanted.last(net.layers()).map_err(|error| Usage(error.to_string()))?;
    let pictures = draw(data, (net.input(), wanted.batches.get(), batch), &args.sample, &rng, &device)?;
    let reports = initialize(&wanted, &net, &pictures, &rng)?;
    let metadata = BTreeMap::from([
        ("backbone".to_string(), spec::resolved_yaml(backbone)?),
        ("data_init".to_string(), spec::resolved_yaml(&wanted)?),
        ("data".to_string(), spec::resolved_yaml(data)?),
    ]);
    weights::save(&params, &metadata, &args.out)?;
    let (layers, out) = (counted(reports.len(), "layer"), args.out.display());
    let seen = counted(pictures.iter().map(|batch| batch.dims()[0]).sum(), "picture");
    Ok(CommandOutput::ok(format!("{layers} set by {seen}; written to {out}")))
}

/// The pretext network without its head.
fn without_head(backbone: &BackboneSpec, batch_norm: bool) -> Build {
    Build { variant: Variant::Pretext, batch_norm, ..backbone.plain() }
}

pub(super) fn absorb(files: &InOut) -> Result<CommandOutput> {
    let mut loaded = LoadedWeights::of(files)?;
    if !loaded.has_batch_norm() {
        return Err(Usage(format!("{} has no batch normalization to absorb", files.input.display())).into());
    }
    let absorbed = loaded.absorbed()?;
    let network = |tensors, batch_norm| loaded.network(tensors, (batch_norm, true), &Device::Cpu);
    let (before, after) = (network(&loaded.tensors, true)?.0, network(&absorbed, false)?.0);
    let x = random_pictures(&before)?;
    let apart = difference(&before, &after, &x)?;
    ensure!(
        apart.largest.is_finite() && apart.scale.is_finite(),
        "{}: the outputs of the network are not finite: its weights are too large, or damaged",
        files.input.display()
    );
    let colorizer = loaded.metadata.remove("colorization").is_some();
    loaded.save(&absorbed, &files.output)?;
    let mut text = format!(
        "{}: on random input {} the outputs are at most {:.1e} apart, of {:.1e}",
        files.output.display(),
        x.dims().iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
        apart.largest,
        apart.scale
    );
    if let Some(ending) = loaded.ending() {
        write!(text, "\n{ending}")?;
    }
    if colorizer {
        text += "\nheader colorization dropped: colorizers have batch normalization";
    }
    Ok(CommandOutput::ok(text))
}

/// L − 50 of two noise pictures of the network's input size.
fn random_pictures(net: &Network) -> Result<Tensor> {
    let fits = |side: &usize| net.summary((*side, *side)).is_ok();
    let small = net.layers().first().and_then(Layer::conv).is_some_and(|conv| conv.window.kernel < 11);
    let mut sides = SIDES.to_vec();
    if small {
        sides.reverse();
    }
    let side = sides.into_iter().find(fits).context("the network takes no pictures of the usual sizes")?;
    let channels = net.layers().first().map_or(1, |layer| layer.inputs);
    let noise = Filler::Gaussian { std: Positive::of(20.0) };
    Ok(noise.fill((2, side, side, channels), &Rng::new(0).split("pictures"), &Device::Cpu)?)
}

pub(super) fn rescale(args: &RescaleArgs) -> Result<CommandOutput> {
    let mut loaded = LoadedWeights::of(&args.files)?;
    let had = loaded.has_batch_norm();
    let tensors = if had { loaded.absorbed()? } else { loaded.tensors.clone() };
    let device = args.sample.device()?;
    let (net, params) = loaded.network(&tensors, (false, false), &device)?;
    let experiment = Experiment::load(&args.pictures, &[])?;
    let data = experiment.stages.iter().find_map(|(_, stage)| stage.data());
    let data = data.ok_or_else(|| Usage(format!("{} names no data", args.pictures.display())))?;
    let side = random_pictures(&net)?.dim(1)?;
    let resize = data.resize.filter(|short| short.get() >= side);
    let data = DataSpec { crop: Count::of(side), resize, train_crop: None, ..data.clone() };
    let rng = Rng::new(args.sample.seed).split("calibration");
    let pictures = draw(&data, (net.input(), 1, CALIBRATED_ON), &args.sample, &rng, &device)?;
    let batch = pictures.first().context("no pictures were drawn")?;
    let spec = CalibrationSpec { input: args.with_input, ..CalibrationSpec::default() };
    let calibration = calibrate(&spec, &net, batch, &rng)?;
    loaded.metadata.remove("colorization");
    loaded.metadata.insert("calibration".into(), spec::resolved_yaml(&spec)?);
    weights::save(&params, &loaded.metadata, &args.files.output)?;
    let mut text = format!("{calibration}\n");
    if had {
        writeln!(text, "batch normalization was absorbed first")?;
    }
    let left: Vec<&str> =
        tensors.keys().filter(|name| params.named(name).is_none()).map(String::as_str).collect();
    if !left.is_empty() {
        writeln!(text, "left out (heads are not rescaled): {}", left.join(", "))?;
    }
    write!(text, "written to {}", args.files.output.display())?;
    Ok(CommandOutput::ok(text))
}

pub(super) fn color(files: &InOut) -> Result<CommandOutput> {
    let mut loaded = LoadedWeights::of(files)?;
    let (_, layers) = loaded.layers(false, true);
    let tensors = lightness_to_lab_weights(&layers, &loaded.tensors)
        .with_context(|| files.input.display().to_string())?;
    // The header must state the new input.
    let backbone = spec::resolved_yaml(&loaded.spec.with_input(Input::Lab))?;
    loaded.metadata.insert("backbone".into(), backbone);
    loaded.metadata.remove("input");
    loaded.save(&tensors, &files.output)?;
    let what = "takes Lab (L − 50, a, b); the weights of a and b are zero";
    Ok(CommandOutput::ok(format!("{}: {what}", files.output.display())))
}

pub(super) fn fc(files: &InOut) -> Result<CommandOutput> {
    reshape(files, to_matrices, "matrices, their input flattened as (C, H, W)")
}

pub(super) fn conv(files: &InOut) -> Result<CommandOutput> {
    reshape(files, to_convolutions, "convolutions")
}

fn reshape(
    files: &InOut,
    change: fn(&[Layer], &Named) -> candle_core::Result<Named>,
    what: &str,
) -> Result<CommandOutput> {
    let loaded = LoadedWeights::of(files)?;
    let (_, layers) = loaded.layers(false, true);
    let tensors = change(&layers, &loaded.tensors).with_context(|| files.input.display().to_string())?;
    let weight = |layer: &Layer| format!("{}.weight", layer.name);
    let full =
        layers.iter().filter(|layer| layer.is_fully_connected() && tensors.contains_key(&weight(layer)));
    let names: Vec<&str> = full.map(|layer| layer.name.as_str()).collect();
    if names.is_empty() {
        return Err(Usage(format!("{} has no fully connected layers", files.input.display())).into());
    }
    loaded.save(&tensors, &files.output)?;
    Ok(CommandOutput::ok(format!("{}: {} are {what}", files.output.display(), names.join(", "))))
}
