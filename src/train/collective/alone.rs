//! One process.

use super::operations::{Collective, PendingSum};
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
    fn sum(&self, values: Vec<f32>, carry: Option<Vec<f32>>) -> PendingSum {
        let sum = match carry {
            Some(mut carry) => {
                carry.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                carry
            }
            None => values,
        };
        PendingSum::Done(sum)
    }
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes])
    }
    fn broadcast(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        Ok(bytes.unwrap_or_default())
    }
}
