//! Running statistics of batch normalization over ranks: each learns from the batches of all, in their order, as one process
//! does that takes the parts one after another.

use super::ranks::Ranks;
use crate::ops::batch_norm::SeenStatistics;
use anyhow::{Result, ensure};

/// Lets the running statistics learn from what the passes of all ranks have seen; `own` is that of this one.
///
/// # Errors
/// A rank that is gone, or one of another network.
pub fn learn_from_all(ranks: &Ranks, own: Vec<SeenStatistics>) -> Result<()> {
    if own.is_empty() {
        return Ok(());
    }
    let bytes: Vec<u8> = own.iter().flat_map(SeenStatistics::numbers).flat_map(f64::to_le_bytes).collect();
    for of_rank in ranks.gather_bytes(bytes)? {
        let (chunks, rest) = of_rank.as_chunks::<8>();
        let mut numbers = chunks.iter().map(|bytes| f64::from_le_bytes(*bytes));
        for seen in &own {
            seen.learn(&mut numbers)?;
        }
        ensure!(numbers.next().is_none() && rest.is_empty(), "a rank has other layers than this one");
    }
    Ok(())
}
