//! The sum of gradients over ranks. Gradients leave in buckets as the backward pass completes them, and are summed while it
//! goes on.

use super::{
    operations::{Bucket, PendingSum},
    ranks::Ranks,
};
use crate::{
    nn::optim::Gradients,
    ops::tape::{GradientSink, ParamGradient, Tape},
};
use anyhow::Result;
use candle_core::{DType, Tensor, TensorId};
use std::collections::HashMap;

/// Values of a bucket, 4 MiB: large enough for the speed of a link, small enough for several in one backward pass.
const BUCKET: usize = 1 << 20;

/// The gradients of one pass of every rank, on their way.
pub struct GradientSum {
    /// Places of the gradients of each bucket, and their sums.
    buckets: Vec<(Vec<usize>, PendingSum)>,
}

impl GradientSum {
    /// Runs the backward pass of `loss`, and sends the gradients that `sums` wants.
    ///
    /// # Errors
    /// Those of the operations; gradients that are not f32.
    pub fn begin(ranks: &Ranks, sums: &Gradients, tape: &Tape, loss: Tensor) -> Result<Self> {
        let mut buckets = Buckets {
            ranks,
            sums,
            arrived: HashMap::new(),
            next: sums.len(),
            places: vec![],
            open: Bucket::default(),
            values: 0,
            sent: vec![],
        };
        tape.backward(loss, &mut buckets)?;
        buckets.send_rest()?;
        Ok(Self { buckets: buckets.sent })
    }

    /// Adds the gradients of all ranks, in their order, to `sums`.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn finish(self, ranks: &Ranks, sums: &mut Gradients) -> Result<()> {
        for (places, sum) in self.buckets {
            places.into_iter().zip(sum.wait()?).for_each(|(place, sum)| sums.set(place, sum));
        }
        sums.count(ranks.size());
        Ok(())
    }
}

/// Gradients leave from the last parameter to the first, which is about their order in the backward pass. Their own order
/// would not do: it may differ between processes.
struct Buckets<'a> {
    ranks: &'a Ranks,
    sums: &'a Gradients,
    /// Gradients by place that came before those of later parameters.
    arrived: HashMap<usize, Tensor>,
    /// All places from here on have left, or are not wanted.
    next: usize,
    /// Of the gradients in the open bucket.
    places: Vec<usize>,
    open: Bucket,
    /// Number of values in the open bucket.
    values: usize,
    sent: Vec<(Vec<usize>, PendingSum)>,
}

impl Buckets<'_> {
    fn push(&mut self, place: usize, gradient: Tensor) -> candle_core::Result<()> {
        self.values += gradient.elem_count();
        self.places.push(place);
        self.open.gradients.push(gradient);
        self.open.carry.extend(self.sums.sum(place).cloned());
        if self.values >= BUCKET { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> candle_core::Result<()> {
        self.values = 0;
        let (places, bucket) = (std::mem::take(&mut self.places), std::mem::take(&mut self.open));
        if !places.is_empty() {
            self.sent.push((places, self.ranks.sum(bucket).map_err(candle_core::Error::wrap)?));
        }
        Ok(())
    }

    /// Sends what has come of a parameter whose later ones have no gradient.
    fn send_rest(&mut self) -> candle_core::Result<()> {
        for place in (0..self.next).rev() {
            if let Some(gradient) = self.arrived.remove(&place) {
                self.push(place, gradient)?;
            }
        }
        self.send()
    }
}

impl GradientSink for Buckets<'_> {
    fn accept(&mut self, param: TensorId, gradient: ParamGradient) -> candle_core::Result<()> {
        let Some(place) = self.sums.place(param).filter(|place| self.sums.wants(*place)) else {
            return Ok(());
        };
        let gradient = gradient.whole()?;
        if gradient.dtype() != DType::F32 {
            candle_core::bail!(
                "gradients of {:?} cannot be summed over ranks: f32 is wanted",
                gradient.dtype()
            )
        }
        self.arrived.insert(place, gradient);
        while self.next > 0 {
            let place = self.next - 1;
            match self.arrived.remove(&place) {
                Some(gradient) => self.push(place, gradient)?,
                None if self.sums.wants(place) => break,
                None => {}
            }
            self.next = place;
        }
        Ok(())
    }
}
