//! Divergence check: the loss is not finite, or far above its first value.

use super::{
    exact,
    interval_means::IntervalMeans,
    task::{Better, Metric},
};
use serde::{Deserialize, Serialize};

/// Ratio to the first loss from which training counts as diverged. No loss of this crate starts low enough to reach it
/// while learning.
const DIVERGED_RATIO: f64 = 10.0;
/// Lower bound of the first loss in that ratio: a network with nothing to learn starts near zero.
const MIN_FIRST_LOSS: f64 = 1.0;
/// Name of a task's loss, in training and in validation.
const LOSS: &str = "loss";

/// First and newest mean training loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    start: Option<Level>,
    newest: Option<Level>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Level(#[serde(with = "exact")] f64);

impl Levels {
    /// Records the loss of the first update. Later calls have no effect.
    pub fn begin(&mut self, loss: f64) {
        self.start.get_or_insert(Level(loss));
    }

    /// Records the mean loss of the newest log interval.
    pub fn log(&mut self, window: &IntervalMeans) {
        self.newest = loss_of(window).map(Level);
    }

    /// The reason why training has diverged, by its newest training loss or by the metrics in `validated`.
    pub fn diverged(&self, validated: &[Metric]) -> Option<String> {
        let Level(start) = self.start?;
        let first = format_loss(start);
        if let Some(Level(loss)) = self.newest.filter(|level| is_far(level.0, start)) {
            return Some(format!("the training loss is {}; its first value was {first}", format_loss(loss)));
        }
        let bad = |m: &&Metric| match m.better {
            Better::Lower if m.name == LOSS => is_far(m.value, start),
            Better::Lower | Better::Higher => m.value.is_nan(),
            Better::Neither => false,
        };
        let bad = validated.iter().find(bad)?;
        Some(match bad.name.as_str() {
            LOSS => format!(
                "the validation loss is {}; the first training loss was {first}",
                format_loss(bad.value)
            ),
            name => format!("`{name}` of the validation is {}", format_loss(bad.value)),
        })
    }
}

/// The mean loss: the entry named `loss`, else the sum of all entries `*_loss`.
pub fn loss_of(window: &IntervalMeans) -> Option<f64> {
    let means = window.means();
    let whole = means.iter().find(|(name, _)| name == LOSS).map(|(_, value)| *value);
    let parts = || {
        let parts: Vec<_> = means.iter().filter(|(name, _)| name.ends_with("_loss")).collect();
        (!parts.is_empty()).then(|| parts.iter().map(|(_, value)| value).sum())
    };
    whole.or_else(parts)
}

fn is_far(loss: f64, start: f64) -> bool {
    !loss.is_finite() || loss > DIVERGED_RATIO * start.max(MIN_FIRST_LOSS)
}

fn format_loss(loss: f64) -> String {
    if loss != 0.0 && loss.is_finite() && !(1e-3..1e5).contains(&loss.abs()) {
        format!("{loss:.2e}")
    } else {
        format!("{loss:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(start: f64, newest: f64) -> Levels {
        let mut window = IntervalMeans::default();
        window.add(LOSS, newest);
        let mut levels = Levels::default();
        levels.log(&window);
        levels.begin(start);
        levels.begin(7e9);
        levels
    }

    fn validated(name: &str, value: f64, better: Better) -> [Metric; 1] {
        [Metric { name: name.into(), value, better }]
    }

    #[test]
    fn far_above_the_first_loss_is_diverged() {
        assert_eq!(levels(5.75, 5.0).diverged(&[]), None);
        assert_eq!(levels(5.75, 57.0).diverged(&validated(LOSS, 57.0, Better::Lower)), None);
        assert_eq!(levels(1e-6, 0.3).diverged(&[]), None, "it began with nothing to learn");
        let text = levels(5.75, 58.0).diverged(&[]).unwrap();
        assert_eq!(text, "the training loss is 58.0000; its first value was 5.7500");
        let text = levels(5.75, 5.0).diverged(&validated(LOSS, 8.6e13, Better::Lower)).unwrap();
        assert_eq!(text, "the validation loss is 8.60e13; the first training loss was 5.7500");
        assert!(levels(5.75, f64::NAN).diverged(&[]).unwrap().contains("the training loss is NaN"));
    }

    #[test]
    fn a_result_that_is_no_number_is_diverged_where_it_should_be_one() {
        let levels = levels(5.75, 5.0);
        assert!(levels.diverged(&validated("rmse", f64::NAN, Better::Lower)).unwrap().contains("`rmse`"));
        assert_eq!(levels.diverged(&validated("vividness", f64::NAN, Better::Neither)), None);
        assert_eq!(
            Levels::default().diverged(&validated(LOSS, 9e9, Better::Lower)),
            None,
            "nothing to compare with"
        );
    }

    #[test]
    fn parts_of_a_loss_are_added() {
        let mut window = IntervalMeans::default();
        assert_eq!(loss_of(&window), None);
        for (name, value) in [("class_loss", 2.0), ("box_loss", 0.5), ("accuracy", 9.0)] {
            window.add(name, value);
        }
        assert_eq!(loss_of(&window), Some(2.5));
    }
}
