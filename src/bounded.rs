//! Numbers that cannot be out of range: a spec field of one of these types is refused while it is parsed, with its
//! line and column, instead of failing somewhere inside a run.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A number that is not in the range that its type allows.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("expected {expected}, got {got}")]
pub struct OutOfRange {
    expected: &'static str,
    got: String,
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expected:literal, $holds:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64")]
        pub struct $name($inner);

        impl $name {
            /// The number itself.
            pub fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                let holds: fn(f64) -> bool = $holds;
                if holds(value) {
                    Ok(Self(value as $inner))
                } else {
                    Err(OutOfRange { expected: $expected, got: value.to_string() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// The largest whole number that a double holds exactly; no count in a spec comes near it.
const WHOLE: f64 = 9_007_199_254_740_992.0;

bounded!(
    /// A whole number of at least 1: images, steps, channels, pixels.
    Count(usize), "a whole number of at least 1", |v| (1.0..WHOLE).contains(&v) && v.fract() == 0.0
);
bounded!(
    /// A share from 0 to 1, both included.
    Fraction(f64), "a number from 0 to 1", |v| (0.0..=1.0).contains(&v)
);
bounded!(
    /// A finite number above 0: learning rates, widths, temperatures.
    Positive(f64), "a finite number above 0", |v| v.is_finite() && v > 0.0
);
bounded!(
    /// A finite number of at least 0: weight decay, thresholds.
    NonNegative(f64), "a finite number of at least 0", |v| v.is_finite() && v >= 0.0
);

bounded!(
    /// A spacing of colour bins, in ab units: the gamut is about 200 wide.
    Spacing(f64), "a number from 1 to 110", |v| (1.0..=110.0).contains(&v)
);

impl Count {
    /// A count known at compile time; zero is clamped to one.
    pub const fn of(n: usize) -> Self {
        Self(if n == 0 { 1 } else { n })
    }
}

macro_rules! real {
    ($name:ident, $range:expr) => {
        impl $name {
            /// A value known to be in range when the program is written.
            ///
            /// # Panics
            /// When it is not; meant for defaults in the source.
            pub const fn of(value: f64) -> Self {
                assert!(value >= $range.0 && value <= $range.1);
                Self(value)
            }
        }
    };
}
real!(Positive, (f64::MIN_POSITIVE, f64::MAX));
real!(NonNegative, (0.0, f64::MAX));
real!(Fraction, (0.0, 1.0));
real!(Spacing, (1.0, 110.0));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_and_positive() {
        assert_eq!(Count::try_from(3.0).map(Count::get), Ok(3));
        for bad in [0.0, -1.0, 2.5, f64::NAN, f64::INFINITY, 1e300] {
            assert!(Count::try_from(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn reals_keep_their_bounds() {
        assert!(Fraction::try_from(1.0).is_ok() && Fraction::try_from(1.0001).is_err());
        assert!(Positive::try_from(0.0).is_err() && NonNegative::try_from(0.0).is_ok());
        assert!(Positive::try_from(f64::NAN).is_err() && Fraction::try_from(f64::NAN).is_err());
        let error = Fraction::try_from(2.0).map_err(|e| e.to_string());
        assert_eq!(error, Err("expected a number from 0 to 1, got 2".into()));
    }
}
