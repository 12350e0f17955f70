//! A convolution along one axis as dense filters of r taps on tiles of m outputs.
//!
//! Destinations are split in classes of one phase, `first + step·j`, on which every tap reads a dense sequence of
//! sources; taps in blocks of at most r, `tap + tap_step·i`. Tile t of a class, `j = m·t …`, reads through a block the
//! α sources `start + step·(m·t + i)`. A dilated layer has a class for each phase of its outputs, a strided one a block
//! for each phase of its taps, and the adjoint of a strided one a class for each phase of its inputs.

use super::super::axis::Axis;
use super::scheme::Scheme;
use std::ops::Range;

/// Destinations of one phase.
#[derive(Clone, Debug)]
pub(super) struct Class {
    first: usize,
    step: usize,
    count: usize,
    pub tiles: usize,
    pub blocks: Vec<Block>,
}

/// Some taps of a class.
#[derive(Clone, Debug)]
pub(super) struct Block {
    tap: isize,
    tap_step: isize,
    taps: usize,
    start: isize,
    step: isize,
    /// The source tile that each destination tile reads; none if it is all padding.
    pub sources: Vec<Option<usize>>,
}

/// The plan of one axis.
#[derive(Clone, Debug)]
pub(super) struct AxisPlan {
    scheme: Scheme,
    pub classes: Vec<Class>,
    /// First source and step of each source tile.
    sources: Vec<(isize, isize)>,
    /// Lengths of the axis.
    source_len: usize,
    pub len: usize,
}

impl AxisPlan {
    /// Outputs read inputs. Either stride or dilation must be 1.
    pub fn forward(a: &Axis, scheme: Scheme) -> Self {
        let mut plan = Self::empty(scheme, a.input, a.output);
        let (stride, dilation, pad) = (a.stride as isize, a.dilation as isize, a.pad as isize);
        for phase in 0..a.dilation.min(a.output) {
            let mut blocks = Vec::new();
            for first in 0..a.stride.min(a.kernel) {
                let taps = (a.kernel - first).div_ceil(a.stride);
                for i in (0..taps).step_by(scheme.r) {
                    let tap = (first + i * a.stride) as isize;
                    let start = phase as isize + tap * dilation - pad;
                    let step = stride * dilation;
                    blocks.push(Block::new((tap, stride), scheme.r.min(taps - i), (start, step)));
                }
            }
            plan.push((phase, a.dilation), blocks);
        }
        plan
    }

    /// Inputs read outputs: the adjoint. Either stride or dilation must be 1.
    pub fn adjoint(a: &Axis, scheme: Scheme) -> Self {
        let mut plan = Self::empty(scheme, a.output, a.input);
        let (stride, dilation, pad) = (a.stride as isize, a.dilation as isize, a.pad as isize);
        for phase in 0..a.stride.max(a.dilation).min(a.input) {
            let at = phase as isize + pad;
            // Input `phase + step·j` reads output `(at + step·j − k·dilation) / stride` through tap k, taps backwards.
            let first = (0..stride).find(|k| (at - k * dilation) % stride == 0).unwrap_or(0);
            let taps = (a.kernel as isize - first + stride - 1) / stride;
            let mut blocks = Vec::new();
            for i in (0..taps.max(0)).step_by(scheme.r) {
                let tap = first + (taps - 1 - i) * stride;
                let start = (at - tap * dilation).div_euclid(stride);
                blocks.push(Block::new((tap, -stride), scheme.r.min((taps - i) as usize), (start, dilation)));
            }
            plan.push((phase, a.stride.max(a.dilation)), blocks);
        }
        plan
    }

    fn empty(scheme: Scheme, source_len: usize, len: usize) -> Self {
        Self { scheme, classes: Vec::new(), sources: Vec::new(), source_len, len }
    }

    fn push(&mut self, (first, step): (usize, usize), mut blocks: Vec<Block>) {
        let count = (self.len - first).div_ceil(step);
        let tiles = count.div_ceil(self.scheme.m);
        for block in &mut blocks {
            for t in 0..tiles {
                let start = block.start + block.step * (self.scheme.m * t) as isize;
                block.sources.push(self.source_tile(start, block.step));
            }
        }
        self.classes.push(Class { first, step, count, tiles, blocks });
    }

    /// The number of the source tile at `start`, a new one if need be; none if all of it is outside.
    fn source_tile(&mut self, start: isize, step: isize) -> Option<usize> {
        let len = self.source_len as isize;
        let inside = |i: usize| (0..len).contains(&(start + step * i as isize));
        if !(0..self.scheme.alpha()).any(inside) {
            return None;
        }
        let known = self.sources.iter().position(|&s| s == (start, step));
        Some(known.unwrap_or_else(|| {
            self.sources.push((start, step));
            self.sources.len() - 1
        }))
    }

    pub fn source_tiles(&self) -> usize {
        self.sources.len()
    }

    /// The source position of point `i` of a source tile, if inside.
    pub fn source(&self, tile: usize, i: usize) -> Option<usize> {
        let (start, step) = self.sources[tile];
        let at = start + step * i as isize;
        (0..self.source_len as isize).contains(&at).then_some(at as usize)
    }

    /// Whether all classes have the same taps.
    pub fn shares_taps(&self) -> bool {
        let taps = |c: &Class| c.blocks.iter().map(|b| (b.tap, b.tap_step, b.taps)).collect::<Vec<_>>();
        self.classes.windows(2).all(|w| taps(&w[0]) == taps(&w[1]))
    }

    /// Classes in sets with the same taps.
    pub fn sets(&self) -> Vec<Range<usize>> {
        let n = self.classes.len();
        if self.shares_taps() { std::iter::once(0..n).collect() } else { (0..n).map(|i| i..i + 1).collect() }
    }
}

impl Class {
    /// Position of destination `i` of tile `t`, if there is one.
    pub fn destination(&self, scheme: Scheme, t: usize, i: usize) -> Option<usize> {
        let j = t * scheme.m + i;
        (j < self.count).then_some(self.first + self.step * j)
    }
}

impl Block {
    fn new((tap, tap_step): (isize, isize), taps: usize, (start, step): (isize, isize)) -> Self {
        Self { tap, tap_step, taps, start, step, sources: Vec::new() }
    }

    /// The layer's tap number of tap `i` of the block, if there is one.
    pub fn tap(&self, i: usize) -> Option<usize> {
        (i < self.taps).then(|| (self.tap + self.tap_step * i as isize) as usize)
    }
}
