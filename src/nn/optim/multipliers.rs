//! Learning-rate and decay factors by name pattern, with a check that every pattern matches a parameter.

use crate::bounded::NonNegative;
use candle_core::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Learning-rate and decay factors for the parameters whose names match `pattern` (`*` matches any string, including
/// the empty one). The last matching pattern applies, so `*` can come first and exceptions after it. A learning-rate
/// factor of 0 freezes the parameter: no update, no decay, no moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Multiplier {
    /// Pattern of parameter names, such as `conv1.*`.
    pub pattern: String,
    /// Factor on the learning rate.
    #[serde(default = "one")]
    pub lr: NonNegative,
    /// Factor on the weight decay.
    #[serde(default = "one")]
    pub decay: NonNegative,
}

fn one() -> NonNegative {
    NonNegative::of(1.0)
}

/// The factors in most Caffe models of the time: biases have twice the learning rate and no decay. Not a default here:
/// without multipliers weights and biases are treated alike.
pub fn caffe_pairs() -> Vec<Multiplier> {
    vec![Multiplier { pattern: "*.bias".into(), lr: NonNegative::of(2.0), decay: NonNegative::of(0.0) }]
}

/// Learning-rate and decay factor of one parameter.
pub(super) fn factors(multipliers: &[Multiplier], name: &str) -> (f64, f64) {
    let last = multipliers.iter().rev().find(|m| matches(&m.pattern, name));
    last.map_or((1.0, 1.0), |m| (m.lr.get(), m.decay.get()))
}

/// The first pattern that matches no parameter, by its number, and what to say of it, with the nearest names.
pub fn uncovered(multipliers: &[Multiplier], names: &[&str]) -> Option<(usize, String)> {
    let at = multipliers.iter().position(|m| !names.iter().any(|name| matches(&m.pattern, name)))?;
    let (pattern, nearest) = (&multipliers[at].pattern, nearest(&multipliers[at].pattern, names).join(", "));
    let reason = format!("the pattern `{pattern}` matches no parameter; the nearest names are {nearest}");
    Some((at, reason))
}

/// Whether a learning-rate factor of 0 freezes every one of these parameters.
pub fn freeze_all(multipliers: &[Multiplier], names: &[&str]) -> bool {
    !names.is_empty() && names.iter().all(|name| factors(multipliers, name).0 == 0.0)
}

/// A pattern without a match is an error.
pub(super) fn check_coverage(multipliers: &[Multiplier], names: &[&str]) -> Result<()> {
    match uncovered(multipliers, names) {
        None => Ok(()),
        Some((_, reason)) => bail!("optimizer: multipliers: {reason}"),
    }
}

fn nearest<'a>(pattern: &str, names: &[&'a str]) -> Vec<&'a str> {
    let mut sorted = names.to_vec();
    sorted.sort_by(|a, b| strsim::jaro_winkler(pattern, b).total_cmp(&strsim::jaro_winkler(pattern, a)));
    sorted.truncate(3);
    sorted
}

/// Whether `name` matches `pattern`, in which each `*` matches any string.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len()).filter(|&i| rest.is_char_boundary(i)).any(|i| matches(tail, &rest[i..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multiplier(pattern: &str, lr: f64) -> Multiplier {
        Multiplier { pattern: pattern.into(), lr: NonNegative::of(lr), decay: one() }
    }

    #[test]
    fn stars_match_anything() {
        for (pattern, name) in [
            ("*", "conv1.weight"),
            ("*.bias", "fc6.bias"),
            ("conv*.w*t", "conv12.weight"),
            ("fc6.bias", "fc6.bias"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("conv1", "conv1.weight"), ("*.bias", "fc6.weight"), ("fc*.b", "fc6.bias"), ("", "a")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn the_last_match_counts() {
        let list = [multiplier("*", 0.0), multiplier("fc8.*", 1.0), multiplier("*.bias", 2.0)];
        let rates = ["conv1.weight", "fc8.weight", "fc8.bias"].map(|name| factors(&list, name).0);
        assert_eq!(rates, [0.0, 1.0, 2.0]);
        assert_eq!(factors(&caffe_pairs(), "fc8.bias"), (2.0, 0.0));
        assert_eq!(factors(&caffe_pairs(), "fc8.weight"), (1.0, 1.0));
    }

    #[test]
    fn a_pattern_that_reaches_nothing_is_refused() {
        let names = ["conv1.weight", "conv1.bias", "fc8.weight"];
        let error =
            check_coverage(&[multiplier("conv1.wieght", 1.0)], &names).expect_err("a typo").to_string();
        assert!(
            error.contains("`conv1.wieght`") && error.contains("nearest names are conv1.weight"),
            "{error}"
        );
        assert!(check_coverage(&caffe_pairs(), &names).is_ok());
    }
}
