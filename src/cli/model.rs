//! `model`: a network's layer table with shapes, parameters and multiply-accumulates.

use super::output::CommandOutput;
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        alexnet::{AlexNetSpec, Stem},
        alexnet_conventions::Preset,
        dahl::DahlSpec,
        iizuka::IizukaSpec,
        input::Input,
        larsson::LarssonSpec,
        resnet::{self, Depth, ResNetSpec},
        siggraph17::Siggraph17Spec,
        summary::Summary,
        vgg::VggSpec,
        vgg16::Vgg16Spec,
    },
    bounded::{Channels, Count, Pixels, Positive},
    pretext::colorizer_file::usual_task,
};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(super) enum Model {
    /// AlexNet in its pretext or transfer variant
    #[command(
        after_help = "Example:\n  hueristic model alexnet\n  hueristic model alexnet --graph transfer\n  \
                            hueristic model alexnet --graph transfer --preset caffenet\n  \
                            hueristic model alexnet --stem small --width 0.5 --size 32"
    )]
    Alexnet(AlexNetArgs),
    /// The paper's VGG-style colorizer
    #[command(
        after_help = "Example:\n  hueristic model vgg\n  hueristic model vgg --width 0.25 --size 96\n  \
                            hueristic model vgg --narrow --deep-supervision"
    )]
    Vgg(VggArgs),
    /// VGG-16, the classifier of recolored pictures
    #[command(
        after_help = "Example:\n  hueristic model vgg16\n  hueristic model vgg16 --width 0.05 --crop 32 --outputs 10"
    )]
    Vgg16(Vgg16Args),
    /// ResNet-18 to ResNet-152
    #[command(after_help = "Example:\n  hueristic model resnet --depth 50\n  \
                            hueristic model resnet --graph pretext --stem small --width 0.25 --size 32")]
    Resnet(ResNetArgs),
    /// The colorizer with hints of Zhang et al. (2017)
    #[command(
        after_help = "Example:\n  hueristic model siggraph17\n  hueristic model siggraph17 --width 0.125 --size 64"
    )]
    Siggraph17(ColorizerArgs),
    /// The residual encoder of Dahl (2016), a colorizer
    #[command(after_help = "Example:\n  hueristic model dahl --width 0.25")]
    Dahl(ColorizerArgs),
    /// The colorizer with local and global features of Iizuka et al. (2016), without its classifier
    #[command(after_help = "Example:\n  hueristic model iizuka --width 0.25")]
    Iizuka(ColorizerArgs),
    /// The hypercolumn colorizer of Larsson et al. (2016)
    #[command(after_help = "Example:\n  hueristic model larsson --width 0.25 --size 64")]
    Larsson(ColorizerArgs),
}

#[derive(Args, Debug)]
pub(super) struct ColorizerArgs {
    /// Input side in pixels [default: that of the training]
    #[arg(long, value_name = "N", value_parser = number::<Pixels>)]
    size: Option<Pixels>,
    /// Factor on every hidden channel count
    #[arg(long, value_name = "W", default_value = "1", value_parser = number::<Positive>)]
    width: Positive,
}

#[derive(Args, Debug)]
pub(super) struct ResNetArgs {
    /// Depth: 18, 34, 50, 101 or 152
    #[arg(long, value_name = "N", default_value = "18", value_parser = depth)]
    depth: Depth,
    /// Pretext: dense prediction, dilated instead of strided. Transfer: the classifier used for probes and transfer
    #[arg(long, value_enum, default_value = "transfer")]
    graph: GraphArg,
    /// Input side in pixels [default: 224, 32 for the small stem]
    #[arg(long, value_name = "N", value_parser = number::<Pixels>)]
    size: Option<Pixels>,
    /// Factor on every hidden channel count
    #[arg(long, value_name = "W", default_value = "1", value_parser = number::<Positive>)]
    width: Positive,
    /// First layer: for photographs, or for pictures of about 32 pixels
    #[arg(long, value_enum, default_value_t)]
    stem: StemArg,
    /// Omit batch normalization, as for feature extraction
    #[arg(long)]
    absorbed: bool,
    /// Channels of the last layer [default: 313 colors for pretext, 1000 classes for transfer]
    #[arg(long, value_name = "N", value_parser = number::<Channels>)]
    outputs: Option<Channels>,
}

/// Number of ImageNet classes.
const CLASSES: usize = 1000;

fn depth(text: &str) -> Result<Depth, String> {
    text.parse::<usize>().map_err(|_| format!("`{text}` is not a number")).and_then(Depth::try_from)
}

#[derive(Args, Debug)]
pub(super) struct Vgg16Args {
    /// Side of the classified square in pixels; fc6 covers the whole remaining map
    #[arg(long, value_name = "N", default_value = "224", value_parser = number::<Pixels>)]
    crop: Pixels,
    /// Factor on every hidden channel count
    #[arg(long, value_name = "W", default_value = "1", value_parser = number::<Positive>)]
    width: Positive,
    /// Channels of fc6 and fc7 [default: 4096 times the width]
    #[arg(long, value_name = "N", value_parser = number::<Channels>)]
    fc: Option<Channels>,
    /// Number of classes
    #[arg(long, value_name = "N", default_value = "1000", value_parser = number::<Channels>)]
    outputs: Channels,
}

#[derive(Args, Debug)]
pub(super) struct VggArgs {
    /// Input side in pixels
    #[arg(long, value_name = "N", default_value = "176", value_parser = number::<Pixels>)]
    size: Pixels,
    /// Factor on every hidden channel count
    #[arg(long, value_name = "W", default_value = "1", value_parser = number::<Positive>)]
    width: Positive,
    /// 256 channels in conv7 and 128 in conv8, as in the paper's figure
    #[arg(long)]
    narrow: bool,
    /// Additional heads on conv5, conv6 and conv7, as in the first release
    #[arg(long)]
    deep_supervision: bool,
    /// Channels of the last layer
    #[arg(long, value_name = "N", default_value = "313", value_parser = number::<Channels>)]
    outputs: Channels,
}

#[derive(Args, Debug)]
pub(super) struct AlexNetArgs {
    /// Pretext: the padded colorizer. Transfer: the unpadded network used for probes and transfer
    #[arg(long, value_enum, default_value_t)]
    graph: GraphArg,
    /// Input side in pixels [default: 180 for pretext, 227 for transfer, 32 for the small stem]
    #[arg(long, value_name = "N", value_parser = number::<Pixels>)]
    size: Option<Pixels>,
    /// Factor on every hidden channel count
    #[arg(long, value_name = "W", default_value = "1", value_parser = number::<Positive>)]
    width: Positive,
    /// First layer: for photographs, or for pictures of about 32 pixels
    #[arg(long, value_enum, default_value_t)]
    stem: StemArg,
    /// Conventions of a released AlexNet: input, response normalization, stride, groups, channels and leaks
    #[arg(long, value_name = "NAME", default_value = "zhang", value_parser = preset)]
    preset: Preset,
    /// Channels of fc6 and fc7 [default: 4096 times the width]
    #[arg(long, value_name = "N", value_parser = number::<Channels>)]
    fc: Option<Channels>,
    /// Channels of the last layer [default: 313 colors for pretext, none for transfer]
    #[arg(long, value_name = "N", value_parser = number::<Channels>)]
    outputs: Option<Channels>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
enum GraphArg {
    #[default]
    Pretext,
    Transfer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
enum StemArg {
    #[default]
    Standard,
    Small,
}

/// Number of bins of the paper's grid.
const COLORS: usize = 313;

/// Parses a number into a range-checked type.
pub(super) fn number<T: TryFrom<f64, Error: ToString>>(text: &str) -> Result<T, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    T::try_from(value).map_err(|e| e.to_string())
}

/// Parses a preset by its name in specs.
fn preset(text: &str) -> Result<Preset, String> {
    let known = Preset::ALL.map(Preset::name).join(", ");
    let found = Preset::ALL.into_iter().find(|preset| preset.name() == text);
    found.ok_or_else(|| format!("there is no preset `{text}`; the presets are {known}"))
}

pub(super) fn run(verb: Model) -> Result<CommandOutput> {
    match verb {
        Model::Alexnet(args) => alexnet(&args),
        Model::Vgg(args) => vgg(&args),
        Model::Vgg16(args) => vgg16(&args),
        Model::Resnet(args) => resnet(&args),
        Model::Siggraph17(ColorizerArgs { size, width }) => {
            let spec = Siggraph17Spec { width, ..Siggraph17Spec::default() };
            colorizer(&BackboneSpec::Siggraph17(spec), size)
        }
        Model::Dahl(ColorizerArgs { size, width }) => {
            colorizer(&BackboneSpec::Dahl(DahlSpec { width, ..DahlSpec::default() }), size)
        }
        Model::Iizuka(ColorizerArgs { size, width }) => {
            // The global stream sees pictures of that size.
            let crop = size.unwrap_or(IizukaSpec::default().crop);
            colorizer(&BackboneSpec::Iizuka(IizukaSpec { width, crop, ..IizukaSpec::default() }), size)
        }
        Model::Larsson(ColorizerArgs { size, width }) => {
            colorizer(&BackboneSpec::Larsson(LarssonSpec { width, ..LarssonSpec::default() }), size)
        }
    }
}

/// The network of one colorizer, as its task builds it.
fn colorizer(spec: &BackboneSpec, size: Option<Pixels>) -> Result<CommandOutput> {
    let side = size.map_or_else(|| spec.crop(), Count::get);
    Ok(CommandOutput::ok(Summary::of(&spec.table(&usual_task(spec).build()), (side, side))?))
}

fn resnet(args: &ResNetArgs) -> Result<CommandOutput> {
    let pretext = args.graph == GraphArg::Pretext;
    let stem =
        if args.stem == StemArg::Small { resnet::ResNetStem::Small } else { resnet::ResNetStem::Standard };
    let (depth, width) = (args.depth, args.width);
    let input = if pretext { Input::Lightness } else { Input::RgbUnit };
    let spec = BackboneSpec::Resnet(ResNetSpec { depth, stem, width, input, ..ResNetSpec::default() });
    let outputs = args.outputs.map_or(if pretext { COLORS } else { CLASSES }, Count::get);
    let build = Build {
        variant: if pretext { Variant::Pretext } else { Variant::Transfer },
        batch_norm: !args.absorbed,
        outputs: Some(outputs),
        ..spec.plain()
    };
    let side = args.size.map_or_else(|| spec.crop(), Count::get);
    Ok(CommandOutput::ok(Summary::of(&spec.table(&build), (side, side))?))
}

fn vgg(args: &VggArgs) -> Result<CommandOutput> {
    let VggArgs { width, narrow, deep_supervision, .. } = *args;
    let spec = BackboneSpec::Vgg(VggSpec { width, narrow, deep_supervision, ..VggSpec::default() });
    let build = Build {
        variant: Variant::Pretext,
        batch_norm: true,
        input_channels: 1,
        outputs: Some(args.outputs.get()),
    };
    let side = args.size.get();
    Ok(CommandOutput::ok(Summary::of(&spec.table(&build), (side, side))?))
}

fn vgg16(args: &Vgg16Args) -> Result<CommandOutput> {
    let Vgg16Args { crop, width, fc, outputs } = *args;
    let spec = BackboneSpec::Vgg16(Vgg16Spec { crop, width, fc, ..Vgg16Spec::default() });
    let outputs = Some(outputs.get());
    let build = Build { variant: Variant::Transfer, batch_norm: false, input_channels: 3, outputs };
    Ok(CommandOutput::ok(Summary::of(&spec.table(&build), (crop.get(), crop.get()))?))
}

fn alexnet(args: &AlexNetArgs) -> Result<CommandOutput> {
    let pretext = args.graph == GraphArg::Pretext;
    let stem = if args.stem == StemArg::Small { Stem::Small } else { Stem::Standard };
    let spec =
        BackboneSpec::Alexnet(AlexNetSpec { stem, width: args.width, fc: args.fc, ..args.preset.spec() });
    let build = Build {
        variant: if pretext { Variant::Pretext } else { Variant::Transfer },
        batch_norm: pretext,
        input_channels: spec.input().channels(),
        outputs: args.outputs.map(Count::get).or(pretext.then_some(COLORS)),
    };
    let side = args.size.map_or_else(|| usual_side(args), Count::get);
    let summary = Summary::of(&spec.table(&build), (side, side))?;
    if args.preset == Preset::Zhang {
        return Ok(CommandOutput::ok(summary));
    }
    Ok(CommandOutput::ok(format!("{summary}\npreset {}: {}", args.preset, args.preset.conventions())))
}

fn usual_side(args: &AlexNetArgs) -> usize {
    match (args.stem, args.graph) {
        (StemArg::Small, _) => 32,
        (_, GraphArg::Pretext) => 180,
        (_, GraphArg::Transfer) if args.preset == Preset::Torchvision => 224,
        (_, GraphArg::Transfer) => 227,
    }
}
