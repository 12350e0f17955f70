//! `analyze`: the paper's analyses of a colorizer and of colors.

use super::{device::DeviceArgs, failure::Usage, model::number, out, output::CommandOutput, threads};
use crate::{
    analysis::{
        chart, color_prior, cues,
        output::AnalysisOutput,
        runtime::{self, RuntimeOptions},
        temperature,
    },
    bounded::{Count, Pixels, Positive},
    colorize::{
        inputs::{self, InputPicture},
        picture::{InputSize, Options},
        plan,
    },
    device::Compute,
    pretext::colorizer::{Colorizer, OutputKind},
    weight_source,
};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Analysis {
    /// The colors of pictures: bins, frequencies, weights of the loss (the paper's Figure 3)
    #[command(after_help = "Example:\n  hueristic analyze prior photos --recursive")]
    Prior(PriorArgs),
    /// Predictions from their mean to their mode (Figure 4)
    #[command(after_help = "Example:\n  hueristic analyze temperature photos --weights eccv16\n  \
                            hueristic analyze temperature 'photos/*.jpg' --weights weights.safetensors --temperatures 0.8,0.4,0.2")]
    Temperature(TemperatureArgs),
    /// Whether colors follow from low-level cues: the ColorChecker, and photographs with other lightness, contrast and
    /// sharpness (Figure 13)
    #[command(
        after_help = "Example:\n  hueristic analyze cues photos --weights eccv16\n  hueristic analyze cues --weights eccv16"
    )]
    Cues(CueArgs),
    /// Time of a picture, and size of the network (Table 5)
    #[command(after_help = "Example:\n  hueristic analyze runtime --weights eccv16 --threads 1 --published")]
    Runtime(RuntimeArgs),
}

#[derive(Args, Debug)]
pub(super) struct PriorArgs {
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Compute threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Args, Debug)]
pub(super) struct TemperatureArgs {
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// Temperatures between the mean and the mode, separated by commas [default: those of the paper]
    #[arg(long, value_name = "T", value_delimiter = ',', value_parser = number::<Positive>)]
    temperatures: Vec<Positive>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(super) struct CueArgs {
    /// Photographs, folders, or quoted patterns ('photos/*.jpg'); without any, the ColorChecker alone
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Include subfolders
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub(super) struct RuntimeArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// Number of times that the picture is colorized
    #[arg(long, value_name = "N", default_value = "10", value_parser = number::<Count>)]
    repeats: Count,
    /// Show published times below
    #[arg(long)]
    published: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
struct InputArgs {
    /// Photographs, folders, or quoted patterns ('photos/*.jpg'). An existing file takes precedence over a pattern
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Include subfolders
    #[arg(short, long)]
    recursive: bool,
}

#[derive(Args, Debug)]
struct NetworkArgs {
    /// Colorizer weights, as for `colorize`: a released colorizer by name, a run directory, a weight file, a checkpoint, or hf://…
    #[arg(long, value_name = "WEIGHTS")]
    weights: PathBuf,
    /// Short side of the network's input [default: that of the pictures in the weights' training, 256 for released weights]
    #[arg(long, value_name = "N", value_parser = number::<Pixels>)]
    size: Option<Pixels>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compute threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "analysis", value_parser = out::path())]
    out: PathBuf,
    /// Replace existing results (originals are never replaced)
    #[arg(long)]
    overwrite: bool,
}

pub(super) fn run(analysis: &Analysis) -> Result<CommandOutput> {
    match analysis {
        Analysis::Prior(args) => args.run(),
        Analysis::Temperature(args) => args.run(),
        Analysis::Cues(args) => args.run(),
        Analysis::Runtime(args) => args.run(),
    }
}

impl PriorArgs {
    fn run(&self) -> Result<CommandOutput> {
        let inputs = self.inputs.expand(&self.output)?;
        self.output.check(&color_prior::FILES, &inputs)?;
        threads::set(self.threads)?;
        self.output.write(&color_prior::run(&inputs)?)
    }
}

impl TemperatureArgs {
    fn run(&self) -> Result<CommandOutput> {
        let inputs = self.inputs.expand(&self.output)?;
        self.output.check(&temperature::FILES, &inputs)?;
        let (colorizer, options) = self.network.open()?;
        if !matches!(colorizer.output(), OutputKind::Distribution(_)) {
            let weights = self.network.weights.display();
            return Err(
                Usage(format!("{weights} predicts one color per pixel, which has no temperature")).into()
            );
        }
        let asked: Vec<f32> = self.temperatures.iter().map(|t| t.get() as f32).collect();
        let temperatures = if asked.is_empty() { &temperature::PAPER } else { &*asked };
        self.output.write(&temperature::run((&colorizer, &options), &inputs, temperatures)?)
    }
}

impl CueArgs {
    fn run(&self) -> Result<CommandOutput> {
        let inputs = inputs::expand(&self.inputs, self.recursive, &self.output.out);
        let inputs = inputs.map_err(|e| Usage(e.to_string()))?;
        let of_photographs = if inputs.is_empty() { &[][..] } else { &cues::FILES };
        self.output.check(&[&chart::FILES[..], of_photographs].concat(), &inputs)?;
        let (colorizer, options) = self.network.open()?;
        let mut output = AnalysisOutput::default();
        chart::add((&colorizer, &options), &mut output)?;
        if !inputs.is_empty() {
            output.text.push('\n');
            cues::add((&colorizer, &options), &inputs, &mut output)?;
        }
        self.output.write(&output)
    }
}

impl RuntimeArgs {
    fn run(&self) -> Result<CommandOutput> {
        self.output.check(&runtime::FILES, &[])?;
        let (colorizer, options) = self.network.open()?;
        let side = match options.size {
            InputSize::Short(side) => side,
            InputSize::Full => crate::colorize::picture::SHORT_SIDE,
        };
        let timing = RuntimeOptions { side, repeats: self.repeats, published: self.published };
        self.output.write(&runtime::run((&colorizer, &options), timing)?)
    }
}

impl InputArgs {
    fn expand(&self, output: &OutputArgs) -> Result<Vec<InputPicture>> {
        let inputs = inputs::expand(&self.inputs, self.recursive, &output.out);
        Ok(inputs.map_err(|e| Usage(e.to_string()))?)
    }
}

impl NetworkArgs {
    fn open(&self) -> Result<(Colorizer, Options)> {
        threads::set(self.threads)?;
        let device = self.device.open(Compute::default())?;
        let (colorizer, spec) = Colorizer::open(&weight_source::locate(&self.weights)?, &device)?;
        let usual = Options::of(&colorizer, &*spec, &device);
        let size = self.size.map_or(usual.size, |side| InputSize::Short(side.get()));
        Ok((colorizer, Options { size, ..usual }))
    }
}

impl OutputArgs {
    /// Refuses files that exist, before anything is computed.
    fn check(&self, files: &[&str], inputs: &[InputPicture]) -> Result<()> {
        if self.out.is_file() {
            return Err(Usage(format!("{} is a file; give --out a folder", self.out.display())).into());
        }
        let paths: Vec<PathBuf> = files.iter().map(|file| self.out.join(file)).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        Ok(plan::check_outputs(&paths, inputs, self.overwrite).map_err(|e| Usage(e.to_string()))?)
    }

    fn write(&self, output: &AnalysisOutput) -> Result<CommandOutput> {
        output.write(&self.out)?;
        let files: Vec<String> =
            output.files.iter().map(|(name, _)| self.out.join(name).display().to_string()).collect();
        let text = format!("{output}\nwrote {}", files.join(", "));
        Ok(CommandOutput { text, exit: u8::from(!output.failed.is_empty()) })
    }
}
