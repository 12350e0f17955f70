//! Both axes of a plan: the source tiles, the destination tiles that read them, and the blocks of taps.

use super::super::axis::Axis;
use super::plan::AxisPlan;
use super::scheme::Scheme;
use super::transform::MAX_ALPHA;

/// A plan of both axes for some images of a batch.
pub(super) struct Grid {
    pub scheme: Scheme,
    pub rows: AxisPlan,
    pub cols: AxisPlan,
}

/// Destination tiles that share their blocks of taps.
pub(super) struct Section {
    pub tiles: Vec<Tile>,
    /// Numbers of the blocks of both axes.
    pub blocks: Vec<(usize, usize)>,
}

/// A destination tile: class and number on each axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub row: (usize, usize),
    pub col: (usize, usize),
}

impl Grid {
    pub fn forward(rows: &Axis, cols: &Axis, scheme: Scheme) -> Self {
        Self { scheme, rows: AxisPlan::forward(rows, scheme), cols: AxisPlan::forward(cols, scheme) }
    }

    pub fn adjoint(rows: &Axis, cols: &Axis, scheme: Scheme) -> Self {
        Self { scheme, rows: AxisPlan::adjoint(rows, scheme), cols: AxisPlan::adjoint(cols, scheme) }
    }

    /// Source tiles of one image.
    pub fn source_tiles(&self) -> usize {
        self.rows.source_tiles() * self.cols.source_tiles()
    }

    /// The destination tiles, row by row, in sections.
    pub fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        for rows in self.rows.sets() {
            for cols in self.cols.sets() {
                let (row, col) = (&self.rows.classes[rows.start], &self.cols.classes[cols.start]);
                let blocks = (0..row.blocks.len()).flat_map(|r| (0..col.blocks.len()).map(move |c| (r, c)));
                let mut section = Section { tiles: Vec::new(), blocks: blocks.collect() };
                for (r, c) in rows.clone().flat_map(|r| cols.clone().map(move |c| (r, c))) {
                    for tr in 0..self.rows.classes[r].tiles {
                        let tile = |tc| Tile { row: (r, tr), col: (c, tc) };
                        section.tiles.extend((0..self.cols.classes[c].tiles).map(tile));
                    }
                }
                sections.push(section);
            }
        }
        sections
    }

    /// The source tile that a destination tile reads through a block; none if it is all padding.
    pub fn source_of(&self, tile: Tile, (row, col): (usize, usize)) -> Option<usize> {
        let row = self.rows.classes[tile.row.0].blocks[row].sources[tile.row.1]?;
        let col = self.cols.classes[tile.col.0].blocks[col].sources[tile.col.1]?;
        Some(row * self.cols.source_tiles() + col)
    }

    /// Pixels of a source tile: α × α positions in the source, none outside.
    pub fn source_pixels(&self, tile: usize, width: usize) -> [Option<usize>; MAX_ALPHA * MAX_ALPHA] {
        let (row, col) = (tile / self.cols.source_tiles(), tile % self.cols.source_tiles());
        let n = self.scheme.alpha();
        pairs(n, |i| self.rows.source(row, i), |i| self.cols.source(col, i), width)
    }

    /// Pixels of a destination tile: m × m positions in the destination, none beyond it.
    pub fn pixels(&self, tile: Tile) -> [Option<usize>; MAX_ALPHA * MAX_ALPHA] {
        let (row, col) = (&self.rows.classes[tile.row.0], &self.cols.classes[tile.col.0]);
        pairs(
            self.scheme.m,
            |i| row.destination(self.scheme, tile.row.1, i),
            |i| col.destination(self.scheme, tile.col.1, i),
            self.cols.len,
        )
    }

    /// Taps of a block of a section: r × r numbers in the filter of `across` columns, none beyond it.
    pub fn taps(
        &self,
        section: &Section,
        (row, col): (usize, usize),
        across: usize,
    ) -> [Option<usize>; MAX_ALPHA * MAX_ALPHA] {
        let tile = section.tiles[0];
        let (row, col) =
            (&self.rows.classes[tile.row.0].blocks[row], &self.cols.classes[tile.col.0].blocks[col]);
        pairs(self.scheme.r, |i| row.tap(i), |i| col.tap(i), across)
    }
}

/// `row(i)·width + col(j)` of n × n, none if either is.
fn pairs(
    n: usize,
    row: impl Fn(usize) -> Option<usize>,
    col: impl Fn(usize) -> Option<usize>,
    width: usize,
) -> [Option<usize>; MAX_ALPHA * MAX_ALPHA] {
    let mut out = [None; MAX_ALPHA * MAX_ALPHA];
    let mut cols = [None; MAX_ALPHA];
    (0..n).for_each(|j| cols[j] = col(j));
    for i in 0..n {
        if let Some(r) = row(i) {
            for j in 0..n {
                out[i * n + j] = cols[j].map(|c| r * width + c);
            }
        }
    }
    out
}
