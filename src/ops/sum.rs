//! Sums of two maps, outside of candle's graph and on the threads of all layers: those of candle's own additions wait for
//! one another.

use super::{
    cpu::{BLOCK, Stored, by_stored, fill_blocks, map2},
    in_place::{ElementRule, fits, in_place},
};
use crate::op::{compute, output, wide};
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
                let sum = |x, y| Add.apply::<T>(x, y);
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
    if fits(&sum, other) { in_place(Add, sum, other) } else { sum + other }
}

/// map `(B, H, W, C)` + vector `(B, 1, 1, C)` at every cell, outside of candle's graph.
///
/// # Errors
/// Other shapes, two dtypes.
pub fn add_to_cells(map: &Tensor, vector: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = map.dims4()?;
    if vector.dims() != [batch, 1, 1, channels] {
        bail!("add to cells: a map of {:?} and a vector of {:?}", map.dims(), vector.dims())
    }
    if !map.device().is_cpu() {
        return map.detach().broadcast_add(&vector.detach());
    }
    compute(
        "add to cells",
        [map, vector],
        |[map, vector]| {
            Ok(by_stored!(map, T => {
                let (x, v) = (map.elements::<T>()?, vector.elements::<T>()?);
                let y = fill_blocks(batch, height * width * channels, cells(channels), |picture, start, out| {
                    let x = x[picture * height * width * channels + start..].chunks(channels);
                    let v = &v[picture * channels..][..channels];
                    for (y, x) in out.chunks_mut(channels).zip(x) {
                        y.iter_mut().zip(x).zip(v).for_each(|((y, x), v)| *y = x.wide() + v.wide());
                    }
                });
                output::<T>(y, map.shape())
            }))
        },
        #[cfg(feature = "cuda")]
        |_| bail!("add to cells: not on the processor"),
    )
}

/// The sum over the cells of a map `(B, H, W, C)` → `(B, 1, 1, C)`, outside of candle's graph.
///
/// # Errors
/// Another shape or dtype.
pub fn sum_of_cells(map: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = map.dims4()?;
    if !map.device().is_cpu() {
        let sum = map.detach().to_dtype(wide(map.dtype()))?.sum_keepdim((1, 2))?;
        return sum.to_dtype(map.dtype());
    }
    compute(
        "sum of cells",
        [map],
        |[map]| {
            Ok(by_stored!(map, T => {
                let x = map.elements::<T>()?;
                let size = height * width * channels;
                let y = fill_blocks(batch, channels, channels, |picture, _, out| {
                    for cell in x[picture * size..][..size].chunks(channels) {
                        out.iter_mut().zip(cell).for_each(|(sum, x)| *sum += x.wide());
                    }
                });
                output::<T>(y, (batch, 1, 1, channels))
            }))
        },
        #[cfg(feature = "cuda")]
        |_| bail!("sum of cells: not on the processor"),
    )
}

/// Elements of whole cells that are about a block.
fn cells(channels: usize) -> usize {
    channels * (BLOCK / channels.max(1)).max(1)
}

struct Add;

impl ElementRule for Add {
    const NAME: &'static str = "sum";

    fn apply<T: Stored>(&self, a: T, b: T) -> T {
        T::rounded(a.wide() + b.wide())
    }
}
