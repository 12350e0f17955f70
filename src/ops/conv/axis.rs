//! Index maps of the taps of a convolution along one axis, in both directions.
//!
//! A convolution reads input `o·s + k·d − p` for output `o` and tap `k`; its adjoint reads output `(i + p − k·d) / s`
//! for input `i` if that is an integer. Both are represented as a table: destination × tap → source or outside.

/// Geometry of a convolution along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
}

impl Axis {
    /// The input position that output `o` reads through tap `k`, if it is inside.
    pub fn input_of(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.pad).filter(|&i| i < self.input)
    }

    /// The output position that reads input `i` through tap `k`, if there is one.
    fn output_of(&self, i: usize, k: usize) -> Option<usize> {
        let distance = (i + self.pad).checked_sub(k * self.dilation)?;
        let o = distance / self.stride;
        (distance % self.stride == 0 && o < self.output).then_some(o)
    }

    /// The contiguous range of outputs whose tap `k` is inside the input.
    pub fn outputs_inside(&self, k: usize) -> std::ops::Range<usize> {
        let first = self.pad.saturating_sub(k * self.dilation).div_ceil(self.stride);
        let beyond = (self.input + self.pad).saturating_sub(k * self.dilation).div_ceil(self.stride);
        let end = beyond.min(self.output);
        first.min(end)..end
    }

    /// Input positions sorted by phase `i mod s`, so that the positions that one tap reads for successive outputs are
    /// adjacent.
    pub fn inputs_by_phase(&self) -> Vec<usize> {
        (0..self.stride).flat_map(|phase| (phase..self.input).step_by(self.stride)).collect()
    }
}

const OUTSIDE: i32 = -1;

/// For each destination coordinate and tap, the source coordinate.
pub(super) struct AxisMap {
    pub taps: usize,
    /// Destination coordinates in visiting order: those with the same valid taps are adjacent.
    pub order: Vec<usize>,
    /// Whether successive taps read successive sources, so that a row of taps is contiguous in memory.
    pub dense: bool,
    source: Vec<i32>,
}

impl AxisMap {
    /// Outputs read inputs.
    pub fn forward(axis: &Axis) -> Self {
        let order = (0..axis.output).collect();
        Self::tabulate(axis.output, axis.kernel, order, axis.dilation == 1, |o, k| axis.input_of(o, k))
    }

    /// Inputs read outputs: the adjoint.
    pub fn inverse(axis: &Axis) -> Self {
        let order = axis.inputs_by_phase();
        Self::tabulate(axis.input, axis.kernel, order, false, |i, k| axis.output_of(i, k))
    }

    fn tabulate(
        len: usize,
        taps: usize,
        order: Vec<usize>,
        dense: bool,
        at: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let source = (0..len * taps).map(|e| at(e / taps, e % taps).map_or(OUTSIDE, |s| s as i32)).collect();
        Self { taps, order, dense, source }
    }

    /// Number of destination coordinates.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The source coordinate of destination `at` through `tap`.
    #[inline]
    pub fn source(&self, at: usize, tap: usize) -> Option<usize> {
        let s = self.source[at * self.taps + tap];
        (s != OUTSIDE).then_some(s as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn axes() -> impl Strategy<Value = Axis> {
        (1usize..14, 1usize..6, 1usize..5, 0usize..6, 1usize..4)
            .prop_filter("kernel fits", |&(n, k, _, p, d)| n + 2 * p > d * (k - 1))
            .prop_map(|(input, kernel, stride, pad, dilation)| {
                let output = (input + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
                Axis { input, output, kernel, stride, pad, dilation }
            })
    }

    proptest! {
        #[test]
        fn inverse_is_the_transpose_of_forward(axis in axes()) {
            let (there, back) = (AxisMap::forward(&axis), AxisMap::inverse(&axis));
            for o in 0..axis.output {
                for i in 0..axis.input {
                    for k in 0..axis.kernel {
                        let reads = (o * axis.stride + k * axis.dilation) as isize - axis.pad as isize == i as isize;
                        prop_assert_eq!(there.source(o, k) == Some(i), reads);
                        prop_assert_eq!(back.source(i, k) == Some(o), reads);
                    }
                }
            }
        }

        #[test]
        fn outputs_inside_are_those_that_read_an_input(axis in axes()) {
            for k in 0..axis.kernel {
                let inside = axis.outputs_inside(k);
                for o in 0..axis.output {
                    prop_assert_eq!(inside.contains(&o), axis.input_of(o, k).is_some());
                }
            }
        }

        #[test]
        fn phases_visit_every_input_once(axis in axes()) {
            let mut seen = axis.inputs_by_phase();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..axis.input).collect::<Vec<_>>());
        }
    }
}
