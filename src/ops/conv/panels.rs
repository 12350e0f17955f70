//! Column panels, packing buffers and work distribution, shared by both products.

use super::tile::Real;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A few vectors of adjacent columns of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    pub group: usize,
    /// First column within the group.
    pub first: usize,
    /// Valid columns; the panel is zero-padded to `vectors · lanes`.
    pub cols: usize,
    pub vectors: usize,
}

impl Panel {
    /// Splits `width` columns of each group evenly into panels of at most `most` vectors.
    pub fn split(groups: usize, width: usize, lanes: usize, most: usize) -> Vec<Panel> {
        let vectors = width.div_ceil(lanes);
        let ranges = even_ranges(vectors, vectors.div_ceil(most));
        let panel = |group: usize, r: &std::ops::Range<usize>| {
            let first = r.start * lanes;
            Panel { group, first, cols: (width - first).min(r.len() * lanes), vectors: r.len() }
        };
        (0..groups).flat_map(|g| ranges.iter().map(move |r| panel(g, r))).collect()
    }
}

/// `0..n` in `parts` ranges whose lengths differ by at most one, the longer ones first.
pub(super) fn even_ranges(n: usize, parts: usize) -> Vec<std::ops::Range<usize>> {
    let (short, longer) = (n / parts, n % parts);
    let start = |i: usize| i * short + i.min(longer);
    (0..parts).map(|i| start(i)..start(i + 1)).collect()
}

/// Uninitialized memory for packed operands, on a cache line boundary so that no vector load straddles two.
#[derive(Default)]
pub(super) struct Packed<T>(Vec<T>);

impl<T: Real> Packed<T> {
    const LINE: usize = 64;

    pub fn with_capacity(n: usize) -> Self {
        let mut packed = Self::default();
        packed.room(n);
        packed
    }

    /// Ensures room for `n` elements; earlier contents may be lost.
    pub fn room(&mut self, n: usize) -> *mut T {
        let spare = Self::LINE / size_of::<T>();
        self.0.reserve(n + spare);
        self.as_mut_ptr()
    }

    pub fn as_mut_ptr(&mut self) -> *mut T {
        let start = self.0.as_mut_ptr();
        // `align_offset` may decline (usize::MAX); unaligned loads are then slower, never wrong.
        match start.align_offset(Self::LINE) {
            skip if skip < Self::LINE => start.wrapping_add(skip),
            _ => start,
        }
    }
}

/// A pointer shared by tasks that write disjoint parts.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(*mut T);

// SAFETY: users must ensure that tasks write disjoint elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(to: *mut T) -> Self {
        Self(to)
    }
    pub fn get(&self) -> *mut T {
        self.0
    }
}

/// Runs tasks `0..n` on all threads, dispatched in order; each worker has its own `scratch`.
///
/// Tasks must not depend on the worker that runs them, so that results are bit-identical for any number of threads.
pub(super) fn in_order<S>(n: usize, scratch: impl Fn() -> S + Sync, task: impl Fn(&mut S, usize) + Sync) {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut scratch = scratch();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                break;
            }
            task(&mut scratch, i);
        }
    };
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(n) {
            scope.spawn(|_| worker());
        }
        worker();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn panels_cover_every_column_once(groups in 1usize..4, width in 1usize..400, lanes in prop::sample::select(vec![8usize, 16]), most in 1usize..4) {
            let panels = Panel::split(groups, width, lanes, most);
            for g in 0..groups {
                let mut next = 0;
                for p in panels.iter().filter(|p| p.group == g) {
                    prop_assert_eq!(p.first, next);
                    prop_assert!(p.vectors <= most && p.cols <= p.vectors * lanes && p.cols > (p.vectors - 1) * lanes);
                    next += p.cols;
                }
                prop_assert_eq!(next, width);
            }
        }
    }

    #[test]
    fn every_task_runs_once() {
        let counts: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        in_order(
            1000,
            || (),
            |_, i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            },
        );
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}
