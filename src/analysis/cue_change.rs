//! Changes of a photograph that leave what it shows as it is, and how far they move its predicted colors.

use crate::metrics::bootstrap::{Bootstrap, Interval};
use image::{ImageBuffer, Luma, imageops};

/// What is changed in a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// Units of L that are added.
    Lightness,
    /// Factor around the mean.
    Contrast,
    /// Deviation of the Gaussian in pixels.
    Blur,
}

impl Cue {
    pub const ALL: [Self; 3] = [Self::Lightness, Self::Contrast, Self::Blur];

    /// The amounts measured, among them the one that changes nothing.
    pub fn amounts(self) -> &'static [f32] {
        match self {
            Self::Lightness => &[-20.0, -10.0, 0.0, 10.0, 20.0],
            Self::Contrast => &[0.25, 0.5, 0.75, 1.0, 1.25, 1.5],
            Self::Blur => &[0.0, 1.0, 2.0, 4.0, 8.0],
        }
    }

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lightness => "lightness",
            Self::Contrast => "contrast",
            Self::Blur => "blur",
        }
    }

    /// Label of an axis.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Lightness => "added to L",
            Self::Contrast => "factor of contrast",
            Self::Blur => "deviation of blur (pixels)",
        }
    }

    pub(super) fn title(self, amount: f32) -> String {
        match self {
            Self::Lightness => format!("L {amount:+}"),
            Self::Contrast => format!("contrast × {amount}"),
            Self::Blur => format!("blur σ = {amount}"),
        }
    }

    /// The lightness of a picture `width` pixels wide, changed by `amount`.
    pub(super) fn change(self, lightness: &[f32], width: usize, amount: f32) -> Vec<f32> {
        let mean = lightness.iter().sum::<f32>() / lightness.len().max(1) as f32;
        let each = |change: &dyn Fn(f32) -> f32| lightness.iter().map(|l| change(*l)).collect();
        let changed: Vec<f32> = match self {
            Self::Lightness => each(&|l| l + amount),
            Self::Contrast => each(&|l| mean + amount * (l - mean)),
            Self::Blur => blurred(lightness, width, amount),
        };
        changed.into_iter().map(|l| l.clamp(0.0, 100.0)).collect()
    }
}

fn blurred(lightness: &[f32], width: usize, deviation: f32) -> Vec<f32> {
    let (columns, rows) = (width as u32, (lightness.len() / width.max(1)) as u32);
    match ImageBuffer::<Luma<f32>, _>::from_raw(columns, rows, lightness.to_vec()) {
        Some(plane) if deviation > 0.0 => imageops::blur(&plane, deviation).into_raw(),
        _ => lightness.to_vec(),
    }
}

/// One amount of a cue, over all photographs.
pub(super) struct CueChange {
    pub cue: Cue,
    pub amount: f32,
    /// For every photograph, the mean distance in ab units between the colors predicted with and without the change.
    pub distances: Vec<f64>,
    /// For every photograph, the mean chroma of what is predicted.
    pub chromas: Vec<f64>,
}

impl CueChange {
    /// Of no photograph yet.
    pub fn new(cue: Cue, amount: f32) -> Self {
        Self { cue, amount, distances: vec![], chromas: vec![] }
    }

    pub fn distance(&self) -> f64 {
        mean(&self.distances)
    }

    pub fn chroma(&self) -> f64 {
        mean(&self.chromas)
    }

    /// None for a single photograph.
    pub fn interval(&self) -> Option<Interval> {
        let statistic = |times: &[u32]| {
            self.distances.iter().zip(times).map(|(d, t)| d * f64::from(*t)).sum::<f64>() / times.len() as f64
        };
        let several = self.distances.len() > 1;
        several.then(|| Interval::of(&Bootstrap::default().replicates(self.distances.len(), statistic)))?
    }

    fn changes_nothing(&self) -> bool {
        self.amount == f32::from(self.cue == Cue::Contrast)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The unchanged prediction's mean chroma: the distance to gray, which loss of all color would move it by.
pub(super) fn distance_to_gray(changes: &[CueChange]) -> f64 {
    changes.iter().find(|change| change.changes_nothing()).map_or(0.0, CueChange::chroma)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAMP: [f32; 6] = [10.0, 20.0, 30.0, 40.0, 50.0, 90.0];

    #[test]
    fn cues_change_what_they_say() {
        assert_eq!(Cue::Lightness.change(&RAMP, 3, 20.0), [30.0, 40.0, 50.0, 60.0, 70.0, 100.0]);
        assert_eq!(Cue::Contrast.change(&RAMP, 3, 0.5), [25.0, 30.0, 35.0, 40.0, 45.0, 65.0]);
        assert_eq!(Cue::Contrast.change(&RAMP, 3, 2.0)[0], 0.0, "cut off");
        for cue in Cue::ALL {
            let nothing =
                cue.amounts().iter().filter(|amount| cue.change(&RAMP, 3, **amount) == RAMP).count();
            assert_eq!(nothing, 1, "{cue:?} has one amount that changes nothing");
        }
    }

    #[test]
    fn blur_is_a_gaussian() {
        let side = 41;
        let mut point = vec![0f32; side * side];
        point[20 * side + 20] = 100.0;
        let blurred = Cue::Blur.change(&point, side, 2.0);
        let sum: f32 = blurred.iter().sum();
        assert!((sum - 100.0).abs() < 0.5, "{sum}");
        for (x, y) in [(20, 20), (22, 20), (20, 23), (23, 24)] {
            let squared = ((x - 20i32).pow(2) + (y - 20i32).pow(2)) as f32;
            let expected = 100.0 * (-squared / 8.0).exp() / (8.0 * std::f32::consts::PI);
            let ours = blurred[y as usize * side + x as usize];
            assert!(
                (ours - expected).abs() < 0.05 * 100.0 / (8.0 * std::f32::consts::PI),
                "{x}, {y}: {ours} for {expected}"
            );
        }
        let flat = Cue::Blur.change(&[42.0; 12], 4, 3.0);
        assert!(flat.iter().all(|l| (l - 42.0).abs() < 1e-3), "{flat:?}");
    }

    #[test]
    fn means_and_intervals_are_over_photographs() {
        let change = |distances: Vec<f64>| CueChange {
            cue: Cue::Blur,
            amount: 1.0,
            chromas: distances.clone(),
            distances,
        };
        let several = change(vec![1.0, 2.0, 3.0, 6.0]);
        let interval = several.interval().unwrap();
        assert_eq!(several.distance(), 3.0);
        assert!(1.0 < interval.low && interval.low < 2.5 && 3.5 < interval.high && interval.high < 6.0);
        assert!(change(vec![2.0]).interval().is_none());
    }
}
