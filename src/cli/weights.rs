//! `weights`: inspects and converts weight files. `push` and the editing commands (`init`, `rescale`, …) have files of
//! their own.

use super::{
    export::{self, ExportArgs},
    failure::Usage,
    output::CommandOutput,
    push::{self, PushArgs},
    surgery::{self, InOut, InitArgs, RescaleArgs},
    weight_choices::{self, ListArgs},
};
use crate::{
    backbones::exchange::{self, Architecture, Layout, Missing, WeightFile},
    nn::weights::{self, Contents, Format, SeveralNetworks, dims_in_file},
    pretext::trained_file,
    text::counted,
    weight_source,
};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use clap::{Args, Subcommand, ValueEnum};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

#[derive(Debug, Subcommand)]
pub(super) enum Weights {
    /// List the released colorizers that `--weights NAME` downloads
    #[command(after_help = "Example:\n  hueristic weights list")]
    List(ListArgs),
    /// List a file's tensors with shapes and statistics, its format, layout and header
    #[command(
        after_help = "Example:\n  hueristic weights inspect results/runs/quickstart/colorization-s0/weights.safetensors"
    )]
    Inspect {
        /// A safetensors file, PyTorch state dict or Caffe model, a run directory, a released colorizer by name, or
        /// hf://OWNER/REPO/FILE[@REVISION]. FILE#KEY selects one of several networks in a file. Convolutions are shown as
        /// (O, I, H, W)
        file: PathBuf,
    },
    /// Convert weights to another naming layout or file format
    #[command(
        after_help = "Example:\n  hueristic weights convert colorization_release_v2.pth colorizer.safetensors\n  \
                            hueristic weights convert weights.safetensors weights.caffemodel"
    )]
    Convert(ConvertArgs),
    /// Write a backbone as an ONNX model, which other programs run
    #[command(
        after_help = "Example:\n  hueristic weights export weights.safetensors conv5.onnx --layers conv5\n  \
                            hueristic weights export classifier.safetensors classifier.onnx --head"
    )]
    Export(ExportArgs),
    /// Initialize a network's weights from pictures: k-means or similar filters, then unit variance layer by layer
    #[command(
        after_help = "Example:\n  hueristic weights init experiments/tiny/quickstart.yaml --out kmeans.safetensors"
    )]
    Init(InitArgs),
    /// Fold batch normalization into the preceding convolutions
    #[command(after_help = "Example:\n  hueristic weights absorb weights.safetensors absorbed.safetensors")]
    Absorb(InOut),
    /// Rescale the layers of trained weights for fine-tuning, with batch normalization absorbed
    #[command(after_help = "Example:\n  hueristic weights rescale weights.safetensors rescaled.safetensors \
                      --pictures experiments/tiny/quickstart.yaml")]
    Rescale(RescaleArgs),
    /// Extend lightness weights to Lab, with zero weights for a and b
    #[command(
        alias = "colour",
        after_help = "Example:\n  hueristic weights color weights.safetensors lab.safetensors"
    )]
    Color(InOut),
    /// Convert fully connected layers to matrices
    #[command(after_help = "Example:\n  hueristic weights fc weights.safetensors matrices.safetensors")]
    Fc(InOut),
    /// Convert fully connected layers to convolutions, the form that the networks here use
    #[command(after_help = "Example:\n  hueristic weights conv matrices.safetensors weights.safetensors")]
    Conv(InOut),
    /// Upload a finished run's weights to the Hugging Face hub, with a model card
    #[command(after_help = "Needs a token with write permission in HF_TOKEN \
                            (https://huggingface.co/settings/tokens); --dry-run needs none.\n\n\
                            Example:\n  hueristic weights push results/runs/quickstart/colorization-s0-0123456789ab \
                            hf://OWNER/REPO --license cc-by-4.0 --dry-run")]
    Push(PushArgs),
}

#[derive(Args, Debug)]
pub(super) struct ConvertArgs {
    /// Weights: a file in any format and layout that `inspect` recognizes, a run directory, or a released colorizer by name.
    /// FILE#KEY selects one of several networks in a file
    input: PathBuf,
    /// The file to write; the extension selects the format: .safetensors, .pth or .pt, .caffemodel
    output: PathBuf,
    /// Naming layout [default: ours for .safetensors; caffe for .caffemodel; for .pth eccv16, siggraph17, torchvision or ours,
    /// depending on the network]
    #[arg(long, value_enum)]
    layout: Option<LayoutArg>,
    /// Replace an existing output file
    #[arg(long)]
    overwrite: bool,
    /// Use 0 for missing biases that the layout requires, and list all that is missing
    #[arg(long)]
    allow_missing: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutArg {
    /// The layer names of this program
    Ours,
    /// The PyTorch release of the VGG colorizer
    Eccv16,
    /// The PyTorch release of the colorizer with hints
    Siggraph17,
    /// The Caffe releases of the colorizers, VGG-16 and CaffeNet
    Caffe,
    /// torchvision's VGG-16, AlexNet, and ResNets, which are timm's too
    Torchvision,
}

impl From<LayoutArg> for Layout {
    fn from(layout: LayoutArg) -> Self {
        match layout {
            LayoutArg::Ours => Self::Ours,
            LayoutArg::Eccv16 => Self::Eccv16,
            LayoutArg::Siggraph17 => Self::Siggraph17,
            LayoutArg::Caffe => Self::Caffe,
            LayoutArg::Torchvision => Self::Torchvision,
        }
    }
}

pub(super) fn run(verb: Weights) -> Result<CommandOutput> {
    match verb {
        Weights::List(args) => weight_choices::list(&args),
        Weights::Inspect { file } => inspect(&file),
        Weights::Push(args) => push::run(&args),
        Weights::Export(args) => export::export(&args),
        Weights::Init(args) => surgery::init(&args),
        Weights::Absorb(files) => surgery::absorb(&files),
        Weights::Rescale(args) => surgery::rescale(&args),
        Weights::Color(files) => surgery::color(&files),
        Weights::Fc(files) => surgery::fc(&files),
        Weights::Conv(files) => surgery::conv(&files),
        Weights::Convert(args) => convert(&args),
    }
}

fn inspect(file: &Path) -> Result<CommandOutput> {
    let contents = match weights::contents(&weight_source::locate(file)?) {
        Ok(contents) => contents,
        // A file with several networks: list them.
        Err(error) => match error.downcast_ref::<SeveralNetworks>() {
            Some(several) => return Ok(CommandOutput::ok(format!("{}\n{several}", file.display()))),
            None => return Err(error),
        },
    };
    let Contents { format, tensors, metadata, unread, notes } = &contents;
    let width = tensors.keys().chain(unread.keys()).map(String::len).max().unwrap_or(0);
    let mut text = format!("{}\nformat: {format}\nlayout: {}\n", file.display(), layout(&contents));
    notes.iter().try_for_each(|note| writeln!(text, "note: {note}"))?;
    let mut total = 0;
    for (name, tensor) in tensors {
        total += tensor.elem_count();
        let (mean, std, broken) = statistics(tensor)?;
        let shape = dims_in_file(tensor.dims()).iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
        let dtype = tensor.dtype().as_str();
        write!(text, "  {name:width$}  {shape:>16}  {dtype}  mean {mean:>10.3e}  std {std:>9.3e}")?;
        if broken > 0 {
            write!(text, "  {broken} not finite")?;
        }
        text.push('\n');
    }
    unread.iter().try_for_each(|(name, why)| writeln!(text, "  {name:width$}  not read: {why}"))?;
    writeln!(text, "{}, {total} numbers", counted(tensors.len(), "tensor"))?;
    for (key, value) in metadata {
        writeln!(text, "header {key}:\n    {}", indented(value))?;
    }
    Ok(CommandOutput::ok(text))
}

/// Describes the recognized layout.
fn layout(contents: &Contents) -> String {
    match exchange::recognized(contents) {
        Ok(Some((layout, architecture))) => format!("{layout} ({architecture})"),
        Ok(None) if contents.metadata.contains_key("backbone") => Layout::Ours.to_string(),
        Ok(None) => "not recognized".into(),
        Err(error) => format!("not usable: {error}"),
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// Mean and standard deviation of the finite values, and the number of non-finite ones.
fn statistics(tensor: &Tensor) -> Result<(f64, f64, usize)> {
    let all = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let finite: Vec<f64> = all.iter().copied().filter(|v| v.is_finite()).collect();
    let count = finite.len().max(1) as f64;
    let mean = finite.iter().sum::<f64>() / count;
    let variance = finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    Ok((mean, variance.sqrt(), all.len() - finite.len()))
}

fn convert(args: &ConvertArgs) -> Result<CommandOutput> {
    let ConvertArgs { input, output, layout, overwrite, allow_missing } = args;
    let format = format_of(output)?;
    if same_file(input, output) {
        return Err(
            Usage(format!("{} is both input and output: give another output", output.display())).into()
        );
    }
    if output.exists() && !overwrite {
        return Err(Usage(format!("{} exists: give --overwrite to replace it", output.display())).into());
    }
    let missing = if *allow_missing { Missing::Allowed } else { Missing::Refused };
    let mut file = exchange::open_with(&weight_source::locate(input)?, missing)?;
    trained_file::complete(&mut file)?;
    let layout = layout.map_or_else(|| usual_layout(format, &file), Layout::from);
    let notes = exchange::save(&file, layout, format, output)
        .with_context(|| format!("cannot convert {} to {}", input.display(), output.display()))?;
    let written = weights::contents(output)?;
    Ok(CommandOutput::ok(describe_conversion(args, &file, (layout, &written), &notes)?))
}

fn format_of(path: &Path) -> Result<Format, Usage> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("safetensors") => Ok(Format::Safetensors),
        Some("pth" | "pt") => Ok(Format::Pytorch),
        Some("caffemodel") => Ok(Format::Caffe),
        _ => Err(Usage(format!(
            "{} has no known extension: use .safetensors, .pth, .pt or .caffemodel",
            path.display()
        ))),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    let (a, _) = weights::split(a);
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// The default layout of a format, as other programs expect it.
fn usual_layout(format: Format, file: &WeightFile) -> Layout {
    let grouped =
        |t: &Tensor| file.tensors.get("conv1.weight").map(|c| c.dims()[0]) != t.dims().last().copied();
    match (format, file.architecture) {
        (Format::Safetensors, _) => Layout::Ours,
        (Format::Caffe, _) => Layout::Caffe,
        (Format::Pytorch, Some(Architecture::VggColorizer)) => Layout::Eccv16,
        (Format::Pytorch, Some(Architecture::Siggraph17)) => Layout::Siggraph17,
        (Format::Pytorch, Some(Architecture::Vgg16)) => Layout::Torchvision,
        (Format::Pytorch, Some(Architecture::Resnet)) if file.tensors.contains_key("bn1.running_mean") => {
            Layout::Torchvision
        }
        (Format::Pytorch, Some(Architecture::Alexnet))
            if !file.tensors.get("conv2.weight").is_some_and(grouped) =>
        {
            Layout::Torchvision
        }
        (Format::Pytorch, _) => Layout::Ours,
    }
}

fn describe_conversion(
    args: &ConvertArgs,
    file: &WeightFile,
    (layout, written): (Layout, &Contents),
    notes: &[String],
) -> Result<String> {
    let network = file.architecture.map_or("unknown network".into(), |a| a.to_string());
    let mut text = format!("{network}\n");
    writeln!(text, "  from {}: {}, layout {}", args.input.display(), file.format, file.layout)?;
    writeln!(
        text,
        "  to {}: {}, layout {layout}, {}",
        args.output.display(),
        written.format,
        counted(written.tensors.len(), "tensor")
    )?;
    if let [(first, ours), ..] = &file.renamed[..] {
        let renamed = counted(file.renamed.len(), "tensor");
        writeln!(text, "  {renamed} renamed on reading, such as {first} → {ours}")?;
    }
    file.notes.iter().try_for_each(|note| writeln!(text, "  reading: {note}"))?;
    notes.iter().try_for_each(|note| writeln!(text, "  writing: {note}"))?;
    for key in ["backbone", "colorization", "siggraph17"] {
        if let Some(yaml) = written.metadata.get(key) {
            writeln!(text, "header {key}:\n    {}", indented(yaml))?;
        }
    }
    Ok(text)
}
