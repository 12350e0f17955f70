//! The range of an axis and its ticks.

/// A range of values in three to six steps of 1, 2 or 5 times a power of ten, rounded outwards.
pub(crate) struct RoundAxis {
    pub low: f64,
    pub high: f64,
    step: f64,
}

impl RoundAxis {
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if !(low.is_finite() && high.is_finite()) {
            return Self { low: 0.0, high: 1.0, step: 0.5 };
        }
        let range = (high - low).max(1e-3 * high.abs()).max(1e-9);
        let power = 10f64.powf((range / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| 5.0 * step >= range).unwrap_or(10.0 * power);
        let low = (low / step + 1e-9).floor() * step;
        Self { low, high: ((high / step - 1e-9).ceil() * step).max(low + step), step }
    }

    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step);
        (0..=((self.high - low) / step).round() as usize).map(move |i| low + i as f64 * step)
    }

    /// As many digits as tell two ticks apart.
    pub fn label(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        let tick = if tick.abs() < 1e-9 { 0.0 } else { tick };
        format!("{tick:.digits$}")
    }

    /// Position of a value, from 0 at the low end to 1 at the high one.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::RoundAxis;

    #[test]
    fn ticks_are_round_and_hold_every_value() {
        for values in [&[0.0, 250.0][..], &[-3.94, -0.2], &[0.0312, 0.0377], &[5.0], &[0.0], &[81.2, 93.4]] {
            let axis = RoundAxis::of(values.iter().copied());
            let ticks: Vec<f64> = axis.ticks().collect();
            assert!((2..=7).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(
                values.iter().all(|v| axis.low - 1e-9 <= *v && *v <= axis.high + 1e-9),
                "{values:?}: {ticks:?}"
            );
        }
        let axis = RoundAxis::of([0.0, 250.0].into_iter());
        let labels: Vec<String> = axis.ticks().map(|tick| axis.label(tick)).collect();
        assert_eq!(labels, ["0", "50", "100", "150", "200", "250"]);
        let axis = RoundAxis::of([0.031, 0.038].into_iter());
        let labels: Vec<String> = axis.ticks().map(|tick| axis.label(tick)).collect();
        assert_eq!(labels, ["0.030", "0.032", "0.034", "0.036", "0.038"]);
        assert_eq!(RoundAxis::of([].into_iter()).ticks().count(), 3, "no values, an empty axis");
    }
}
