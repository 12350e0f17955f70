//! One process.

use super::operations::{Bucket, Collective, PendingSum};
use anyhow::Result;

/// The only process.
#[derive(Debug)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        1
    }
    fn sum(&self, Bucket { gradients, carry }: Bucket) -> Result<PendingSum> {
        if carry.is_empty() {
            return Ok(PendingSum::Done(gradients));
        }
        let sums = carry.iter().zip(&gradients).map(|(sum, gradient)| sum + gradient);
        Ok(PendingSum::Done(sums.collect::<candle_core::Result<_>>()?))
    }
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes])
    }
    fn broadcast(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        Ok(bytes.unwrap_or_default())
    }
}
