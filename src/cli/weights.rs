//! `weights inspect`: what a weight file holds; the other verbs on weights have files of their own.

use super::{
    Done,
    push::{self, PushArgs},
};
use crate::{hub, nn::weights};
use anyhow::Result;
use candle_core::{DType, Tensor};
use clap::Subcommand;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

#[derive(Debug, Subcommand)]
pub(super) enum Weights {
    /// List the tensors of a file with their shapes and statistics, and its header
    #[command(
        after_help = "Example:\n  hueristic weights inspect results/runs/quickstart/colorization-s0/weights.safetensors"
    )]
    Inspect {
        /// A safetensors file, or hf://OWNER/REPO/FILE[@REVISION]; convolutions as (O, I, H, W)
        file: PathBuf,
    },
    /// Upload a finished run's weights to the Hugging Face hub, with a model card
    #[command(after_help = "Needs a token with write permission in HF_TOKEN \
                            (https://huggingface.co/settings/tokens); --dry-run needs none.\n\n\
                            Example:\n  hueristic weights push results/runs/quickstart/colorization-s0-0123456789ab \
                            hf://OWNER/REPO --dry-run")]
    Push(PushArgs),
}

pub(super) fn run(verb: Weights) -> Result<Done> {
    match verb {
        Weights::Inspect { file } => inspect(&file),
        Weights::Push(args) => push::run(&args),
    }
}

fn inspect(file: &Path) -> Result<Done> {
    let (tensors, header) = weights::read(&hub::locate(file)?)?;
    let width = tensors.keys().map(String::len).max().unwrap_or(0);
    let mut text = format!("{}\n", file.display());
    let mut total = 0;
    for (name, tensor) in &tensors {
        total += tensor.elem_count();
        let (mean, std, broken) = statistics(tensor)?;
        let shape = in_file(tensor.dims()).iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
        let dtype = tensor.dtype().as_str();
        write!(text, "  {name:width$}  {shape:>16}  {dtype}  mean {mean:>10.3e}  std {std:>9.3e}")?;
        if broken > 0 {
            write!(text, "  {broken} not finite")?;
        }
        text.push('\n');
    }
    writeln!(text, "{} tensors, {total} numbers", tensors.len())?;
    for (key, value) in &header {
        let value = value.trim_end().replace('\n', "\n    ");
        writeln!(text, "header {key}:\n    {value}")?;
    }
    Ok(Done::ok(text))
}

/// The shape as the file has it: a convolution's `(O, H, W, I)` in memory is `(O, I, H, W)` there.
fn in_file(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [o, h, w, i] => vec![o, i, h, w],
        _ => dims.to_vec(),
    }
}

/// Mean and standard deviation of the finite numbers, and how many are not finite.
fn statistics(tensor: &Tensor) -> Result<(f64, f64, usize)> {
    let all = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let finite: Vec<f64> = all.iter().copied().filter(|v| v.is_finite()).collect();
    let count = finite.len().max(1) as f64;
    let mean = finite.iter().sum::<f64>() / count;
    let variance = finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    Ok((mean, variance.sqrt(), all.len() - finite.len()))
}
