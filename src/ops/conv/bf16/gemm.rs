//! The matrix product over packed operands, independent of images: `destination[m][n] = Σ_k left[m][k] · right[n][k]`, for each
//! group.
//!
//! The operand that takes longer to pack is packed once, if several tasks read its blocks; of the other one, each task
//! packs what it multiplies. A task keeps its sums in f32 in its cache over the whole summation index.
//!
//! Each sum adds up its blocks of 32 in the order of the summation index, whatever the tasks, threads and instructions.

use super::super::panels::{Shared, even_ranges, in_order};
use super::kernel::Kernel;
use super::product::{COLUMNS, DEPTH, LEFT, Operand, Product, RIGHT, ROWS, SUMS};
use super::wide;
use rayon::prelude::*;
use std::{mem::MaybeUninit, ops::Range};

/// Blocks of sums of a task: half a megabyte.
const TASK_BLOCKS: usize = 256;
/// Most panels of a task, where there are rows enough.
const TASK_PANELS: usize = 16;
/// Tasks per thread, for load balancing; the fewest, for which blocks are packed more than once.
const TASKS_PER_THREAD: usize = 8;
const FEWEST_PER_THREAD: usize = 2;
/// Blocks of rows that are multiplied together; as many panels are worth a task.
const TASK_ROWS: usize = 4;

/// Packs one operand.
pub(super) trait Pack: Sync {
    /// Writes blocks `k` of the summation index of each of some blocks of rows (or panels) of a group to `to`, one after another,
    /// and to `present` which of them are other than zero.
    fn pack(&self, group: usize, blocks: Range<usize>, k: Range<usize>, to: &mut [u16], present: &mut [bool]);
}

/// Takes the sums.
pub(super) trait Store: Sync {
    type Element: Copy + Send;
    /// Elements of the destination.
    fn len(&self) -> usize;
    /// Where the destination has column 0 of row m of a group; columns are adjacent.
    fn offset(&self, group: usize, m: usize) -> usize;
    /// Writes columns of a row, from column `first` of a group on. Their sums are in lines of 16, one every [`SUMS`].
    fn row(&self, group: usize, first: usize, sums: &[f32], to: &mut [MaybeUninit<Self::Element>]);
}

/// The operand that all tasks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Sizes of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub groups: usize,
    /// Rows, columns and length of the summation index, of each group.
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// A product; see the module.
pub(super) struct Gemm<L, R, S> {
    pub sizes: Sizes,
    pub left: L,
    pub right: R,
    pub shared: Side,
    pub store: S,
    pub kernel: Kernel,
}

/// A part of the destination.
struct Task {
    group: usize,
    row_blocks: Range<usize>,
    panels: Range<usize>,
}

/// A packed operand.
#[derive(Default)]
struct Packed<T> {
    data: Vec<T>,
    present: Vec<bool>,
}

impl<T: Copy + Default> Packed<T> {
    fn resize(&mut self, blocks: usize, size: usize) {
        self.data.resize(blocks * size, T::default());
        self.present.resize(blocks, false);
    }

    /// From block `first` on.
    fn from(&self, first: usize, size: usize, pitch: usize) -> Operand<'_, T> {
        Operand { data: &self.data[first * size..], present: &self.present[first..], pitch }
    }
}

/// A worker's buffers of one operand, as it is packed and widened.
#[derive(Default)]
struct Room {
    narrow: Packed<u16>,
    wide: Packed<f32>,
}

/// Blocks as the kernel wants them.
#[derive(Clone, Copy)]
enum Blocks<'a> {
    Narrow(Operand<'a, u16>),
    Wide(Operand<'a, f32>),
}

/// A worker's buffers.
#[derive(Default)]
struct Scratch {
    left: Room,
    right: Room,
    sums: Vec<f32>,
}

impl<L: Pack, R: Pack, S: Store> Gemm<L, R, S> {
    /// Computes the destination.
    pub fn run(&self) -> Vec<S::Element> {
        let mut out = Vec::with_capacity(self.store.len());
        let to = Shared::new(out.as_mut_ptr());
        let (rows, panels) = self.parts();
        // What a single task reads, it packs itself.
        let shared = match self.shared {
            Side::Left if panels.len() > 1 => Some(self.pack_all(&self.left, self.row_blocks(), LEFT)),
            Side::Right if rows.len() > 1 => Some(self.pack_all(&self.right, self.panels(), RIGHT)),
            _ => None,
        };
        let shared = shared.as_ref();
        let tasks = self.tasks(&rows, &panels);
        in_order(tasks.len(), Scratch::default, |scratch, i| self.run_task(scratch, &tasks[i], shared, to));
        // SAFETY: the tasks cover all rows and columns of all groups, and store every element.
        unsafe { out.set_len(self.store.len()) };
        out
    }

    fn row_blocks(&self) -> usize {
        self.sizes.rows.div_ceil(ROWS)
    }

    fn panels(&self) -> usize {
        self.sizes.columns.div_ceil(COLUMNS)
    }

    /// Blocks of the summation index.
    fn depth(&self) -> usize {
        self.sizes.depth.div_ceil(DEPTH)
    }

    /// Packs all blocks of an operand, of all groups.
    fn pack_all(&self, operand: &impl Pack, blocks: usize, size: usize) -> Packed<u16> {
        let depth = self.depth();
        let mut packed = Packed::default();
        packed.resize(self.sizes.groups * blocks * depth, size);
        let each = packed.data.par_chunks_mut(depth * size).zip(packed.present.par_chunks_mut(depth));
        each.enumerate().for_each(|(i, (to, present))| {
            let block = i % blocks;
            operand.pack(i / blocks, block..block + 1, 0..depth, to, present);
        });
        packed
    }

    /// Blocks of rows and panels in the parts that make the tasks: large ones, but enough for all threads.
    fn parts(&self) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let (row_blocks, panels) = (self.row_blocks(), self.panels());
        let mut wide = panels.min(TASK_PANELS);
        let mut high = (TASK_BLOCKS / wide).clamp(1, row_blocks);
        let few = |wide: usize, high: usize, per_thread: usize| {
            let tasks = self.sizes.groups * panels.div_ceil(wide) * row_blocks.div_ceil(high);
            tasks < rayon::current_num_threads() * per_thread
        };
        // Tasks that differ in panels alone pack no panel twice, so that none need be packed for all of them.
        while self.shared == Side::Right && wide > TASK_ROWS && few(wide, high, TASKS_PER_THREAD) {
            wide = wide.div_ceil(2).max(TASK_ROWS);
        }
        let once = self.shared == Side::Right && high == row_blocks;
        while !once && high > TASK_ROWS && few(wide, high, TASKS_PER_THREAD) {
            high = high.div_ceil(2).max(TASK_ROWS);
        }
        while wide * high > 1 && few(wide, high, FEWEST_PER_THREAD) {
            if high > 1 { high = high.div_ceil(2) } else { wide = wide.div_ceil(2) }
        }
        (even_ranges(row_blocks, row_blocks.div_ceil(high)), even_ranges(panels, panels.div_ceil(wide)))
    }

    fn tasks(&self, rows: &[Range<usize>], panels: &[Range<usize>]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (group, rows) in
            (0..self.sizes.groups).flat_map(|group| rows.iter().map(move |rows| (group, rows)))
        {
            let task =
                |panels: &Range<usize>| Task { group, row_blocks: rows.clone(), panels: panels.clone() };
            tasks.extend(panels.iter().map(task));
        }
        tasks
    }

    fn run_task(
        &self,
        scratch: &mut Scratch,
        task: &Task,
        shared: Option<&Packed<u16>>,
        to: Shared<S::Element>,
    ) {
        let Scratch { left, right, sums } = scratch;
        let panels = task.panels.len();
        sums.clear();
        sums.resize(task.row_blocks.len() * panels * SUMS, 0.0);
        for first in (0..self.depth()).step_by(self.kernel.depth()) {
            let k = first..self.depth().min(first + self.kernel.depth());
            let right =
                self.operand(Side::Right, right, shared, (task.group, task.panels.clone(), k.clone()));
            for first in task.row_blocks.clone().step_by(TASK_ROWS) {
                let rows = first..task.row_blocks.end.min(first + TASK_ROWS);
                let sums = &mut sums[(first - task.row_blocks.start) * panels * SUMS..];
                let sizes = (rows.len(), panels, k.len());
                let left = self.operand(Side::Left, left, shared, (task.group, rows, k.clone()));
                self.multiply(left, right, sums, sizes);
            }
        }
        self.store_task(task, sums, to);
    }

    /// Blocks of an operand: of those that are packed already, or packed now; widened if the kernel wants it.
    fn operand<'a>(
        &self,
        side: Side,
        room: &'a mut Room,
        shared: Option<&'a Packed<u16>>,
        (group, blocks, k): (usize, Range<usize>, Range<usize>),
    ) -> Blocks<'a> {
        let (size, all) = match side {
            Side::Left => (LEFT, self.row_blocks()),
            Side::Right => (RIGHT, self.panels()),
        };
        let sizes = (blocks.len(), k.len());
        let narrow = if let Some(shared) = shared.filter(|_| side == self.shared) {
            let first = (group * all + blocks.start) * self.depth() + k.start;
            shared.from(first, size, self.depth())
        } else {
            room.narrow.resize(sizes.0 * sizes.1, size);
            let Packed { data, present } = &mut room.narrow;
            match side {
                Side::Left => self.left.pack(group, blocks, k, data, present),
                Side::Right => self.right.pack(group, blocks, k, data, present),
            }
            room.narrow.from(0, size, sizes.1)
        };
        if !self.kernel.widens() {
            return Blocks::Narrow(narrow);
        }
        room.wide.resize(sizes.0 * sizes.1, size);
        widen(side, &narrow, sizes, &mut room.wide);
        Blocks::Wide(room.wide.from(0, size, sizes.1))
    }

    fn multiply(
        &self,
        left: Blocks,
        right: Blocks,
        sums: &mut [f32],
        (row_blocks, panels, depth): (usize, usize, usize),
    ) {
        match (left, right) {
            (Blocks::Narrow(left), Blocks::Narrow(right)) => {
                self.kernel.multiply(&mut Product { left, right, sums, row_blocks, panels, depth });
            }
            (Blocks::Wide(left), Blocks::Wide(right)) => {
                self.kernel.multiply_widened(&mut Product { left, right, sums, row_blocks, panels, depth });
            }
            _ => unreachable!("one kernel multiplies both"),
        }
    }

    fn store_task(&self, task: &Task, sums: &[f32], to: Shared<S::Element>) {
        let first = task.panels.start * COLUMNS;
        let columns = self.sizes.columns.min(task.panels.end * COLUMNS) - first;
        let rows = task.row_blocks.start * ROWS..self.sizes.rows.min(task.row_blocks.end * ROWS);
        for (i, m) in rows.enumerate() {
            let at = self.store.offset(task.group, m) + first;
            // SAFETY: no other task stores this row of these columns, which are inside the destination.
            let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at).cast(), columns) };
            let row = (i / ROWS) * task.panels.len() * SUMS + i % ROWS * COLUMNS;
            self.store.row(task.group, first, &sums[row..], to);
        }
    }
}

/// Widens blocks: `(blocks, depth)` are the sizes.
fn widen(side: Side, from: &Operand<u16>, (blocks, depth): (usize, usize), to: &mut Packed<f32>) {
    let size = if side == Side::Left { LEFT } else { RIGHT };
    for (i, k) in (0..blocks).flat_map(|i| (0..depth).map(move |k| (i, k))) {
        let (source, target) = (i * from.pitch + k, i * depth + k);
        to.present[target] = from.present[source];
        if from.present[source] {
            let (from, to) = (&from.data[source * size..][..size], &mut to.data[target * size..][..size]);
            match side {
                Side::Left => wide::elements(from, to),
                Side::Right => wide::pairs(from, to),
            }
        }
    }
}
