//! The state of a training, from rank 0 to the others.

use super::{command::Command, ranks::Ranks};
use crate::{
    data::loader::Position,
    train::{learner::Learner, tensors::NamedTensors},
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};

/// Gives step, position, weights, moments and averages to the others; on rank 0.
///
/// # Errors
/// A rank that is gone; a tensor of a type that no state has.
pub fn give_state(ranks: &Ranks, learner: &Learner, step: usize, position: Position) -> Result<()> {
    if !ranks.are_many() {
        return Ok(());
    }
    ranks.tell(&Command::From { step, position })?;
    let mut bytes = vec![];
    for (_, tensor) in parts(learner).into_iter().flatten() {
        bytes.extend(bytes_of(&tensor)?);
    }
    ranks.give(bytes)
}

/// Takes what rank 0 gives; returns step and position.
///
/// # Errors
/// As [`give_state`]; a state of another network.
pub fn take_state(ranks: &Ranks, learner: &mut Learner) -> Result<(usize, Position)> {
    let Command::From { step, position } = ranks.hear()? else { bail!(OTHER) };
    let bytes = ranks.take()?;
    let mut rest = &bytes[..];
    let [params, optimizer, average] = parts(learner).map(|own| {
        let read = |(name, tensor): (String, Tensor)| Ok((name, taken(&tensor, &mut rest)?));
        own.into_iter().map(read).collect::<Result<NamedTensors>>()
    });
    learner.task.params().restore(&params?)?;
    learner.optimizer.restore(&optimizer?)?;
    learner.average.restore(&average?)?;
    ensure!(rest.is_empty(), OTHER);
    Ok((step, position))
}

const OTHER: &str = "rank 0 trains something else: use one build and one spec on all nodes";

fn parts(learner: &Learner) -> [NamedTensors; 3] {
    [learner.task.params().state(), learner.optimizer.state(), learner.average.state()]
}

fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => flat.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
        DType::F64 => flat.to_vec1::<f64>()?.into_iter().flat_map(f64::to_le_bytes).collect(),
        DType::I64 => flat.to_vec1::<i64>()?.into_iter().flat_map(i64::to_le_bytes).collect(),
        other => bail!("a state of {other:?} cannot be given to other processes"),
    })
}

/// The first bytes of `rest` as a tensor like `own`.
fn taken(own: &Tensor, rest: &mut &[u8]) -> Result<Tensor> {
    let (shape, device) = (own.shape(), own.device());
    let length = own.elem_count() * own.dtype().size_in_bytes();
    let bytes = rest.split_off(..length).context(OTHER)?;
    Ok(match own.dtype() {
        DType::F32 => Tensor::from_vec(numbers(bytes, f32::from_le_bytes), shape, device)?,
        DType::F64 => Tensor::from_vec(numbers(bytes, f64::from_le_bytes), shape, device)?,
        DType::I64 => Tensor::from_vec(numbers(bytes, i64::from_le_bytes), shape, device)?,
        other => bail!("a state of {other:?} cannot come from another process"),
    })
}

fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}
