//! Where minimal filtering pays, by shape alone.
//!
//! The constants below are measured, on AVX-512 and AVX2: layers of 3 × 3, 5 × 5 and dilated 6 × 6 taps of common
//! networks take a third to two thirds of the direct products' time, transposed 4 × 4 ones two thirds. F(2, 3) was
//! never faster than F(4, 3), nor F(5, 2) than F(3, 2).

use super::super::axis::Axis;
use super::super::shape::ConvShape;
use super::plan::AxisPlan;
use super::scheme::Scheme;

/// One of the three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Pass {
    Forward,
    GradInput,
    GradWeight,
}

/// Fewest channels of each side of a group: transforms are work per channel, products per pair of channels.
const CHANNELS: usize = 16;
/// Fewest tiles × images that pay for the transform of a filter (`ROWS`) or of its gradient (`SUMMED`).
const ROWS: usize = 16;
const SUMMED: usize = 32;
/// Least ratio of the direct product's multiplications to the scheme's.
const SAVING: f64 = 1.7;
/// A scheme of larger tiles, whose rounding errors are larger, must save this part of the multiplications.
const LARGER: f64 = 0.8;

/// The scheme that is faster than the direct product, if one is.
pub(in super::super) fn pays(s: &ConvShape, pass: Pass) -> Option<Scheme> {
    let few = s.inputs_per_group().min(s.outputs_per_group()) < CHANNELS;
    if few || s.rows.kernel != s.cols.kernel || s.rows.stride != s.cols.stride {
        return None;
    }
    let scheme = candidates(s).iter().copied().reduce(|small, large| {
        if multiplications(s, pass, large) <= LARGER * multiplications(s, pass, small) {
            large
        } else {
            small
        }
    })?;
    let rows = tiles(&plan(&s.rows, pass, scheme)) * tiles(&plan(&s.cols, pass, scheme)) * s.batch;
    let fewest = if pass == Pass::GradWeight { SUMMED } else { ROWS };
    (rows >= fewest && direct(s) >= SAVING * multiplications(s, pass, scheme)).then_some(scheme)
}

/// Schemes for the taps of a layer, small tiles first.
fn candidates(s: &ConvShape) -> &'static [Scheme] {
    match (s.rows.kernel, s.rows.stride) {
        (3 | 6, 1) => &[Scheme { m: 4, r: 3 }, Scheme { m: 6, r: 3 }],
        (5, 1) => &[Scheme { m: 4, r: 5 }],
        (4, 2) if s.rows.dilation == 1 && s.cols.dilation == 1 => &[Scheme { m: 3, r: 2 }],
        _ => &[],
    }
}

fn plan(axis: &Axis, pass: Pass, scheme: Scheme) -> AxisPlan {
    if pass == Pass::GradInput { AxisPlan::adjoint(axis, scheme) } else { AxisPlan::forward(axis, scheme) }
}

fn tiles(plan: &AxisPlan) -> usize {
    plan.classes.iter().map(|c| c.tiles).sum()
}

/// Multiplications of a scheme, per image and pair of channels.
fn multiplications(s: &ConvShape, pass: Pass, scheme: Scheme) -> f64 {
    let pairs = |axis: &Axis| {
        let plan = plan(axis, pass, scheme);
        plan.classes.iter().flat_map(|c| &c.blocks).flat_map(|b| &b.sources).flatten().count()
    };
    (pairs(&s.rows) * pairs(&s.cols) * scheme.alpha().pow(2)) as f64
}

/// Multiplications of the direct product, per image and pair of channels: the taps that are inside.
fn direct(s: &ConvShape) -> f64 {
    let inside = |axis: &Axis| (0..axis.kernel).map(|k| axis.outputs_inside(k).len()).sum::<usize>();
    (inside(&s.rows) * inside(&s.cols)) as f64
}
