//! Spatial index for the K nearest bins of a color: the plane is divided into small square cells, each with a list of
//! the bins that are among the K nearest for at least one of its points. Exact: ranking the list is equivalent to
//! ranking all bins. Lists are built lazily.

use std::fmt;
use std::sync::OnceLock;

/// Cells per bin spacing: with 4 and K = 10, a list holds about 13 of 313 bins.
const PER_STEP: f32 = 4.0;

/// A bin that may be among the nearest.
#[derive(Clone, Copy)]
pub(super) struct NearestCandidate {
    pub index: u32,
    center: [f32; 2],
}

impl NearestCandidate {
    /// Squared distance to a color, always in f32, so that ties are consistent across devices.
    pub fn distance(&self, ab: [f32; 2]) -> f32 {
        let (da, db) = (ab[0] - self.center[0], ab[1] - self.center[1]);
        da * da + db * db
    }
}

/// The lazily built lists of all cells, and the list of all bins.
pub(super) struct Cells {
    all: Vec<NearestCandidate>,
    neighbors: usize,
    origin: [f32; 2],
    side: f32,
    columns: usize,
    rows: usize,
    lists: Vec<OnceLock<Box<[NearestCandidate]>>>,
}

impl Cells {
    /// Cells over the bounding box of `centers` with spacing `grid`, for the `neighbors` nearest.
    pub fn new(centers: &[[f32; 2]], grid: f32, neighbors: usize) -> Self {
        let all: Vec<_> = centers
            .iter()
            .enumerate()
            .map(|(i, c)| NearestCandidate { index: i as u32, center: *c })
            .collect();
        let bound =
            |axis: usize, pick: fn(f32, f32) -> f32, start| centers.iter().map(|c| c[axis]).fold(start, pick);
        let origin = [0, 1].map(|axis| bound(axis, f32::min, f32::INFINITY));
        let side = grid / PER_STEP;
        let [columns, rows] = [0, 1].map(|axis| {
            let width = bound(axis, f32::max, f32::NEG_INFINITY) - origin[axis];
            (width / side).ceil() as usize + 1
        });
        let lists = (0..columns * rows).map(|_| OnceLock::new()).collect();
        Self { all, neighbors, origin, side, columns, rows, lists }
    }

    /// All bins that can be among the nearest to `ab`; every bin for a color outside the box or non-finite.
    pub fn candidates(&self, ab: [f32; 2]) -> &[NearestCandidate] {
        let [x, y] = [0, 1].map(|axis| (ab[axis] - self.origin[axis]) / self.side);
        let inside = x >= 0.0 && y >= 0.0 && x < self.columns as f32 && y < self.rows as f32;
        if !inside {
            return &self.all;
        }
        let (column, row) = (x as usize, y as usize);
        self.lists[column * self.rows + row].get_or_init(|| self.list(column, row))
    }

    /// Bins whose minimum distance to the cell is at most the K-th smallest maximum distance, sorted by distance to
    /// the cell center, so that ranking them mostly appends.
    fn list(&self, column: usize, row: usize) -> Box<[NearestCandidate]> {
        let middle = [
            self.origin[0] + (column as f32 + 0.5) * self.side,
            self.origin[1] + (row as f32 + 0.5) * self.side,
        ];
        // slightly more than half, against rounding at cell borders
        let half = 0.501 * self.side;
        let reach = |c: &NearestCandidate, sign: f32| {
            let [da, db] = [0, 1].map(|axis| ((c.center[axis] - middle[axis]).abs() + sign * half).max(0.0));
            da * da + db * db
        };
        let mut farthest: Vec<f32> = self.all.iter().map(|c| reach(c, 1.0)).collect();
        let nth = self.neighbors.min(farthest.len()) - 1;
        let limit = *farthest.select_nth_unstable_by(nth, f32::total_cmp).1;
        let mut list: Vec<_> = self.all.iter().copied().filter(|c| reach(c, -1.0) <= limit).collect();
        list.sort_by(|x, y| x.distance(middle).total_cmp(&y.distance(middle)));
        list.into_boxed_slice()
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("neighbors", &self.neighbors).finish_non_exhaustive()
    }
}
