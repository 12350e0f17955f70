//! The tile kernel, the one inner loop of convolution: a few rows times up to three vectors of columns, kept in
//! registers while a list of segments streams by (the outer-product scheme of Goto and van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication", 2008, with the rows addressed one by one instead of packed).
//!
//! It knows nothing of images: the modules beside it turn a convolution into segments.

use super::lanes::{Lanes, Plain};
use std::mem::MaybeUninit;
use std::ops::{Add, Mul};

/// Most rows that any kernel holds.
pub(super) const MAX_ROWS: usize = 8;
/// Most vectors of columns that a tile holds.
pub(super) const MAX_VECTORS: usize = 3;

/// A stretch of the summed index over which every row is a regular run of memory.
#[derive(Clone, Copy)]
pub(super) struct Segment<T> {
    /// First element of each row; successive ones are `Tile::step` apart.
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
    /// How many of the rows are stored.
    pub rows: usize,
    /// How many of the columns are stored; more than the panel's vectors but the last hold.
    pub cols: usize,
    /// `cols` elements added to each row when overwriting; null for none.
    pub bias: *const T,
    /// Adds to what `dst` holds instead of overwriting it.
    pub add: bool,
}

/// The kernels for one processor: `run[v − 1]` multiplies tiles of `v` vectors.
pub(super) struct TileKernel<T: 'static> {
    /// Rows of a tile; all of them must be readable in each segment.
    pub rows: usize,
    /// Columns in one vector.
    pub lanes: usize,
    run: [unsafe fn(&Tile<T>); MAX_VECTORS],
}

impl<T> TileKernel<T> {
    /// Multiplies one tile whose panel is `vectors` wide.
    ///
    /// # Safety
    /// Every row of every segment must be readable over `len` steps, the panel over `(line + len) · vectors · lanes`
    /// elements, `bias` (if not null) over `cols`, and the first `rows` of `dst` writable over `cols`, unshared.
    #[inline]
    pub unsafe fn multiply(&self, vectors: usize, tile: &Tile<T>) {
        debug_assert!(tile.rows <= self.rows && tile.cols <= vectors * self.lanes);
        // SAFETY: the table was chosen for this processor; memory is the caller's promise.
        unsafe { self.run[vectors - 1](tile) }
    }
}

/// An element type with kernels: f32, and f64 for checks.
pub(super) trait Real:
    Copy + Default + Send + Sync + Add<Output = Self> + Mul<Output = Self> + std::iter::Sum + 'static
{
    /// The fastest kernels that this processor runs.
    fn kernel() -> &'static TileKernel<Self>;
}

impl Real for f64 {
    fn kernel() -> &'static TileKernel<f64> {
        &PLAIN_F64
    }
}

impl Real for f32 {
    fn kernel() -> &'static TileKernel<f32> {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return &x86::AVX512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return &x86::AVX2;
            }
        }
        &PLAIN_F32
    }
}

static PLAIN_F32: TileKernel<f32> = plain();
static PLAIN_F64: TileKernel<f64> = plain();

const fn plain<T: Real>() -> TileKernel<T> {
    TileKernel {
        rows: 4,
        lanes: 8,
        run: [run::<Plain<T>, 4, 1>, run::<Plain<T>, 4, 2>, run::<Plain<T>, 4, 3>],
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Tile, TileKernel, run};
    use core::arch::x86_64::{__m256, __m512};

    /// 8 × 3 accumulators, 3 lines and a broadcast in 32 registers.
    pub static AVX512: TileKernel<f32> =
        TileKernel { rows: 8, lanes: 16, run: [avx512::<1>, avx512::<2>, avx512::<3>] };
    /// 4 × 3 accumulators, 3 lines and a broadcast in 16 registers.
    pub static AVX2: TileKernel<f32> =
        TileKernel { rows: 4, lanes: 8, run: [avx2::<1>, avx2::<2>, avx2::<3>] };

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const V: usize>(tile: &Tile<f32>) {
        // SAFETY: the same contract; this function has the features.
        unsafe { run::<__m512, 8, V>(tile) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const V: usize>(tile: &Tile<f32>) {
        // SAFETY: the same contract; this function has the features.
        unsafe { run::<__m256, 4, V>(tile) }
    }
}

/// The kernel itself: sums all segments, then stores.
#[inline(always)]
unsafe fn run<L: Lanes, const R: usize, const V: usize>(tile: &Tile<L::Scalar>) {
    // SAFETY: `TileKernel::multiply`'s contract covers every address formed here.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        for segment in tile.segments {
            let rows = segment.rows;
            let mut line = tile.panel.add(segment.line * V * L::WIDTH);
            let mut at = 0;
            for _ in 0..segment.len {
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
                at += tile.step;
            }
        }
        // Through memory: indexing the sums where the compiler cannot unroll would keep them there in the loop above too.
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

/// Writes the sums of a tile: bias and earlier contents are added here, partial rows and columns cut.
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
                sum.store_first(to.add(first), cols);
            }
        }
    }
}
