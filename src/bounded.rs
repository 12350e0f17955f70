//! Range-checked numbers. A spec field of one of these types is validated while it is parsed, and the error names its
//! line and column, instead of failing later inside a run.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// A number outside the range of its type.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("expected {expected}, got {got}")]
pub struct OutOfRange {
    expected: Cow<'static, str>,
    got: String,
}

/// Uses exponent notation for large values, so that 1e300 does not print three hundred digits.
fn shown(value: f64) -> String {
    if value.abs() < 1e16 { value.to_string() } else { format!("{value:e}") }
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
                    Err(OutOfRange { expected: $expected.into(), got: shown(value) })
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

/// A whole number from 1 to `MOST`: steps, and every count without a type of its own below. The bounds exceed any
/// practical value and keep products of several counts within 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Count<const MOST: usize = 4_294_967_295>(usize);

/// Side length in pixels.
pub type Pixels = Count<65_535>;
/// Images per batch, batches per update, threads.
pub type BatchSize = Count<65_535>;
/// Channels of a layer.
pub type Channels = Count<1_048_576>;
/// Number of generated scenes.
pub type SceneCount = Count<16_777_216>;
/// Side of a generated scene, in pixels.
pub type SceneSize = Count<4096>;

impl<const MOST: usize> Count<MOST> {
    /// A compile-time count, clamped to the range.
    pub const fn of(n: usize) -> Self {
        Self(if n == 0 {
            1
        } else if n > MOST {
            MOST
        } else {
            n
        })
    }

    /// The number itself.
    pub fn get(self) -> usize {
        self.0
    }
}

impl<const MOST: usize> TryFrom<f64> for Count<MOST> {
    type Error = OutOfRange;
    fn try_from(value: f64) -> Result<Self, OutOfRange> {
        if (1.0..=MOST as f64).contains(&value) && value.fract() == 0.0 {
            return Ok(Self(value as usize));
        }
        let expected = match value <= MOST as f64 {
            true => Cow::from("a whole number of at least 1"),
            false => format!("a whole number from 1 to {MOST}").into(),
        };
        Err(OutOfRange { expected, got: shown(value) })
    }
}

impl<const MOST: usize> fmt::Display for Count<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

bounded!(
    /// A fraction in [0, 1].
    Fraction(f64), "a number from 0 to 1", |v| (0.0..=1.0).contains(&v)
);
bounded!(
    /// Share of the old value that a moving average keeps per step, in [0, 1): with 1 it would never move.
    DecayRate(f64), "a number from 0 to below 1", |v| (0.0..1.0).contains(&v)
);
bounded!(
    /// A finite number above 0: learning rates, widths, temperatures.
    Positive(f64), "a finite number above 0", |v| v.is_finite() && v > 0.0
);
bounded!(
    /// A part of a whole, neither nothing nor all of it.
    Part(f64), "a number above 0 and below 1", |v| v > 0.0 && v < 1.0
);
bounded!(
    /// Percent of a whole, above 0.
    Percent(f64), "a number above 0, up to 100", |v| v > 0.0 && v <= 100.0
);
bounded!(
    /// A divisor of similarities in an exponential: smaller ones overflow, larger ones leave nothing of the similarities.
    Temperature(f64), "a number from 0.001 to 1000", |v| (0.001..=1000.0).contains(&v)
);
bounded!(
    /// A finite number of at least 0: weight decay, thresholds.
    NonNegative(f64), "a finite number of at least 0", |v| v.is_finite() && v >= 0.0
);

bounded!(
    /// A spacing of color bins, in ab units: the gamut is about 200 wide.
    Spacing(f64), "a number from 1 to 110", |v| (1.0..=110.0).contains(&v)
);

macro_rules! real {
    ($name:ident, $range:expr) => {
        impl $name {
            /// A compile-time value, for defaults in the source.
            ///
            /// # Panics
            /// When the value is out of range.
            pub const fn of(value: f64) -> Self {
                assert!(value >= $range.0 && value <= $range.1);
                Self(value)
            }
        }
    };
}
real!(Positive, (f64::MIN_POSITIVE, f64::MAX));
real!(Temperature, (0.001, 1000.0));
real!(NonNegative, (0.0, f64::MAX));
real!(Fraction, (0.0, 1.0));
real!(DecayRate, (0.0, 1.0_f64.next_down()));
real!(Spacing, (1.0, 110.0));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_and_positive() {
        assert_eq!(Pixels::try_from(3.0).map(Pixels::get), Ok(3));
        for bad in [0.0, -1.0, 2.5, f64::NAN, f64::INFINITY, 1e300, 65_536.0] {
            assert!(Pixels::try_from(bad).is_err(), "{bad} was accepted");
        }
        let said = |n: f64| Pixels::try_from(n).unwrap_err().to_string();
        assert_eq!(said(0.5), "expected a whole number of at least 1, got 0.5");
        assert_eq!(said(65_536.0), "expected a whole number from 1 to 65535, got 65536");
        assert_eq!(<Count>::try_from(4_294_967_295.0).map(Count::get), Ok(4_294_967_295));
    }

    #[test]
    fn reals_keep_their_bounds() {
        assert!(Fraction::try_from(1.0).is_ok() && Fraction::try_from(1.0001).is_err());
        assert!(DecayRate::try_from(0.0).is_ok() && DecayRate::try_from(1.0_f64.next_down()).is_ok());
        assert!([1.0, -0.1, f64::NAN].iter().all(|v| DecayRate::try_from(*v).is_err()));
        assert!(Positive::try_from(0.0).is_err() && NonNegative::try_from(0.0).is_ok());
        assert!(Positive::try_from(f64::NAN).is_err() && Fraction::try_from(f64::NAN).is_err());
        let error = Fraction::try_from(2.0).map_err(|e| e.to_string());
        assert_eq!(error, Err("expected a number from 0 to 1, got 2".into()));
    }
}
