//! Means over the steps since the last line of the log. Saved with a checkpoint, so that a resumed run writes the
//! same lines as one that was never stopped.

use super::exact;
use serde::{Deserialize, Serialize};

/// Running sums by name, in the order in which names came up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window(Vec<Sum>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    name: String,
    #[serde(with = "exact")]
    sum: f64,
    count: u64,
}

impl Window {
    /// Counts `value` towards the mean of `name`.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|s| s.name == name) {
            Some(found) => {
                found.sum += value;
                found.count += 1;
            }
            None => self.0.push(Sum { name: name.into(), sum: value, count: 1 }),
        }
    }

    /// The means so far.
    pub fn means(&self) -> Vec<(String, f64)> {
        self.0.iter().map(|s| (s.name.clone(), s.sum / s.count as f64)).collect()
    }

    /// The mean that came up first: what the progress line shows.
    pub fn first(&self) -> Option<(&str, f64)> {
        self.0.first().map(|s| (s.name.as_str(), s.sum / s.count as f64))
    }

    /// Starts over.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_name_in_order() {
        let mut window = Window::default();
        for (name, value) in [("loss", 3.0), ("kept", 0.5), ("loss", 1.0)] {
            window.add(name, value);
        }
        assert_eq!(window.means(), [("loss".to_string(), 2.0), ("kept".to_string(), 0.5)]);
        assert_eq!(window.first(), Some(("loss", 2.0)));
        window.clear();
        assert_eq!(window.first(), None);
    }
}
