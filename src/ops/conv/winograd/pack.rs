//! Transforms and packs a part of a filter: lines of a panel's columns for each component.

use super::super::gather_gemm::Filter;
use super::super::panels::{Packed, Panel};
use super::super::simd::Simd;
use super::super::tile::{Real, TileKernel};
use super::correlate::SKEW;
use super::scheme::Scheme;
use super::transform::{FilterLines, MAX_ALPHA, filter_lines};
use std::ops::Range;

/// The buffers of a packed filter.
pub(super) struct FilterPacker<T: 'static> {
    simd: Simd,
    scheme: Scheme,
    kernel: &'static TileKernel<T>,
    packed: Packed<T>,
    /// Lines of one tap after another, if the filter must be transposed.
    lines: Packed<T>,
    zeros: Vec<T>,
    /// What `load` collected.
    taps: Vec<(*const T, usize)>,
    cols: usize,
    pitch: usize,
    depth: usize,
    ahead: usize,
}

/// Lines of an untransposed filter are far apart: they are announced to the cache so many lines ahead.
const AHEAD: usize = 8;

impl<T: Real> FilterPacker<T> {
    pub fn new(simd: Simd, scheme: Scheme) -> Self {
        let zeros = vec![T::default(); simd.vectors() * simd.lanes()];
        Self {
            simd,
            scheme,
            kernel: T::kernel(),
            packed: Packed::default(),
            lines: Packed::default(),
            zeros,
            taps: Vec::new(),
            cols: 0,
            pitch: 0,
            depth: 0,
            ahead: 0,
        }
    }

    /// Collects the lines of some channels of a panel; call before `pack`.
    pub fn load(
        &mut self,
        filter: &Filter<T>,
        panel: &Panel,
        taps: &[Option<usize>],
        channels: Range<usize>,
    ) {
        self.cols = panel.cols;
        self.pitch = panel.vectors * self.simd.lanes();
        self.depth = channels.len();
        let count = self.scheme.r * self.scheme.r;
        let (first, step) = self.lines_of(filter, panel, &taps[..count], &channels);
        self.ahead = if filter.column_step == 1 { AHEAD } else { 0 };
        self.taps.clear();
        self.taps.extend(first[..count].iter().map(|f| f.map_or((self.zeros.as_ptr(), 0), |f| (f, step))));
    }

    /// Transforms and packs one part: the first line of its first component, and the pitch of components.
    pub fn pack(&mut self, part: usize) -> (*const T, usize) {
        let component = self.depth * self.pitch + SKEW;
        let to = self.packed.room(component * 2 * self.scheme.alpha());
        let lines = FilterLines {
            taps: &self.taps,
            lines: self.depth,
            len: self.cols,
            to,
            component,
            ahead: self.ahead,
        };
        // SAFETY: each tap has `cols` columns in each line; room was made for all lines of all components.
        unsafe { filter_lines(self.simd, (self.scheme.alpha(), self.scheme.r), part, &lines) };
        (to, component)
    }

    /// The first line of each tap, contiguous in columns, and the step from line to line.
    fn lines_of(
        &mut self,
        filter: &Filter<T>,
        panel: &Panel,
        taps: &[Option<usize>],
        channels: &Range<usize>,
    ) -> ([Option<*const T>; MAX_ALPHA * MAX_ALPHA], usize) {
        let pitch = panel.vectors * self.simd.lanes();
        let room = self.lines.room(taps.len() * channels.len() * pitch);
        let mut first = [None; MAX_ALPHA * MAX_ALPHA];
        for (i, tap) in taps.iter().enumerate() {
            let Some(tap) = *tap else { continue };
            let from = panel.group * filter.group_step
                + tap * filter.tap_step
                + channels.start * filter.depth_step
                + panel.first * filter.column_step;
            let last = (channels.len() - 1) * filter.depth_step + (panel.cols - 1) * filter.column_step;
            let from = filter.data[from..=from + last].as_ptr();
            first[i] = Some(from);
            if filter.column_step != 1 {
                debug_assert_eq!(filter.depth_step, 1);
                let to = room.wrapping_add(i * channels.len() * pitch);
                // SAFETY: reads stay within the slice just taken; room was made for all lines of all taps.
                unsafe {
                    self.kernel.transpose(
                        (from, filter.column_step),
                        (to, pitch),
                        panel.cols,
                        channels.len(),
                    );
                }
                first[i] = Some(to.cast_const());
            }
        }
        (first, if filter.column_step == 1 { filter.depth_step } else { pitch })
    }
}
