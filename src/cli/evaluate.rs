//! `evaluate detections` and `evaluate segmentation`: scores result files against the ground truth.

use super::{failure::Usage, output::CommandOutput};
use crate::{
    atomic_write,
    data::voc::palette::Palette,
    evaluation::{detections::DetectionFiles, masks::MaskFiles},
    metrics::average_precision::ApInterpolation,
    progress,
};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Evaluate {
    /// Average precision of a detector's result files (comp3_det_SET_CLASS.txt) against VOC annotations
    #[command(
        after_help = "Example:\n  hueristic evaluate detections --results results/VOC2007/Main \\\n    \
                      --annotations VOCdevkit/VOC2007/Annotations --set VOCdevkit/VOC2007/ImageSets/Main/test.txt\n\n\
                      A line of a result file is `ID SCORE X1 Y1 X2 Y2`, pixels counted from 1. Objects marked difficult \
                      count neither for nor against; of equal scores the earlier line goes first."
    )]
    Detections(DetectionArgs),
    /// Intersection over union of predicted masks (PNGs in VOC's palette) and true masks
    #[command(
        after_help = "Example:\n  hueristic evaluate segmentation --truth VOCdevkit/VOC2012/SegmentationClass \\\n    \
                      --pred masks --set VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt\n\n\
                      Masks of one picture have one name and one size. VOC's colors are read in any palette and in RGB, and \
                      levels of gray as labels. Pixels whose true label is 255 count in nothing."
    )]
    Segmentation(SegmentationArgs),
}

#[derive(Args, Debug)]
pub(super) struct DetectionArgs {
    /// Folder of result files, one per class
    #[arg(long, value_name = "DIR")]
    results: PathBuf,
    /// Folder of annotations, ID.xml
    #[arg(long, value_name = "DIR")]
    annotations: PathBuf,
    /// Text file with picture identifiers, one per line
    #[arg(long, value_name = "FILE")]
    set: PathBuf,
    /// Minimum overlap of a correct detection
    #[arg(long, value_name = "0..1", default_value_t = 0.5, value_parser = overlap)]
    iou: f64,
    /// Definition of average precision
    #[arg(long, value_enum, default_value_t = RuleArg::Voc07)]
    rule: RuleArg,
    /// Also write the scores to this file as JSON, as shares of 1
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RuleArg {
    /// Eleven points, as in VOC2007
    Voc07,
    /// Area under the envelope, as in VOC2010 and later
    Area,
}

#[derive(Args, Debug)]
pub(super) struct SegmentationArgs {
    /// Folder of true masks
    #[arg(long, value_name = "DIR")]
    truth: PathBuf,
    /// Folder of predicted masks
    #[arg(long, value_name = "DIR")]
    pred: PathBuf,
    /// Text file with picture identifiers, one per line [default: all masks]
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
    /// Number of classes including the background
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u8).range(1..=255))]
    classes: u8,
    /// Use palette indices as classes, whatever their colors
    #[arg(long)]
    indices: bool,
    /// Also write the scores to this file as JSON, as shares of 1
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn overlap(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(overlap) if overlap > 0.0 && overlap <= 1.0 => Ok(overlap),
        _ => Err("give a number above 0 and at most 1".into()),
    }
}

pub(super) fn run(verb: Evaluate) -> Result<CommandOutput> {
    match verb {
        Evaluate::Detections(args) => detections(args),
        Evaluate::Segmentation(args) => segmentation(args),
    }
}

fn detections(args: DetectionArgs) -> Result<CommandOutput> {
    let DetectionArgs { results, annotations, set, iou, rule, json } = args;
    folder(&results, "a folder of result files")?;
    folder(&annotations, "a folder of annotations")?;
    let rule = match rule {
        RuleArg::Voc07 => ApInterpolation::Voc07,
        RuleArg::Area => ApInterpolation::Area,
    };
    let scores = DetectionFiles { results, annotations, set, threshold: iou, rule }.evaluate()?;
    done(&scores, json.as_deref())
}

fn segmentation(args: SegmentationArgs) -> Result<CommandOutput> {
    let SegmentationArgs { truth, pred, set, classes, indices, json } = args;
    folder(&truth, "a folder of true masks")?;
    folder(&pred, "a folder of predicted masks")?;
    let palette = if indices { Palette::Indices } else { Palette::Voc };
    let files = MaskFiles { truth, predicted: pred, set, classes: classes.into(), palette };
    let scores = files.evaluate(&progress::bar_of("comparing", "masks"))?;
    done(&scores, json.as_deref())
}

fn folder(path: &Path, expected: &str) -> Result<(), Usage> {
    match path.is_dir() {
        true => Ok(()),
        false => Err(Usage(format!("{} is not a folder; give {expected}", path.display()))),
    }
}

fn done(scores: &(impl Serialize + ToString), json: Option<&Path>) -> Result<CommandOutput> {
    if let Some(path) = json {
        let mut text = serde_json::to_vec_pretty(scores).context("cannot put the figures into JSON")?;
        text.push(b'\n');
        atomic_write::write(path, &text).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(CommandOutput::ok(scores.to_string()))
}
