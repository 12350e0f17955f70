//! Means over one log interval. Saved in checkpoints, so that a resumed run writes the same log lines as an
//! uninterrupted one.

use super::exact;
use serde::{Deserialize, Serialize};

/// Running sums by name, in the order of first appearance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalMeans(Vec<RunningSum>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RunningSum {
    name: String,
    #[serde(with = "exact")]
    sum: f64,
    count: u64,
}

impl IntervalMeans {
    /// Adds `value` to the mean of `name`.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|s| s.name == name) {
            Some(found) => {
                found.sum += value;
                found.count += 1;
            }
            None => self.0.push(RunningSum { name: name.into(), sum: value, count: 1 }),
        }
    }

    /// The current means.
    pub fn means(&self) -> Vec<(String, f64)> {
        self.0.iter().map(|s| (s.name.clone(), s.sum / s.count as f64)).collect()
    }

    /// The first mean, shown on the progress line.
    pub fn first(&self) -> Option<(&str, f64)> {
        self.0.first().map(|s| (s.name.as_str(), s.sum / s.count as f64))
    }

    /// Resets all means.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_name_in_order() {
        let mut window = IntervalMeans::default();
        for (name, value) in [("loss", 3.0), ("kept", 0.5), ("loss", 1.0)] {
            window.add(name, value);
        }
        assert_eq!(window.means(), [("loss".to_string(), 2.0), ("kept".to_string(), 0.5)]);
        assert_eq!(window.first(), Some(("loss", 2.0)));
        window.clear();
        assert_eq!(window.first(), None);
    }
}
