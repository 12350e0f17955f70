//! The quantised ab plane (paper section 2.1; the convex-hull rule).
/// Bin centres in order: a ascending, then b.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    grid: f32,
    centers: Vec<[f32; 2]>,
}
impl Bins {
    /// All bins of the given spacing that the sRGB gamut touches; 313 for a grid of 10.
    pub fn new(grid: f32) -> Self {
        let _ = grid;
        todo!()
    }
    pub fn len(&self) -> usize {
        self.centers.len()
    }
    pub fn is_empty(&self) -> bool {
        self.centers.is_empty()
    }
    pub fn centers(&self) -> &[[f32; 2]] {
        &self.centers
    }
    pub fn grid(&self) -> f32 {
        self.grid
    }
    /// Index of the nearest centre; ties go to the lower index.
    pub fn nearest(&self, ab: [f32; 2]) -> usize {
        let _ = ab;
        todo!()
    }
}
