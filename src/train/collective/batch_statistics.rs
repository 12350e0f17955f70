//! Running statistics of batch normalization over ranks: each learns from the batches of all, in their order, as one process
//! does that takes the parts one after another.

use super::ranks::Ranks;
use crate::ops::batch_norm::SeenStatistics;
use anyhow::{Context, Result};

/// Lets the running statistics learn from what the passes of all ranks have seen; `own` is that of this one.
///
/// # Errors
/// A rank that is gone, or one of another network.
pub fn learn_from_all(ranks: &Ranks, own: Vec<SeenStatistics>) -> Result<()> {
    if own.is_empty() {
        return Ok(());
    }
    let bytes = SeenStatistics::numbers(&own)?.into_iter().flat_map(f64::to_le_bytes).collect();
    for (rank, of_rank) in ranks.gather_bytes(bytes)?.into_iter().enumerate() {
        let numbers: Vec<f64> =
            of_rank.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        SeenStatistics::learn(&own, &numbers).with_context(|| format!("rank {rank} has other layers"))?;
    }
    Ok(())
}
