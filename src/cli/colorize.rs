//! `colorize`: black-and-white photographs in, colored ones out.

use super::{Done, device::DeviceArgs, failure::Usage, model::number, out, threads};
use crate::{
    bounded::{Pixels, Positive},
    color::decode::Decode,
    colorize::{
        batch,
        encoding::Format,
        inputs,
        picture::{Gray, Options, Size},
        plan::{self, Wanted},
    },
    device::Compute,
    hub,
    pretext::{
        colorization::ColorizationSpec,
        colorizer::{Colorizer, OutputKind, Upsampling},
    },
};
use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct ColorizeArgs {
    /// Photographs, folders of photographs, or quoted patterns ('old/*.jpg'); a file's own name goes before a pattern
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// A colorizer: a run's weights.safetensors, a released .pth or .caffemodel, or hf://OWNER/REPO/FILE[@REVISION]
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Look into the folders of a folder too; results keep their folders
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
    /// Computing threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Folder for the results, each called like its original
    #[arg(long, value_name = "DIR", default_value = "colorized", value_parser = out::path())]
    out: PathBuf,
    /// Kind of the results [default: as the original where it is one of these, else png]
    #[arg(long, value_enum, value_name = "KIND")]
    format: Option<FormatArg>,
    /// Quality of JPEG results, 1 to 100
    #[arg(long, value_name = "Q", default_value_t = 92, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Replace results that exist (an original never is)
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args, Debug)]
struct ViewArgs {
    /// Short side at which the network sees a picture, or `full` (needs many GB for large photographs); results are as
    /// large as their originals in any case
    #[arg(long, value_name = "N|full", default_value = "256", value_parser = size)]
    size: Size,
    /// Gray that the network sees and the result keeps: Lab's L, or (R+G+B)/3
    #[arg(long, value_enum, default_value_t)]
    gray: GrayArg,
    /// How a distribution becomes a color
    #[arg(long, value_enum, default_value_t)]
    decode: DecodeArg,
    /// How the network's colors become as large as the picture: bilinear once, or by way of the size that the network saw, as
    /// the authors' release does [default: two-step for released weights, else direct]
    #[arg(long, value_enum, value_name = "HOW")]
    upsample: Option<UpsampleArg>,
    /// Temperature of the annealed mean, towards 0 more vivid, 1 the mean [default: that of the weights; the paper's 0.38]
    #[arg(long, value_name = "T", value_parser = number::<Positive>)]
    temperature: Option<Positive>,
}

#[derive(Args, Debug)]
struct ExtraArgs {
    /// Beside each result STEM-montage.png: gray, colorized, and the original where it has color
    #[arg(long)]
    montage: bool,
    /// Beside each result STEM-distribution.png: how probable the network finds each color, and where
    #[arg(long)]
    distribution: bool,
    /// Beside each result STEM-logits.npy: the network's output, float32 (h, w, bins)
    #[arg(long)]
    save_logits: bool,
    /// Write ab at full size before clipping, float32 (H, W, 2); `{stem}` in the name stands for the picture's, and is
    /// needed for more than one
    #[arg(long, value_name = "FILE.npy")]
    save_ab: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    Png,
    Jpg,
    Webp,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum GrayArg {
    #[default]
    L,
    Average,
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

fn size(text: &str) -> Result<Size, String> {
    if text == "full" {
        return Ok(Size::Full);
    }
    number::<Pixels>(text).map(|n| Size::Short(n.get())).map_err(|e| format!("{e}, or `full`"))
}

pub(super) fn run(args: &ColorizeArgs) -> Result<Done> {
    let usage = |message: String| Usage(message);
    args.check_decoding().map_err(usage)?;
    let wanted = args.wanted();
    let inputs = inputs::expand(&args.inputs, args.recursive, &wanted.folder);
    let inputs = inputs.map_err(|e| usage(e.to_string()))?;
    let jobs = plan::plan(&inputs, &wanted).map_err(|e| usage(e.to_string()))?;
    threads::set(args.threads)?;
    let device = args.device.open(Compute::default())?;
    let (colorizer, spec) = Colorizer::open(&hub::locate(&args.weights)?, &device)?;
    args.check_output(colorizer.output()).map_err(usage)?;
    let summary = batch::run(&jobs, &colorizer, &args.options(&spec, &device), args.output.quality);
    Ok(Done { text: summary.to_string(), exit: u8::from(!summary.failed.is_empty()) })
}

impl ColorizeArgs {
    fn check_decoding(&self) -> Result<(), String> {
        if self.view.temperature.is_some() && self.view.decode != DecodeArg::Annealed {
            return Err("--temperature is that of --decode annealed; leave one of the two out".into());
        }
        match &self.extras.save_ab {
            Some(file) if !file.ends_with(".npy") => {
                Err(format!("--save-ab {file}: name a file that ends in .npy, as in 'ab/{{stem}}.npy'"))
            }
            _ => Ok(()),
        }
    }

    /// What makes sense of a distribution only is refused where there is none.
    fn check_output(&self, output: &OutputKind) -> Result<(), String> {
        let OutputKind::Ab = output else { return Ok(()) };
        let asked = [
            ("--temperature", self.view.temperature.is_some()),
            ("--decode", self.view.decode != DecodeArg::Annealed),
            ("--distribution", self.extras.distribution),
            ("--save-logits", self.extras.save_logits),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((option, _)) => Err(format!(
                "{} predicts one color a pixel, not a distribution: leave {option} out",
                self.weights.display()
            )),
            None => Ok(()),
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            folder: self.output.out.clone(),
            format: self.output.format.map(|format| match format {
                FormatArg::Png => Format::Png,
                FormatArg::Jpg => Format::Jpeg,
                FormatArg::Webp => Format::WebP,
            }),
            overwrite: self.output.overwrite,
            montage: self.extras.montage,
            distribution: self.extras.distribution,
            logits: self.extras.save_logits,
            ab: self.extras.save_ab.clone(),
        }
    }

    fn options(&self, spec: &ColorizationSpec, device: &Device) -> Options {
        let usual = Options::of(spec, device);
        let decode = match (self.view.decode, self.view.temperature) {
            (DecodeArg::Mean, _) => Decode::Mean,
            (DecodeArg::Mode, _) => Decode::Mode,
            (DecodeArg::Annealed, Some(t)) => Decode::Annealed(t.get() as f32),
            (DecodeArg::Annealed, None) => usual.decode,
        };
        let gray = match self.view.gray {
            GrayArg::L => Gray::Lightness,
            GrayArg::Average => Gray::Average,
        };
        let upsampling = self.view.upsample.map(|how| match how {
            UpsampleArg::Direct => Upsampling::Direct,
            UpsampleArg::TwoStep => Upsampling::TwoStep,
        });
        Options { size: self.view.size, gray, decode, upsampling, ..usual }
    }
}
