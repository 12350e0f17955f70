//! `colorize`: colorizes black-and-white photographs.

use super::{
    device::DeviceArgs, failure::Usage, model::number, out, output::CommandOutput, threads,
    weight_choices::choices,
};
use crate::{
    bounded::{Pixels, Positive},
    color::{decode::Decode, gamut::Gamut, gray::Gray},
    colorize::{
        batch,
        encoding::ImageFormat,
        hints::{self, HintFiles},
        inputs,
        picture::{InputSize, Options},
        plan::{self, OutputOptions},
    },
    device::Compute,
    pretext::colorizer::{Colorizer, ColorizerSpec, OutputKind, Upsampling},
    weight_source,
};
use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(super) struct ColorizeArgs {
    /// Photographs, folders, or quoted patterns ('old/*.jpg'). An existing file takes precedence over a pattern
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Colorizer weights: a released colorizer by name (see `hueristic weights list`; downloaded once), a run directory, a
    /// weight file (.safetensors, .pth, .caffemodel), a checkpoint, or hf://OWNER/REPO/FILE[@REVISION]. Without it, lists the
    /// released colorizers and the runs here
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<PathBuf>,
    /// Color hints, for weights that take them (siggraph17): a .csv or .yaml file, or for several photographs a folder of
    /// files with their names. Lines are x,y,#RRGGBB or x,y,a,b in pixels of the photograph, with a radius if you like
    #[arg(long, value_name = "FILE|DIR")]
    hints: Option<PathBuf>,
    /// Include subfolders; results keep their subfolders
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    extras: ExtraArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compute threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Output folder; results keep the names of their originals
    #[arg(long, value_name = "DIR", default_value = "colorized", value_parser = out::path())]
    out: PathBuf,
    /// Output format [default: the original's if it is one of these, else png]
    #[arg(long, value_enum, value_name = "KIND")]
    format: Option<FormatArg>,
    /// JPEG quality, 1 to 100
    #[arg(long, value_name = "Q", default_value_t = 92, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Replace existing results (originals are never replaced)
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args, Debug)]
struct ViewArgs {
    /// Short side of the network's input, or `full` (needs many GB for large photographs). Results always have the
    /// size of their originals [default: that of the pictures in the weights' training, 256 for released weights]
    #[arg(long, value_name = "N|full", value_parser = size)]
    size: Option<InputSize>,
    /// Gray value that the network sees and the result preserves: L of Lab, (R+G+B)/3, or Y of YUV [default: that of the
    /// weights, mostly L]
    #[arg(long, value_enum)]
    gray: Option<GrayArg>,
    /// Colors that sRGB cannot show: `chroma` keeps their lightness and hue and takes chroma away, `clip` cuts off each
    /// channel, as the authors' release does
    #[arg(long, value_enum, default_value_t)]
    gamut: GamutArg,
    /// Decoding of the predicted distribution
    #[arg(long, value_enum, default_value_t)]
    decode: DecodeArg,
    /// Upsampling of the predicted colors: one bilinear resize, or two by way of the network's input size, as in the
    /// authors' release [default: two-step for released weights, else direct]
    #[arg(long, value_enum, value_name = "HOW")]
    upsample: Option<UpsampleArg>,
    /// Temperature of the annealed mean: near 0 is more vivid, 1 is the mean [default: that of the weights; 0.38 in
    /// the paper]
    #[arg(long, value_name = "T", value_parser = number::<Positive>)]
    temperature: Option<Positive>,
}

#[derive(Args, Debug)]
struct ExtraArgs {
    /// Also write OUT-montages/STEM.png: gray, colorized, and the original if it has color
    #[arg(long)]
    montage: bool,
    /// Also write OUT-distributions/STEM.png: probability maps of the predicted colors
    #[arg(long)]
    distribution: bool,
    /// Also write STEM-logits.npy: the network's output, float32 (h, w, bins)
    #[arg(long)]
    save_logits: bool,
    /// Write full-size ab before clipping, float32 (H, W, 2). `{stem}` is replaced by the picture's name and is
    /// required for several pictures
    #[arg(long, value_name = "FILE.npy")]
    save_ab: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    Png,
    Jpg,
    Webp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GrayArg {
    L,
    Average,
    Luma,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum GamutArg {
    #[default]
    Chroma,
    Clip,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
enum DecodeArg {
    #[default]
    Annealed,
    Mean,
    Mode,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UpsampleArg {
    Direct,
    TwoStep,
}

fn size(text: &str) -> Result<InputSize, String> {
    if text == "full" {
        return Ok(InputSize::Full);
    }
    number::<Pixels>(text).map(|n| InputSize::Short(n.get())).map_err(|e| format!("{e}, or `full`"))
}

pub(super) fn run(args: &ColorizeArgs) -> Result<CommandOutput> {
    let usage = |message: String| Usage(message);
    let Some(given) = &args.weights else { return Err(Usage(choices(&args.inputs[0])?).into()) };
    args.check_decoding().map_err(usage)?;
    let output_options = args.output_options();
    let inputs = inputs::expand(&args.inputs, args.recursive, &output_options.folder);
    let inputs = inputs.map_err(|e| usage(e.to_string()))?;
    let jobs = plan::plan(&inputs, &output_options).map_err(|e| usage(e.to_string()))?;
    let hints = args.hints.as_ref().map(|path| hints::open(path, &inputs)).transpose();
    let hints = hints.map_err(|e| usage(e.to_string()))?.unwrap_or_default();
    threads::set(args.threads)?;
    let device = args.device.open(Compute::default())?;
    let weights = weight_source::locate(given)?;
    let open = || {
        let (colorizer, spec) = Colorizer::open(&weights, &device)?;
        args.check_output(given, colorizer.output()).map_err(usage)?;
        args.check_hints(given, &hints, &colorizer).map_err(usage)?;
        let options = args.options(&colorizer, &*spec, &device);
        Ok((colorizer, options))
    };
    let summary = batch::run(&jobs, &hints, open, args.output.quality)?;
    Ok(CommandOutput { text: summary.to_string(), exit: u8::from(!summary.failed.is_empty()) })
}

impl ColorizeArgs {
    fn check_decoding(&self) -> Result<(), String> {
        if self.view.temperature.is_some() && self.view.decode != DecodeArg::Annealed {
            return Err("--temperature requires --decode annealed; remove one of the two".into());
        }
        match &self.extras.save_ab {
            Some(file) if !file.ends_with(".npy") => {
                Err(format!("--save-ab {file}: name a file that ends in .npy, as in 'ab/{{stem}}.npy'"))
            }
            _ => Ok(()),
        }
    }

    /// Rejects options that require a distribution if the network predicts none.
    fn check_output(&self, weights: &Path, output: &OutputKind) -> Result<(), String> {
        if matches!(output, OutputKind::Distribution(_)) {
            return Ok(());
        }
        let asked = [
            ("--temperature", self.view.temperature.is_some()),
            ("--decode", self.view.decode != DecodeArg::Annealed),
            ("--distribution", self.extras.distribution),
            ("--save-logits", self.extras.save_logits),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((option, _)) => Err(format!(
                "{} predicts one color per pixel, not a distribution: remove {option}",
                weights.display()
            )),
            None => Ok(()),
        }
    }

    /// Rejects hints for a network that takes none.
    fn check_hints(&self, weights: &Path, hints: &HintFiles, colorizer: &Colorizer) -> Result<(), String> {
        if hints.is_empty() || colorizer.takes_hints() {
            return Ok(());
        }
        Err(format!(
            "{} takes no color hints: remove --hints, or give weights of siggraph17",
            weights.display()
        ))
    }

    fn output_options(&self) -> OutputOptions {
        OutputOptions {
            folder: self.output.out.clone(),
            format: self.output.format.map(|format| match format {
                FormatArg::Png => ImageFormat::Png,
                FormatArg::Jpg => ImageFormat::Jpeg,
                FormatArg::Webp => ImageFormat::WebP,
            }),
            overwrite: self.output.overwrite,
            montage: self.extras.montage,
            distribution: self.extras.distribution,
            logits: self.extras.save_logits,
            ab: self.extras.save_ab.clone(),
        }
    }

    fn options(&self, colorizer: &Colorizer, spec: &dyn ColorizerSpec, device: &Device) -> Options {
        let usual = Options::of(colorizer, spec, device);
        let decode = match (self.view.decode, self.view.temperature) {
            (DecodeArg::Mean, _) => Decode::Mean,
            (DecodeArg::Mode, _) => Decode::Mode,
            (DecodeArg::Annealed, Some(t)) => Decode::Annealed(t.get() as f32),
            (DecodeArg::Annealed, None) => usual.decode,
        };
        let gray = self.view.gray.map_or(usual.gray, |gray| match gray {
            GrayArg::L => Gray::Lightness,
            GrayArg::Average => Gray::Average,
            GrayArg::Luma => Gray::Luma,
        });
        let upsampling = self.view.upsample.map(|how| match how {
            UpsampleArg::Direct => Upsampling::Direct,
            UpsampleArg::TwoStep => Upsampling::TwoStep,
        });
        let gamut = match self.view.gamut {
            GamutArg::Chroma => Gamut::Chroma,
            GamutArg::Clip => Gamut::Clip,
        };
        Options { size: self.view.size.unwrap_or(usual.size), gray, gamut, decode, upsampling, ..usual }
    }
}
