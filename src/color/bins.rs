//! The quantized ab plane of Zhang, Isola and Efros (ECCV 2016, section 2.1): the points of a square lattice that
//! cover the sRGB gamut.
//!
//! Selection rule for the authors' 313 bins: a center is kept if its Chebyshev distance to the convex hull of the ab
//! projection of the sRGB cube is below the grid step, i.e. if it is a corner of a lattice cell that intersects the
//! hull. The hull is spanned by the twelve edges of the cube.

use super::cells::Cells;
use super::lab::srgb8_to_lab_f64;
use super::uploaded::Uploaded;
use candle_core::{Device, Result, Tensor};
use std::sync::Arc;

/// Bin centers, sorted by a, then b. Cloning copies only the centers.
#[derive(Clone, Debug)]
pub struct Bins {
    grid: f32,
    centers: Vec<[f32; 2]>,
    cells: Arc<Cells>,
    uploaded: Arc<Uploaded>,
}

impl PartialEq for Bins {
    fn eq(&self, other: &Self) -> bool {
        self.grid == other.grid && self.centers == other.centers
    }
}

impl Bins {
    /// All bins with the given spacing (ab units) that the sRGB gamut touches; 313 for a grid of 10.
    ///
    /// # Panics
    /// When `grid` is not in [1, 110].
    pub fn new(grid: f32) -> Self {
        assert!((1.0..=110.0).contains(&grid), "the ab grid step must be in [1, 110], got {grid}");
        let outline = widened(&gamut_hull(), f64::from(grid));
        // the gamut is within ±110 of gray
        let reach = (110.0 / grid).ceil() as i32 + 1;
        let centers: Vec<[f32; 2]> =
            square(reach, grid).filter(|c| strictly_inside(&outline, c.map(f64::from))).collect();
        let cells = Arc::new(Cells::new(&centers, grid, 1));
        Self { grid, centers, cells, uploaded: Arc::default() }
    }

    /// Number of bins, Q.
    pub fn len(&self) -> usize {
        self.centers.len()
    }

    /// Never true: gray is always a bin.
    pub fn is_empty(&self) -> bool {
        self.centers.is_empty()
    }

    /// `[a, b]` of every bin.
    pub fn centers(&self) -> &[[f32; 2]] {
        &self.centers
    }

    /// The centers as f32 `(Q, 2)` on a device; cached for the next call.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn centers_on(&self, device: &Device) -> Result<Tensor> {
        self.uploaded.on(self.centers.as_flattened(), (self.len(), 2), device)
    }

    /// Spacing of neighboring centers, in ab units.
    pub fn grid(&self) -> f32 {
        self.grid
    }

    /// Index of the nearest center; ties resolve to the lower index. Accepts colors outside the gamut; a non-finite
    /// color gives 0.
    pub fn nearest(&self, ab: [f32; 2]) -> usize {
        let mut best = (f32::INFINITY, u32::MAX);
        for candidate in self.cells.candidates(ab) {
            let here = (candidate.distance(ab), candidate.index);
            if here < best {
                best = here;
            }
        }
        // no candidate was found: the color is not finite
        if best.1 == u32::MAX { 0 } else { best.1 as usize }
    }

    /// The smallest square lattice around gray that contains all bins (23 × 23 for a grid of 10), in bin order, and
    /// whether each point is a bin.
    pub fn lattice(&self) -> Vec<([f32; 2], bool)> {
        let widest = self.centers.iter().flatten().fold(0f32, |w, v| w.max(v.abs()));
        let reach = (widest / self.grid).round() as i32;
        let kept = |point: &[f32; 2]| {
            self.centers
                .binary_search_by(|c| c[0].total_cmp(&point[0]).then(c[1].total_cmp(&point[1])))
                .is_ok()
        };
        square(reach, self.grid).map(|point| (point, kept(&point))).collect()
    }
}

/// Lattice points up to `reach` steps from gray along both axes, a ascending, then b.
fn square(reach: i32, grid: f32) -> impl Iterator<Item = [f32; 2]> {
    (-reach..=reach).flat_map(move |a| (-reach..=reach).map(move |b| [a as f32 * grid, b as f32 * grid]))
}

/// The convex hull of the ab projection of the sRGB cube.
fn gamut_hull() -> Vec<[f64; 2]> {
    let mut points = Vec::with_capacity(12 * 256);
    for axis in 0..3 {
        for corner in 0..4u8 {
            for value in 0..=255u8 {
                let mut rgb = [value; 3];
                rgb[(axis + 1) % 3] = 255 * (corner & 1);
                rgb[(axis + 2) % 3] = 255 * (corner >> 1);
                let [_, a, b] = srgb8_to_lab_f64(rgb);
                points.push([a, b]);
            }
        }
    }
    convex_hull(points)
}

/// Twice the signed area of a triangle; positive if counterclockwise.
fn turn(p: [f64; 2], q: [f64; 2], r: [f64; 2]) -> f64 {
    (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
}

/// Andrew's monotone chain: hull vertices counterclockwise, without collinear points.
fn convex_hull(mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    points.sort_by(|p, q| p[0].total_cmp(&q[0]).then(p[1].total_cmp(&q[1])));
    points.dedup();
    let chain = |points: &mut dyn Iterator<Item = [f64; 2]>| {
        let mut chain: Vec<[f64; 2]> = Vec::new();
        for point in points {
            while chain.len() > 1 && turn(chain[chain.len() - 2], chain[chain.len() - 1], point) <= 0.0 {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop(); // the other chain starts with it
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    hull
}

/// The Minkowski sum of a convex hull and a square of half-width `margin`: all points within that Chebyshev distance.
fn widened(hull: &[[f64; 2]], margin: f64) -> Vec<[f64; 2]> {
    let corners = [[-margin, -margin], [-margin, margin], [margin, -margin], [margin, margin]];
    convex_hull(hull.iter().flat_map(|v| corners.map(|c| [v[0] + c[0], v[1] + c[1]])).collect())
}

fn strictly_inside(hull: &[[f64; 2]], point: [f64; 2]) -> bool {
    let next = hull.iter().cycle().skip(1);
    hull.iter().zip(next).all(|(p, q)| turn(*p, *q, point) > 0.0)
}

/// Whether `point` is a convex combination of `corners`, give or take `slack`.
#[cfg(test)]
pub(super) fn spanned_by(corners: &[[f32; 2]], point: [f32; 2], slack: f64) -> bool {
    let hull = convex_hull(corners.iter().map(|c| c.map(f64::from)).collect());
    strictly_inside(&widened(&hull, slack), point.map(f64::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_grid_has_the_known_bins() {
        let bins = Bins::new(10.0);
        assert_eq!(bins.len(), 313);
        assert_eq!(bins.centers()[120], [0.0, 0.0]);
        let range = |axis: usize| {
            let values = bins.centers().iter().map(move |c| c[axis]);
            (values.clone().fold(f32::MAX, f32::min), values.fold(f32::MIN, f32::max))
        };
        assert_eq!((range(0), range(1)), ((-90.0, 100.0), (-110.0, 100.0)));
        assert_eq!(bins.centers()[..3], [[-90.0, 50.0], [-90.0, 60.0], [-90.0, 70.0]]);
        assert!(bins.centers().windows(2).all(|w| w[0] < w[1]));
        assert!(bins.centers().contains(&[-30.0, -50.0]) && !bins.centers().contains(&[80.0, 80.0]));
    }

    #[test]
    fn the_margins_are_the_known_ones() {
        let hull = gamut_hull();
        let within = |point, margin| strictly_inside(&widened(&hull, margin), point);
        assert!(within([-30.0, -50.0], 9.727) && !within([-30.0, -50.0], 9.725));
        assert!(within([80.0, 80.0], 10.071) && !within([80.0, 80.0], 10.069));
    }

    #[test]
    fn the_lattice_is_23_by_23() {
        let lattice = Bins::new(10.0).lattice();
        assert_eq!(lattice.len(), 529);
        assert_eq!((lattice[0].0, lattice[528].0), ([-110.0, -110.0], [110.0, 110.0]));
        assert_eq!(lattice.iter().filter(|(_, kept)| *kept).count(), 313);
    }

    #[test]
    fn other_grids_cover_the_gamut_too() {
        for grid in [1.0, 2.5, 5.0, 7.3, 20.0, 55.0, 110.0] {
            let bins = Bins::new(grid);
            assert!(bins.centers().contains(&[0.0, 0.0]));
            for corner in 0..8u8 {
                let [_, a, b] = srgb8_to_lab_f64([0, 1, 2].map(|i| 255 * (corner >> i & 1)));
                let [ca, cb] = bins.centers()[bins.nearest([a as f32, b as f32])].map(f64::from);
                let reach = f64::from(grid) / 2.0 + 1e-4;
                assert!((a - ca).abs() <= reach && (b - cb).abs() <= reach, "grid {grid}, corner {corner}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        let bins = Bins::new(10.0);
        assert_eq!(bins.nearest([5.0, 5.0]), 120);
        assert_eq!(bins.centers()[bins.nearest([-5.0, 0.0])], [-10.0, 0.0]);
        assert_eq!(bins.nearest([f32::NAN, 0.0]), 0);
    }

    proptest! {
        #[test]
        fn nearest_is_what_a_scan_finds(a in -150f32..150.0, b in -150f32..150.0, snap: bool, fine: bool) {
            let bins = Bins::new(if fine { 7.3 } else { 10.0 });
            let ab = if snap { [a.round(), b.round()] } else { [a, b] };
            let distance = |c: &[f32; 2]| (ab[0] - c[0]).powi(2) + (ab[1] - c[1]).powi(2);
            let scan = bins.centers().iter().enumerate()
                .min_by(|x, y| distance(x.1).total_cmp(&distance(y.1))).map(|(i, _)| i);
            prop_assert_eq!(Some(bins.nearest(ab)), scan);
        }
    }
}
