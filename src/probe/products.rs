//! Inner products between the rows of two feature matrices. For a few thousand pictures the product matrix is smaller
//! than the features, and all classes, costs and folds share it, so it is computed once.

use super::features::Features;
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};

/// Maximum number of products: 4 GiB of f32.
const MAX_PRODUCTS: usize = 1 << 30;

/// A matrix `(rows, columns)` of inner products.
#[derive(Clone, Debug, PartialEq)]
pub struct Products {
    values: Vec<f32>,
    columns: usize,
}

impl Products {
    /// `a` `(n, d)` and `b` `(m, d)` → a·bᵀ `(n, m)`.
    ///
    /// # Errors
    /// Rows of different lengths; more than 4 GiB of products.
    pub fn of(a: &Features, b: &Features) -> Result<Self> {
        ensure!(
            a.width() == b.width(),
            "features of {} and of {} values: both sets must come from the same layer",
            a.width(),
            b.width()
        );
        Self::check(a.len(), b.len())?;
        Self::block(a.values(), b.values(), a.width())
    }

    /// Checks that `n` and `m` pictures can be compared.
    ///
    /// # Errors
    /// More than 4 GiB of products.
    pub fn check(n: usize, m: usize) -> Result<()> {
        n.checked_mul(m).filter(|count| *count <= MAX_PRODUCTS).with_context(|| {
            format!("{n} × {m} pictures are more than this probe can compare in memory; use a `limit:` on the data")
        })?;
        Ok(())
    }

    /// As [`Products::of`], for consecutive rows given as slices.
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn block(a: &[f32], b: &[f32], width: usize) -> Result<Self> {
        let matrix = |values: &[f32]| Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu);
        let products = matrix(a)?.matmul(&matrix(b)?.t()?)?;
        Ok(Self { values: products.flatten_all()?.to_vec1()?, columns: b.len() / width })
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.columns)
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// The submatrix of these rows and columns, in this order.
    pub fn select(&self, rows: &[usize], columns: &[usize]) -> Self {
        let values = rows.iter().map(|&i| self.row(i)).flat_map(|row| columns.iter().map(|&j| row[j]));
        Self { values: values.collect(), columns: columns.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_rows() -> Result<()> {
        let a = Features::new(vec![1.0, 2.0, 3.0, 4.0], 2)?;
        let b = Features::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2)?;
        let products = Products::of(&a, &b)?;
        assert_eq!(products.rows().collect::<Vec<_>>(), [[1.0, 2.0, 3.0], [3.0, 4.0, 7.0]]);
        assert_eq!(products.select(&[1], &[2, 0]).row(0), [7.0, 3.0]);
        let wide = Features::new(vec![1.0; 3], 3)?;
        assert!(Products::of(&a, &wide).is_err());
        Ok(())
    }

    #[test]
    fn too_many_are_refused_before_memory_is() -> Result<()> {
        let many = Features::new(vec![0.0; 40_000], 1)?;
        let Err(error) = Products::of(&many, &many) else { panic!("6 GB were taken") };
        assert!(error.to_string().contains("40000 × 40000"), "{error}");
        Ok(())
    }
}
