//! `model`: a network's layer table, with shapes, parameters and multiply-accumulates.

use super::Done;
use crate::{
    backbones::alexnet::{AlexNetSpec, Build, Graph, Stem, Summary, layer_table},
    bounded::{Count, Positive},
};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(super) enum Model {
    /// AlexNet as it is pretrained, or as its features are used
    #[command(
        after_help = "Example:\n  hueristic model alexnet\n  hueristic model alexnet --graph transfer\n  \
                            hueristic model alexnet --stem small --width 0.5 --size 32"
    )]
    Alexnet(AlexNetArgs),
}

#[derive(Args, Debug)]
pub(super) struct AlexNetArgs {
    /// Colorizer (padded, for pixels), or the unpadded graph that probes and transfer use
    #[arg(long, value_enum, default_value_t)]
    graph: GraphArg,
    /// Side of the input, pixels [default: 180 for pretext, 227 for transfer, 32 for the small stem]
    #[arg(long, value_name = "N", value_parser = number::<Count>)]
    size: Option<Count>,
    /// Factor on every hidden channel count
    #[arg(long, value_name = "W", default_value = "1", value_parser = number::<Positive>)]
    width: Positive,
    /// First layer: for photographs, or for pictures of about 32 pixels
    #[arg(long, value_enum, default_value_t)]
    stem: StemArg,
    /// Channels of fc6 and fc7 [default: 4096 times the width]
    #[arg(long, value_name = "N", value_parser = number::<Count>)]
    fc: Option<Count>,
    /// Channels of the last layer [default: 313 colours for pretext, none for transfer]
    #[arg(long, value_name = "N")]
    outputs: Option<usize>,
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

/// Bins of the paper's grid.
const COLOURS: usize = 313;

/// A number that its type keeps in range.
fn number<T: TryFrom<f64, Error: ToString>>(text: &str) -> Result<T, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    T::try_from(value).map_err(|e| e.to_string())
}

pub(super) fn run(verb: Model) -> Result<Done> {
    let Model::Alexnet(args) = verb;
    let pretext = args.graph == GraphArg::Pretext;
    let stem = if args.stem == StemArg::Small { Stem::Small } else { Stem::Standard };
    let spec = AlexNetSpec { stem, width: args.width, fc: args.fc, ..AlexNetSpec::default() };
    let build = Build {
        graph: if pretext { Graph::Pretext } else { Graph::Transfer },
        batch_norm: pretext,
        input_channels: 1,
        outputs: args.outputs.or(pretext.then_some(COLOURS)),
    };
    let side = args.size.map_or_else(|| usual_side(&args), Count::get);
    Ok(Done::ok(Summary::of(&layer_table(&spec, &build), (side, side))?))
}

fn usual_side(args: &AlexNetArgs) -> usize {
    match (args.stem, args.graph) {
        (StemArg::Small, _) => 32,
        (_, GraphArg::Pretext) => 180,
        (_, GraphArg::Transfer) => 227,
    }
}
