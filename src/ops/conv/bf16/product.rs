//! The product of two packed operands, as every kernel takes it.

/// Rows of a block of the left operand.
pub(super) const ROWS: usize = 32;
/// Columns of a panel of the right operand.
pub(super) const COLUMNS: usize = 16;
/// Length of a block of the summation index.
pub(super) const DEPTH: usize = 32;
/// Elements of a block of the left operand, of the right one, and of the result.
pub(super) const LEFT: usize = ROWS * DEPTH;
pub(super) const RIGHT: usize = COLUMNS * DEPTH;
pub(super) const SUMS: usize = ROWS * COLUMNS;

/// A packed operand: blocks of the summation index, one after another, of each block of rows or panel.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, T> {
    pub data: &'a [T],
    /// Which blocks are other than zero; the others are not multiplied.
    pub present: &'a [bool],
    /// Blocks of the summation index from one block of rows, or panel, to the next.
    pub pitch: usize,
}

/// `sums[i][j] += Σ_k left[i][k] · right[j][k]`.
pub(super) struct Product<'a, T> {
    /// `[i][k][32 rows][32]`.
    pub left: Operand<'a, T>,
    /// `[j][k][16 pairs][16 columns][2]`; widened `[j][k][32][16 columns]`.
    pub right: Operand<'a, T>,
    /// `[i][j][32 rows][16 columns]`.
    pub sums: &'a mut [f32],
    pub row_blocks: usize,
    pub panels: usize,
    /// Blocks of the summation index.
    pub depth: usize,
}

impl<T> Product<'_, T> {
    /// Checks that the slices are long enough.
    ///
    /// # Panics
    /// If one is not.
    pub fn check(&self) {
        let last = |blocks: usize, operand: &Operand<T>| (blocks - 1) * operand.pitch + self.depth;
        let (left, right) = (last(self.row_blocks, &self.left), last(self.panels, &self.right));
        assert!(self.left.data.len() >= left * LEFT && self.left.present.len() >= left);
        assert!(self.right.data.len() >= right * RIGHT && self.right.present.len() >= right);
        assert!(self.sums.len() >= self.row_blocks * self.panels * SUMS);
    }

    pub fn has_left(&self, i: usize, k: usize) -> bool {
        self.left.present[i * self.left.pitch + k]
    }

    pub fn has_right(&self, j: usize, k: usize) -> bool {
        self.right.present[j * self.right.pitch + k]
    }

    /// The block of the left operand.
    pub fn left_block(&self, i: usize, k: usize) -> &[T] {
        &self.left.data[(i * self.left.pitch + k) * LEFT..][..LEFT]
    }

    /// The block of the right operand.
    pub fn right_block(&self, j: usize, k: usize) -> &[T] {
        &self.right.data[(j * self.right.pitch + k) * RIGHT..][..RIGHT]
    }
}
