//! Sums of two maps, outside of candle's graph and on the threads of all layers: those of candle's own additions wait for
//! one another.

use super::{
    cpu::{Stored, by_stored, map2},
    in_place::{ElementRule, fits, in_place},
};
use crate::op::{compute, output};
use candle_core::{Result, Tensor, bail};

/// a + b, or with `relu` max(a + b, 0), in host memory; NaN propagates.
pub(super) fn sum_on_cpu(a: &Tensor, b: &Tensor, relu: bool) -> Result<Tensor> {
    if a.shape() != b.shape() {
        bail!("sum: maps of {:?} and {:?}", a.dims(), b.dims())
    }
    compute(
        "sum",
        [a, b],
        |[a, b]| {
            Ok(by_stored!(a, T => {
                let (x, y) = (a.elements::<T>()?, b.elements()?);
                let sum = Add::apply::<T>;
                let sums = if relu { map2(x, y, |x, y| sum(x, y).rectify()) } else { map2(x, y, sum) };
                output(sums, a.shape())
            }))
        },
        #[cfg(feature = "cuda")]
        |_| bail!("sum: not on the processor"),
    )
}

/// a + b.
///
/// # Errors
/// Two shapes or dtypes.
pub fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { sum_on_cpu(a, b, false) } else { a.detach() + b.detach() }
}

/// `sum` + `other`, in the memory of `sum`, which nothing else may read.
///
/// # Errors
/// Two shapes or dtypes.
pub fn add_to(sum: Tensor, other: &Tensor) -> Result<Tensor> {
    if fits(&sum, other) { in_place::<Add>(sum, other) } else { sum + other }
}

struct Add;

impl ElementRule for Add {
    const NAME: &'static str = "sum";

    fn apply<T: Stored>(a: T, b: T) -> T {
        T::rounded(a.wide() + b.wide())
    }
}
