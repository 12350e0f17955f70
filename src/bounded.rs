//! Range-checked numbers. A spec field of one of these types is validated while it is parsed, and the error names its
//! line and column, instead of failing later inside a run. The schema of a spec states the same ranges.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    fmt,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

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

/// The largest number of things that are not more than a share of `count`. The share is taken as it is written: 0.29 of 100
/// are 29, whose product in floating point is below.
pub fn part_of(share: f64, count: usize) -> usize {
    (share * count as f64 * (1.0 + 4.0 * f64::EPSILON)) as usize
}

/// The finite numbers from a least one to a greatest one.
struct Interval(Bound<f64>, Bound<f64>);

impl Interval {
    const fn contains(&self, value: f64) -> bool {
        let is_above = match self.0 {
            Included(least) => value >= least,
            Excluded(limit) => value > limit,
            Unbounded => true,
        };
        let is_below = match self.1 {
            Included(greatest) => value <= greatest,
            Excluded(limit) => value < limit,
            Unbounded => true,
        };
        is_above && is_below && value.is_finite()
    }

    fn schema(&self) -> Schema {
        let mut schema = json_schema!({ "type": "number" });
        let bounds = [(self.0, "minimum", "exclusiveMinimum"), (self.1, "maximum", "exclusiveMaximum")];
        for (bound, included, excluded) in bounds {
            match bound {
                Included(value) => schema.insert(included.into(), value.into()),
                Excluded(value) => schema.insert(excluded.into(), value.into()),
                Unbounded => None,
            };
        }
        schema
    }
}

/// Description in error messages.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Included(least), Included(most)) => write!(f, "a number from {least} to {most}"),
            (Included(least), Excluded(limit)) => write!(f, "a number from {least} to below {limit}"),
            (Excluded(limit), Included(most)) => write!(f, "a number above {limit}, up to {most}"),
            (Excluded(low), Excluded(high)) => write!(f, "a number above {low} and below {high}"),
            (Included(least), Unbounded) => write!(f, "a finite number of at least {least}"),
            (Excluded(limit), Unbounded) => write!(f, "a finite number above {limit}"),
            (Unbounded, Included(most)) => write!(f, "a finite number of at most {most}"),
            (Unbounded, Excluded(limit)) => write!(f, "a finite number below {limit}"),
            (Unbounded, Unbounded) => f.write_str("a finite number"),
        }
    }
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $from:expr, $to:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64")]
        pub struct $name(f64);

        impl $name {
            const RANGE: Interval = Interval($from, $to);

            /// A compile-time value, for defaults in the source.
            ///
            /// # Panics
            /// When the value is out of range.
            pub const fn of(value: f64) -> Self {
                assert!(Self::RANGE.contains(value));
                Self(value)
            }

            /// The number itself.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                if Self::RANGE.contains(value) {
                    return Ok(Self(value));
                }
                Err(OutOfRange { expected: Self::RANGE.to_string().into(), got: shown(value) })
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                Self::RANGE.schema()
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

impl<const MOST: usize> JsonSchema for Count<MOST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("CountTo{MOST}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST })
    }
}

impl<const MOST: usize> fmt::Display for Count<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From a least number to a largest one, both included. In YAML: `[0.08, 1.0]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[T; 2]", into = "[T; 2]")]
#[serde(bound(
    deserialize = "T: Deserialize<'de> + PartialOrd + fmt::Display",
    serialize = "T: Serialize + Copy"
))]
pub struct Span<T> {
    pub least: T,
    pub most: T,
}

impl<T: PartialOrd + fmt::Display> TryFrom<[T; 2]> for Span<T> {
    type Error = OutOfRange;
    fn try_from([least, most]: [T; 2]) -> Result<Self, OutOfRange> {
        if least <= most {
            return Ok(Self { least, most });
        }
        let expected = "the least number first".into();
        Err(OutOfRange { expected, got: format!("[{least}, {most}]") })
    }
}

impl<T> From<Span<T>> for [T; 2] {
    fn from(span: Span<T>) -> Self {
        [span.least, span.most]
    }
}

impl<T: JsonSchema> JsonSchema for Span<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Span of {}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <[T; 2]>::json_schema(generator)
    }
}

bounded!(
    /// A fraction in [0, 1].
    Fraction, Included(0.0), Included(1.0)
);
bounded!(
    /// Share of the old value that a moving average keeps per step, in [0, 1): with 1 it would never move.
    DecayRate, Included(0.0), Excluded(1.0)
);
bounded!(
    /// A finite number above 0: learning rates, widths, temperatures.
    Positive, Excluded(0.0), Unbounded
);
bounded!(
    /// A part of a whole, neither nothing nor all of it.
    Part, Excluded(0.0), Excluded(1.0)
);
bounded!(
    /// A part of a whole, or all of it.
    Portion, Excluded(0.0), Included(1.0)
);
bounded!(
    /// Percent of a whole, above 0.
    Percent, Excluded(0.0), Included(100.0)
);
bounded!(
    /// A divisor of similarities in an exponential: smaller ones overflow, larger ones leave nothing of the similarities.
    Temperature, Included(0.001), Included(1000.0)
);
bounded!(
    /// A finite number of at least 0: weight decay, thresholds.
    NonNegative, Included(0.0), Unbounded
);
bounded!(
    /// A spacing of color bins, in ab units: the gamut is about 200 wide.
    Spacing, Included(1.0), Included(110.0)
);

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
    fn a_part_is_that_of_the_written_share() {
        for (percent, count) in (0..=100).flat_map(|percent| (0..300).map(move |count| (percent, count))) {
            assert_eq!(
                part_of(percent as f64 / 100.0, count),
                percent * count / 100,
                "{percent} % of {count}"
            );
        }
    }

    #[test]
    fn reals_keep_their_bounds() {
        assert!(Fraction::try_from(1.0).is_ok() && Fraction::try_from(1.0001).is_err());
        assert!(DecayRate::try_from(0.0).is_ok() && DecayRate::try_from(1.0_f64.next_down()).is_ok());
        assert!([1.0, -0.1, f64::NAN].iter().all(|v| DecayRate::try_from(*v).is_err()));
        assert!(Positive::try_from(0.0).is_err() && NonNegative::try_from(0.0).is_ok());
        assert!(Positive::try_from(f64::NAN).is_err() && Fraction::try_from(f64::NAN).is_err());
    }

    #[test]
    fn errors_state_the_range() {
        let said = [
            Fraction::try_from(2.0).unwrap_err(),
            DecayRate::try_from(1.0).unwrap_err(),
            Positive::try_from(0.0).unwrap_err(),
            NonNegative::try_from(-1.0).unwrap_err(),
            Temperature::try_from(1e300).unwrap_err(),
        ];
        let expected = [
            "expected a number from 0 to 1, got 2",
            "expected a number from 0 to below 1, got 1",
            "expected a finite number above 0, got 0",
            "expected a finite number of at least 0, got -1",
            "expected a number from 0.001 to 1000, got 1e300",
        ];
        assert_eq!(said.map(|error| error.to_string()), expected);
    }
}
