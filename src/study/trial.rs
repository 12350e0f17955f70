//! The words of a trial: what it is for, where the fake is, why it has no answer. Each is stored, sent, and written by the
//! same name.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialKind {
    /// With feedback, not scored.
    Practice,
    /// The photograph against the algorithm's picture.
    Test,
    /// The photograph against the Random baseline.
    Vigilance,
}

/// One of the two pictures of a trial, by when it is shown. The first is on the left, or above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairPlace {
    First,
    Second,
}

/// Why a trial has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VoidReason {
    /// The page was hidden while the pictures were shown.
    Hidden,
    /// The page was reloaded after the trial had begun.
    Reload,
}

/// Names of an enumeration, in the database as in JSON and CSV.
macro_rules! names {
    ($kind:ident { $($variant:ident = $name:literal),+ }) => {
        impl $kind {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.name().into())
            }
        }

        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                Self::ALL.iter().copied().find(|known| known.name() == text).ok_or(FromSqlError::InvalidType)
            }
        }
    };
}

names!(TrialKind { Practice = "practice", Test = "test", Vigilance = "vigilance" });
names!(PairPlace { First = "first", Second = "second" });
names!(VoidReason { Hidden = "hidden", Reload = "reload" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        for kind in TrialKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for place in PairPlace::ALL {
            assert_eq!(serde_json::to_value(place).unwrap(), place.name());
        }
        for reason in VoidReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
