//! The micro-kernel of convolution: accumulates a tile of a few rows times up to two or three vectors of columns in
//! registers while streaming a list of segments (the outer-product scheme of Goto and van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication", 2008, with rows addressed individually instead of packed).
//!
//! Independent of images: sibling modules convert a convolution into segments.

use super::lanes::{Lanes, Plain};
use super::simd::{Element, Simd};
use std::mem::MaybeUninit;
use std::ops::{Add, Mul};

/// Most rows of any kernel.
pub(super) const MAX_ROWS: usize = 8;
/// A range of the summation index over which every row is a strided run of memory.
#[derive(Clone, Copy)]
pub(super) struct Segment<T> {
    /// First element of each row; the stride is `Tile::step`.
    pub rows: [*const T; MAX_ROWS],
    /// The line of the panel that the first element multiplies.
    pub line: usize,
    pub len: usize,
}

/// One tile product: `dst[r][..cols] (+)= Σ_segments Σ_k rows[r][k·step] · panel[line + k] (+ bias)`.
pub(super) struct Tile<'a, T> {
    pub segments: &'a [Segment<T>],
    pub step: usize,
    /// Lines of `vectors · WIDTH` elements; columns beyond `cols` hold zeros.
    pub panel: *const T,
    pub dst: [*mut T; MAX_ROWS],
    /// Number of rows to store.
    pub rows: usize,
    /// Number of columns to store; the last vector may be partial.
    pub cols: usize,
    /// `cols` elements added to each row when overwriting; null for none.
    pub bias: *const T,
    /// Adds to `dst` instead of overwriting it.
    pub add: bool,
    /// Applies a ReLU before storing.
    pub relu: bool,
    /// Distance in elements from the rows to those of the tile that is multiplied next, which the cache is told of.
    pub ahead: Option<isize>,
}

/// Steps between two prefetches of a row: a cache line of f32.
const PREFETCH_STEPS: usize = 16;

/// The kernels for one processor: `run[v − 1]` multiplies tiles of `v` vectors.
pub(super) struct TileKernel<T: 'static> {
    /// Rows of a tile; all of them must be readable in each segment.
    pub rows: usize,
    /// Columns in one vector.
    pub lanes: usize,
    /// Depth of a panel block: enough to amortize the store of a tile, small enough that the panel stays in cache.
    pub depth: usize,
    run: &'static [unsafe fn(&Tile<T>)],
    transpose: unsafe fn(StridedPtr<*const T>, StridedPtr<*mut T>, usize, usize),
}

/// First element and row pitch.
type StridedPtr<P> = (P, usize);

impl<T> TileKernel<T> {
    /// Most vectors per tile.
    pub fn vectors(&self) -> usize {
        self.run.len()
    }

    /// Multiplies one tile whose panel is `vectors` wide.
    ///
    /// # Safety
    /// Every row of every segment must be readable over `len` steps, the panel over `(line + len) · vectors · lanes`
    /// elements, `bias` (if not null) over `cols`, and the first `rows` of `dst` writable over `cols`, unshared.
    #[inline]
    pub unsafe fn multiply(&self, vectors: usize, tile: &Tile<T>) {
        debug_assert!(tile.rows <= self.rows && tile.cols <= vectors * self.lanes);
        // SAFETY: the kernels match this CPU; the caller guarantees the memory.
        unsafe { self.run[vectors - 1](tile) }
    }

    /// Transposes a `rows` × `cols` matrix.
    ///
    /// # Safety
    /// `from` must be readable and `to` writable over their matrices, unshared.
    pub unsafe fn transpose(
        &self,
        from: StridedPtr<*const T>,
        to: StridedPtr<*mut T>,
        rows: usize,
        cols: usize,
    ) {
        // SAFETY: the kernels match this CPU; the caller guarantees the memory.
        unsafe { (self.transpose)(from, to, rows, cols) }
    }
}

/// An element type with kernels: f32, and f64 for gradient checks.
pub(super) trait Real:
    Element + PartialOrd + Add<Output = Self> + Mul<Output = Self> + std::iter::Sum
{
    /// The fastest kernels for this CPU.
    fn kernel() -> &'static TileKernel<Self>;
}

impl Real for f64 {
    fn kernel() -> &'static TileKernel<f64> {
        &PLAIN_F64
    }
}

impl Real for f32 {
    fn kernel() -> &'static TileKernel<f32> {
        kernel_of(Self::simd())
    }
}

/// The kernels for an instruction set that this CPU has.
fn kernel_of(simd: Simd) -> &'static TileKernel<f32> {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => &x86::AVX512,
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => &x86::AVX2,
        _ => &PLAIN_F32,
    }
}

static PLAIN_F32: TileKernel<f32> = plain();
static PLAIN_F64: TileKernel<f64> = plain();

const fn plain<T: Real>() -> TileKernel<T> {
    let run: &[unsafe fn(&Tile<T>)] = &[run::<Plain<T>, 4, 1>, run::<Plain<T>, 4, 2>, run::<Plain<T>, 4, 3>];
    TileKernel { rows: 4, lanes: 8, depth: 1280, run, transpose: transpose::<Plain<T>> }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{StridedPtr, Tile, TileKernel, run, transpose};
    use core::arch::x86_64::{__m256, __m512};

    /// 8 × 3 accumulators, 3 lines and a broadcast in 32 registers.
    pub static AVX512: TileKernel<f32> = TileKernel {
        rows: 8,
        lanes: 16,
        depth: 1280,
        run: &[avx512::<1>, avx512::<2>, avx512::<3>],
        transpose: transpose_avx512,
    };
    /// 6 × 2 accumulators, 2 lines and a broadcast in 16 registers; 4 × 3 would need all registers and spill.
    pub static AVX2: TileKernel<f32> =
        TileKernel { rows: 6, lanes: 8, depth: 768, run: &[avx2::<1>, avx2::<2>], transpose: transpose_avx2 };

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const V: usize>(tile: &Tile<f32>) {
        // SAFETY: the same contract; this function has the features.
        unsafe { run::<__m512, 8, V>(tile) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const V: usize>(tile: &Tile<f32>) {
        // SAFETY: the same contract; this function has the features.
        unsafe { run::<__m256, 6, V>(tile) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn transpose_avx512(
        from: StridedPtr<*const f32>,
        to: StridedPtr<*mut f32>,
        rows: usize,
        cols: usize,
    ) {
        // SAFETY: the same contract; this function has the features.
        unsafe { transpose::<__m512>(from, to, rows, cols) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn transpose_avx2(
        from: StridedPtr<*const f32>,
        to: StridedPtr<*mut f32>,
        rows: usize,
        cols: usize,
    ) {
        // SAFETY: the same contract; this function has the features.
        unsafe { transpose::<__m256>(from, to, rows, cols) }
    }
}

/// The kernel: accumulates all segments, then stores. The row and vector loops are unrolled so that the sums stay in
/// registers.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn run<L: Lanes, const R: usize, const V: usize>(tile: &Tile<L::Scalar>) {
    // SAFETY: `TileKernel::multiply`'s contract covers every address formed here.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        for &to in tile.dst.iter().take(tile.rows) {
            for v in 0..V {
                L::prefetch(to.wrapping_add(v * L::WIDTH));
            }
        }
        for segment in tile.segments {
            let rows = segment.rows;
            let mut line = tile.panel.add(segment.line * V * L::WIDTH);
            let (mut at, mut left) = (0, segment.len);
            while left > 0 {
                if let Some(ahead) = tile.ahead {
                    prefetch_rows::<L, R>(&rows, at, tile.step, ahead);
                }
                let steps = left.min(PREFETCH_STEPS);
                left -= steps;
                for _ in 0..steps {
                    let mut columns = [L::zero(); V];
                    for v in 0..V {
                        columns[v] = L::load(line.add(v * L::WIDTH));
                    }
                    for r in 0..R {
                        let row = L::splat(*rows[r].add(at));
                        for v in 0..V {
                            sums[r][v] = row.mul_add(columns[v], sums[r][v]);
                        }
                    }
                    line = line.add(V * L::WIDTH);
                    // No overflow check: the caller guarantees that every step is in bounds.
                    at = at.wrapping_add(tile.step);
                }
            }
        }
        // Spill explicitly: indexing the sums in a loop that is not unrolled would force them into memory in the loop
        // above too.
        let mut spilled = MaybeUninit::<[[L; V]; R]>::uninit();
        let to = spilled.as_mut_ptr().cast::<L>();
        for r in 0..R {
            for v in 0..V {
                to.add(r * V + v).write(sums[r][v]);
            }
        }
        store::<L, V>(tile, to);
    }
}

/// Prefetches what lies `ahead` of the next steps of all rows. Interleaved rows, whose step is larger, share their lines.
#[inline(always)]
unsafe fn prefetch_rows<L: Lanes, const R: usize>(
    rows: &[*const L::Scalar; MAX_ROWS],
    at: usize,
    step: usize,
    ahead: isize,
) {
    for r in 0..R {
        let first = if step == 1 { rows[r] } else { rows[0].wrapping_add(r * PREFETCH_STEPS) };
        // SAFETY: a prefetch takes any address.
        unsafe { L::prefetch(first.wrapping_add(at).wrapping_offset(ahead)) };
    }
}

/// Stores the sums of a tile: adds bias or previous contents, applies the ReLU, and masks partial rows and columns.
#[inline(always)]
unsafe fn store<L: Lanes, const V: usize>(tile: &Tile<L::Scalar>, sums: *const L) {
    // SAFETY: rows below `tile.rows` and columns below `tile.cols` only.
    unsafe {
        for (r, &to) in tile.dst.iter().enumerate().take(tile.rows) {
            let base = if tile.add { to.cast_const() } else { tile.bias };
            for v in 0..V {
                let first = v * L::WIDTH;
                let cols = (tile.cols - first).min(L::WIDTH);
                let mut sum = sums.add(r * V + v).read();
                if !base.is_null() {
                    sum = sum.add(L::load_first(base.add(first), cols));
                }
                if tile.relu {
                    sum = sum.rectify();
                }
                sum.store_first(to.add(first), cols);
            }
        }
    }
}

/// Transposes full blocks in registers and edges element by element.
#[inline(always)]
unsafe fn transpose<L: Lanes>(
    (from, from_pitch): StridedPtr<*const L::Scalar>,
    (to, to_pitch): StridedPtr<*mut L::Scalar>,
    rows: usize,
    cols: usize,
) {
    for row in (0..rows).step_by(L::WIDTH) {
        for col in (0..cols).step_by(L::WIDTH) {
            let (high, wide) = ((rows - row).min(L::WIDTH), (cols - col).min(L::WIDTH));
            // SAFETY: the block is within `rows` × `cols`.
            unsafe {
                let (from, to) = (from.add(row * from_pitch + col), to.add(col * to_pitch + row));
                if high == L::WIDTH && wide == L::WIDTH {
                    L::transpose(from, from_pitch, to, to_pitch);
                    continue;
                }
                for (r, c) in (0..high).flat_map(|r| (0..wide).map(move |c| (r, c))) {
                    to.add(c * to_pitch + r).write(from.add(r * from_pitch + c).read());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that this machine runs, not only the fastest.
    fn kernels() -> Vec<&'static TileKernel<f32>> {
        Simd::available().into_iter().map(kernel_of).collect()
    }

    /// Small integers, so that sums are exact whatever the order and the fusing.
    fn integers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 31 + seed * 17) % 13) as f32 - 6.0).collect()
    }

    /// Two segments of a tile with partial rows and columns, against the sums written out.
    fn check_product(
        kernel: &TileKernel<f32>,
        vectors: usize,
        cols: usize,
        rows: usize,
        step: usize,
        [add, relu]: [bool; 2],
    ) {
        const PITCH: usize = 64;
        let lens = [5, 3];
        let width = vectors * kernel.lanes;
        let left = integers(MAX_ROWS * PITCH, 1);
        let panel = integers(8 * width, 2);
        let bias = integers(width, 3);
        let mut dst = integers(MAX_ROWS * PITCH, 4);
        let before = dst.clone();
        let base = left.as_ptr();
        let rows_at = |k: usize| std::array::from_fn(|r| base.wrapping_add(r * PITCH + k * step));
        let segments = [
            Segment { rows: rows_at(0), line: 0, len: lens[0] },
            Segment { rows: rows_at(lens[0]), line: lens[0], len: lens[1] },
        ];
        let to = dst.as_mut_ptr();
        let tile = Tile {
            segments: &segments,
            step,
            panel: panel.as_ptr(),
            dst: std::array::from_fn(|r| to.wrapping_add(r * PITCH)),
            rows,
            cols,
            bias: bias.as_ptr(),
            add,
            relu,
            ahead: relu.then_some(-7),
        };
        // SAFETY: eight lines of panel, rows of 64 elements, all within the vectors above.
        unsafe { kernel.multiply(vectors, &tile) };
        for (i, (&got, &was)) in dst.iter().zip(&before).enumerate() {
            let (r, c) = (i / PITCH, i % PITCH);
            let want = if r < rows && c < cols {
                let sum: f32 = (0..8).map(|k| left[r * PITCH + k * step] * panel[k * width + c]).sum();
                let sum = sum + if add { was } else { bias[c] };
                if relu { sum.max(0.0) } else { sum }
            } else {
                was
            };
            assert_eq!(got, want, "{vectors} vectors, {cols} columns, {rows} rows, element {i}");
        }
    }

    #[test]
    fn every_kernel_multiplies_exactly_its_tile() {
        for kernel in kernels() {
            for vectors in 1..=kernel.vectors() {
                for cols in (vectors - 1) * kernel.lanes + 1..=vectors * kernel.lanes {
                    for rows in 1..=kernel.rows {
                        check_product(kernel, vectors, cols, rows, 1, [cols % 2 == 0, rows % 2 == 0]);
                        check_product(kernel, vectors, cols, rows, 7, [cols % 3 == 0, rows % 3 == 0]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_kernel_transposes() {
        let (rows, cols) = (37, 41);
        let from = integers(rows * 50, 5);
        for kernel in kernels() {
            let mut to = vec![0f32; cols * 40];
            // SAFETY: 37 × 41 within pitches 50 and 40.
            unsafe { kernel.transpose((from.as_ptr(), 50), (to.as_mut_ptr(), 40), rows, cols) };
            for (r, c) in (0..rows).flat_map(|r| (0..cols).map(move |c| (r, c))) {
                assert_eq!(to[c * 40 + r], from[r * 50 + c]);
            }
        }
    }
}
