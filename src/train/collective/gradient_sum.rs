//! The sum of gradients over ranks. Gradients leave in buckets as the backward pass completes them, and are summed while it
//! goes on.

use super::{operations::PendingSum, ranks::Ranks};
use crate::{
    nn::optim::Gradients,
    ops::tape::{GradientSink, ParamGradient, Tape},
};
use anyhow::Result;
use candle_core::{DType, Device, Shape, Tensor, TensorId};
use std::collections::HashMap;

/// Values of a bucket, 4 MiB: large enough for the speed of a link, small enough for several in one backward pass.
const BUCKET: usize = 1 << 20;

/// The gradients of one pass of every rank, on their way.
pub struct GradientSum {
    buckets: Vec<(Vec<SentGradient>, PendingSum)>,
    device: Device,
}

/// Place and shape of a gradient in a bucket.
type SentGradient = (usize, Shape);

impl GradientSum {
    /// Runs the backward pass of `loss`, and sends the gradients that `sums` wants.
    ///
    /// # Errors
    /// Those of the operations; gradients that are not f32.
    pub fn begin(ranks: &Ranks, sums: &Gradients, tape: &Tape, loss: Tensor) -> Result<Self> {
        let device = loss.device().clone();
        let next = sums.len();
        let mut buckets =
            Buckets { ranks, sums, arrived: HashMap::new(), next, open: Bucket::default(), sent: vec![] };
        tape.backward(loss, &mut buckets)?;
        buckets.send_rest()?;
        Ok(Self { buckets: buckets.sent, device })
    }

    /// Adds the gradients of all ranks, in their order, to `sums`.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn finish(self, ranks: &Ranks, sums: &mut Gradients) -> Result<()> {
        for (gradients, sum) in self.buckets {
            let sum = sum.wait()?;
            let mut rest = &sum[..];
            for (place, shape) in gradients {
                let (values, after) = rest.split_at(shape.elem_count());
                sums.set(place, Tensor::from_slice(values, shape, &self.device)?);
                rest = after;
            }
        }
        sums.count(ranks.size());
        Ok(())
    }
}

/// Gradients that travel together.
#[derive(Default)]
struct Bucket {
    gradients: Vec<SentGradient>,
    values: Vec<f32>,
    /// Their sums over earlier passes; empty in the first.
    carry: Vec<f32>,
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
    open: Bucket,
    sent: Vec<(Vec<SentGradient>, PendingSum)>,
}

impl Buckets<'_> {
    fn push(&mut self, place: usize, gradient: &Tensor) -> candle_core::Result<()> {
        self.open.values.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
        if let Some(sum) = self.sums.sum(place) {
            self.open.carry.extend(sum.flatten_all()?.to_vec1::<f32>()?);
        }
        self.open.gradients.push((place, gradient.shape().clone()));
        if self.open.values.len() >= BUCKET {
            self.send();
        }
        Ok(())
    }

    fn send(&mut self) {
        let Bucket { gradients, values, carry } = std::mem::take(&mut self.open);
        if !gradients.is_empty() {
            let carry = Some(carry).filter(|carry| !carry.is_empty());
            self.sent.push((gradients, self.ranks.sum(values, carry)));
        }
    }

    /// Sends what has come of a parameter whose later ones have no gradient.
    fn send_rest(&mut self) -> candle_core::Result<()> {
        for place in (0..self.next).rev() {
            if let Some(gradient) = self.arrived.remove(&place) {
                self.push(place, &gradient)?;
            }
        }
        self.send();
        Ok(())
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
                Some(gradient) => self.push(place, &gradient)?,
                None if self.sums.wants(place) => break,
                None => {}
            }
            self.next = place;
        }
        Ok(())
    }
}
