//! Lengths of training: a number of updates, or what is counted in pictures, in passes over them or in percent of the whole,
//! as the papers of the field state their schedules.

use crate::bounded::{Count, OutOfRange, Percent, Positive};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::{borrow::Cow, cmp::Ordering, fmt};

/// A part of a training. In YAML: `500` updates, or `2 epochs`, `100000 images`, `10 %` of all updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Steps(Count),
    Epochs(Positive),
    Images(Count),
    Percent(Percent),
}

/// What converts lengths into updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainScale {
    /// Pictures of the training split.
    pub pictures: usize,
    /// Pictures of an update.
    pub batch: usize,
    /// Updates of the whole training.
    pub total: usize,
}

impl TrainScale {
    /// Updates that see so many pictures, the last of them perhaps more.
    pub fn updates(self, pictures: f64) -> f64 {
        // A product such as 0.1 × 50 must not ask for one more update by its last bit.
        const ROUNDING: f64 = 1e-9;
        (pictures / self.batch.max(1) as f64 - ROUNDING).ceil().max(1.0)
    }

    /// The nearest number of updates, at least one.
    pub fn steps(self, length: Length) -> Count {
        let steps = match length {
            Length::Steps(steps) => return steps,
            Length::Epochs(epochs) => self.updates(epochs.get() * self.pictures as f64),
            Length::Images(images) => self.updates(images.get() as f64),
            Length::Percent(percent) => (percent.get() / 100.0 * self.total as f64).round(),
        };
        // Beyond the range of a `usize` the conversion saturates, and `of` clamps.
        Count::of(steps as usize)
    }
}

/// Lengths in different units are not compared.
impl PartialOrd for Length {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Steps(a), Self::Steps(b)) | (Self::Images(a), Self::Images(b)) => a.partial_cmp(b),
            (Self::Epochs(a), Self::Epochs(b)) => a.partial_cmp(b),
            (Self::Percent(a), Self::Percent(b)) => a.partial_cmp(b),
            _ => None,
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps} steps"),
            Self::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Self::Images(images) => write!(f, "{images} images"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => steps.serialize(to),
            other => to.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let length = or_zero::deserialize(from)?;
        length.ok_or_else(|| serde::de::Error::custom("expected a whole number of at least 1, got 0"))
    }
}

impl JsonSchema for Length {
    fn schema_name() -> Cow<'static, str> {
        "Length".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let whole = r"[0-9]*[1-9][0-9]*(\.0*)?([eE]\+?[0-9]+)?";
        let number = r"([0-9]*[1-9][0-9]*(\.[0-9]*)?|[0-9]*\.[0-9]*[1-9][0-9]*)([eE][+-]?[0-9]+)?";
        let percent = r"0*(100(\.0*)?|[1-9][0-9]?(\.[0-9]*)?|\.[0-9]*[1-9][0-9]*)";
        let pattern = format!(r"^\s*({whole}\s*(steps?|images?)|{number}\s*epochs?|{percent}\s*%)$");
        json_schema!({
            "description": "A part of a training: a number of updates, or text such as `2 epochs`, `100000 images` or \
                            `10 %` of all updates.",
            "oneOf": [generator.subschema_for::<Count>(), { "type": "string", "pattern": pattern }],
        })
    }
}

/// A length, or 0 for none.
pub mod or_zero {
    use super::{Length, LengthVisitor};
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserializer, Serialize, Serializer};

    /// Writes 0 for none.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(length: &Option<Length>, to: S) -> Result<S::Ok, S::Error> {
        match length {
            None => to.serialize_u64(0),
            Some(length) => length.serialize(to),
        }
    }

    /// Reads a length, or 0.
    ///
    /// # Errors
    /// Anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Length>, D::Error> {
        from.deserialize_any(LengthVisitor)
    }

    /// The schema of a length, or 0.
    pub fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [generator.subschema_for::<Length>(), { "const": 0 }] })
    }
}

/// Reads a length; None: 0.
struct LengthVisitor;

impl Visitor<'_> for LengthVisitor {
    type Value = Option<Length>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of steps, or a length such as 2 epochs, 100000 images or 10 %")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Option<Length>, E> {
        if value == 0.0 {
            return Ok(None);
        }
        given(Count::try_from(value).map(Length::Steps))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<Length>, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<Length>, E> {
        self.visit_f64(value as f64)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<Length>, E> {
        let number = text.trim_end_matches(|c: char| c.is_alphabetic() || c == '%');
        let (number, unit) = (number.trim().parse::<f64>(), &text[number.len()..]);
        let Ok(number) = number else { return Err(self.unreadable(text)) };
        match unit {
            "step" | "steps" => self.visit_f64(number),
            "epoch" | "epochs" => given(Positive::try_from(number).map(Length::Epochs)),
            "image" | "images" => given(Count::try_from(number).map(Length::Images)),
            "%" => given(Percent::try_from(number).map(Length::Percent)),
            _ => Err(self.unreadable(text)),
        }
    }
}

fn given<E: serde::de::Error>(length: Result<Length, OutOfRange>) -> Result<Option<Length>, E> {
    length.map(Some).map_err(E::custom)
}

impl LengthVisitor {
    fn unreadable<E: serde::de::Error>(&self, text: &str) -> E {
        E::custom(format!(
            "expected a number of steps, or a length such as `2 epochs`, `100000 images` or `10 %`, got `{}`",
            crate::text::excerpt(text)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Length, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    /// 1000 pictures in updates of 64: 16 see all of them, the last of them some twice.
    const SCALE: TrainScale = TrainScale { pictures: 1000, batch: 64, total: 200 };

    #[test]
    fn every_unit_is_converted() {
        for (text, steps) in [
            ("500", 500),
            ("7 steps", 7),
            ("1 epoch", 16),
            ("1epochs", 16),
            ("0.5 epochs", 8),
            ("64 images", 1),
            ("65 images", 2),
            ("1e3 images", 16),
            ("10 %", 20),
            ("0.1 %", 1),
            ("100%", 200),
        ] {
            assert_eq!(SCALE.steps(read(text).unwrap()).get(), steps, "{text}");
        }
    }

    #[test]
    fn a_product_of_fractions_asks_for_no_update_more() {
        let scale = TrainScale { pictures: 50, batch: 5, total: 1 };
        // 0.1 × 3 is above 0.3 by its last bit: 15.000000000000002 pictures.
        let epochs = Length::Epochs(Positive::of(0.1 + 0.2));
        assert_eq!(scale.steps(epochs).get(), 3);
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in ["500", "2 epochs", "0.5 epochs", "100000 images", "12.5 %"] {
            let length = read(text).unwrap();
            let written = serde_yaml::to_string(&length).unwrap();
            assert_eq!(read(&written), Ok(length), "{text}");
            assert_eq!(written.trim(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "0",
            "-3",
            "2.5",
            "0 epochs",
            "-1 images",
            "1.5 images",
            "101 %",
            "0 %",
            "ten epochs",
            "5 hours",
            "epochs",
            "true",
            "1 2 epochs",
        ] {
            assert!(read(text).is_err(), "{text} was accepted");
        }
        let error = read("5 hours").unwrap_err();
        assert!(error.contains("such as `2 epochs`") && error.contains("`5 hours`"), "{error}");
    }

    #[test]
    fn lengths_beyond_all_bounds_are_clamped() {
        assert_eq!(SCALE.steps(Length::Epochs(Positive::of(1e300))), Count::of(usize::MAX));
    }
}
