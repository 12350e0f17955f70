//! An answer as a page sends it.

use super::trial::PairPlace;
use serde::Deserialize;

/// An answer, with what the browser has measured, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialAnswer {
    pub trial: usize,
    /// The picture that is called fake.
    pub chosen: PairPlace,
    /// Exposures of the two pictures.
    pub exposures: [f64; 2],
    /// Time between two frames.
    pub frame: f64,
    /// From the question to the answer.
    pub response: f64,
}

impl TrialAnswer {
    /// Whether the measurements are times that can be: what a page sends is not trusted.
    pub fn is_plausible(&self) -> bool {
        let within = |value: f64, most: f64| (0.0..=most).contains(&value);
        self.exposures.iter().all(|exposure| within(*exposure, MINUTE))
            && within(self.frame, 1000.0)
            && within(self.response, 24.0 * 60.0 * MINUTE)
    }
}

/// In milliseconds.
const MINUTE: f64 = 60_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_that_cannot_be_are_recognized() {
        let good = TrialAnswer {
            trial: 0,
            chosen: PairPlace::First,
            exposures: [1000.0; 2],
            frame: 16.7,
            response: 9.0,
        };
        assert!(good.is_plausible());
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
            assert!(!TrialAnswer { exposures: [1000.0, bad], ..good }.is_plausible());
            assert!(!TrialAnswer { frame: bad, ..good }.is_plausible());
            assert!(!TrialAnswer { response: bad, ..good }.is_plausible());
        }
        let parse = |text: &str| serde_json::from_str::<TrialAnswer>(text);
        let json = r#"{"trial":0,"chosen":"first","exposures":[1000,1000],"frame":16.7,"response":9}"#;
        assert_eq!(parse(json).unwrap(), good);
        assert!(
            parse(&json.replace("first", "third")).is_err()
                && parse(&json.replace("}", r#","x":1}"#)).is_err()
        );
    }
}
