//! `features`: features of photographs as matrices, tables and sheets of neighbors.

use super::{device::DeviceArgs, failure::Usage, model::number, out, output::CommandOutput, threads};
use crate::{
    bounded::{BatchSize, Count, Pixels},
    colorize::{inputs, plan},
    device::Compute,
    features::{self, FeatureOptions, FrozenNetwork, NeighborOptions, StartingWeights, UnknownLayer},
    probe::{downsample::Protocol, features::FeatureSpec},
    spec, weight_source,
};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(super) struct FeatureArgs {
    /// Photographs, folders, or quoted patterns ('photos/*.jpg'). An existing file takes precedence over a pattern
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Include subfolders
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Seed of --init and of the queries of --neighbors
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compute threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Args, Debug)]
struct NetworkArgs {
    /// Weights: a run directory, a weight file (.safetensors, .pth, .caffemodel), a released colorizer by name, or
    /// hf://OWNER/REPO/FILE[@REVISION]; FILE#KEY selects one of several networks
    #[arg(long, value_name = "WEIGHTS", required_unless_present = "init")]
    weights: Option<PathBuf>,
    /// Random weights instead: msra, xavier, or '{ gaussian: { std: 0.01 } }'
    #[arg(long, value_name = "INIT", conflicts_with = "weights", requires = "backbone")]
    init: Option<String>,
    /// Backbone as in a spec: alexnet, or '{ resnet: { depth: 50, input: rgb_unit } }' [default: that of the weights]
    #[arg(long, value_name = "YAML")]
    backbone: Option<String>,
    /// Layers to read, separated by commas: conv3,conv5
    #[arg(long, value_name = "LAYERS", required = true, value_delimiter = ',')]
    layers: Vec<String>,
}

#[derive(Args, Debug)]
struct ViewArgs {
    /// Side of the square that the network sees [default: what the backbone is made for]
    #[arg(long, value_name = "N", value_parser = number::<Pixels>)]
    size: Option<Pixels>,
    /// Take the center square of a picture, its short side scaled to --size, instead of squashing all of it to a square
    #[arg(long)]
    crop: bool,
    /// Pooling of a layer's map
    #[arg(long, value_enum, default_value_t)]
    pool: PoolArg,
    /// Maximum number of features per layer with --pool avgpool or bilinear
    #[arg(long, value_name = "N", default_value = "9600", value_parser = number::<Count>)]
    dimensions: Count,
    /// Pictures per batch. With --exact, features do not depend on it; else they do within rounding
    #[arg(long, value_name = "N", default_value = "32", value_parser = number::<BatchSize>)]
    batch: BatchSize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
enum PoolArg {
    /// The mean over all positions
    #[default]
    #[value(alias = "avg")]
    Mean,
    /// Means over a square grid, as in probes
    Avgpool,
    /// A square grid by bilinear resizing, as in probes
    Bilinear,
    /// The whole map, (height, width, channels)
    None,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "features", value_parser = out::path())]
    out: PathBuf,
    /// Replace existing results (originals are never replaced)
    #[arg(long)]
    overwrite: bool,
    /// Also write features.parquet: paths and a list of floats for each layer
    #[arg(long)]
    parquet: bool,
    /// Also write neighbors.png and neighbors.csv: the K pictures most similar to each query, by the cosine of the last layer's
    /// features
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=100))]
    neighbors: Option<u16>,
    /// Number of queries, drawn at random
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    queries: u16,
    /// Also write filters.png: the filters of the first layer
    #[arg(long)]
    filters: bool,
}

pub(super) fn run(args: &FeatureArgs) -> Result<CommandOutput> {
    let usage = |message: String| Usage(message);
    args.network.check_layers().map_err(usage)?;
    let folder = &args.output.out;
    let inputs = inputs::expand(&args.inputs, args.recursive, folder).map_err(|e| usage(e.to_string()))?;
    let options = args.options();
    let outputs = options.outputs();
    let outputs: Vec<&Path> = outputs.iter().map(PathBuf::as_path).collect();
    plan::check_outputs(&outputs, &inputs, args.output.overwrite).map_err(|e| usage(e.to_string()))?;
    threads::set(args.threads)?;
    let device = args.device.open(Compute::default())?;
    let weights = args.network.weights(args.seed)?;
    let network = FrozenNetwork::open(&weights, &args.network.layers, &device).map_err(|error| {
        error
            .downcast::<UnknownLayer>()
            .map_or_else(|other| other, |unknown| Usage(unknown.to_string()).into())
    })?;
    let side = options.side(&network);
    network.network().summary((side, side)).map_err(|e| usage(e.to_string()))?;
    let summary = features::run(&network, &inputs, &options, &device)?;
    Ok(CommandOutput { text: summary.to_string(), exit: u8::from(!summary.failed.is_empty()) })
}

impl NetworkArgs {
    fn check_layers(&self) -> Result<(), String> {
        let repeated = |(at, layer): &(usize, &String)| self.layers[..*at].contains(layer);
        match self.layers.iter().enumerate().find(repeated) {
            Some((_, layer)) => Err(format!("--layers names {layer} twice")),
            None => Ok(()),
        }
    }

    fn weights(&self, seed: u64) -> Result<StartingWeights> {
        let backbone = self.backbone.as_deref().map(|yaml| spec::option("backbone", yaml)).transpose()?;
        Ok(match (&self.weights, &self.init, backbone) {
            (None, Some(init), Some(backbone)) => {
                StartingWeights::Random { backbone, init: spec::option("init", init)?, seed }
            }
            (Some(file), _, backbone) => StartingWeights::File(weight_source::locate(file)?, backbone),
            _ => return Err(Usage("give --weights, or --init with --backbone".into()).into()),
        })
    }
}

impl ViewArgs {
    /// Short side to which pictures are scaled before they are squashed; None: they are cropped.
    fn squash(&self) -> Option<Pixels> {
        let usual = FeatureSpec::default().squash.filter(|_| !self.crop)?;
        Some(self.size.filter(|size| size.get() > usual.get()).unwrap_or(usual))
    }

    /// A mean is a grid of one cell, and a whole map the largest grid.
    fn pooling(&self) -> (Protocol, Count) {
        match self.pool {
            PoolArg::Mean => (Protocol::Avgpool, Count::of(1)),
            PoolArg::Avgpool => (Protocol::Avgpool, self.dimensions),
            PoolArg::Bilinear => (Protocol::Bilinear, self.dimensions),
            PoolArg::None => (Protocol::Avgpool, Count::of(usize::MAX)),
        }
    }
}

impl FeatureArgs {
    fn options(&self) -> FeatureOptions {
        let Self { output, view, seed, .. } = self;
        let (protocol, dimensions) = view.pooling();
        let layers = self.network.layers.clone();
        let neighbors = output.neighbors.map(|count| NeighborOptions {
            count: count.into(),
            queries: output.queries.into(),
            seed: *seed,
        });
        FeatureOptions {
            folder: output.out.clone(),
            features: FeatureSpec { layers, protocol, dimensions, squash: view.squash() },
            side: view.size.map(Count::get),
            batch: view.batch.get(),
            threads: self.threads.map(usize::from),
            table: output.parquet,
            neighbors,
            filters: output.filters,
        }
    }
}
