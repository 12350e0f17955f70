//! Bit-exact doubles in JSON, including NaN and infinities: stored as text in Rust's shortest round-trip form. For
//! `#[serde(with = "exact")]`.

use crate::text::excerpt;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes the double as text.
pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Parses the double from text.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| D::Error::custom(format!("`{}` is not a number", excerpt(&text))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Held(#[serde(with = "super")] f64);

    fn through_json(value: f64) -> f64 {
        let text = serde_json::to_string(&Held(value)).unwrap();
        serde_json::from_str::<Held>(&text).unwrap().0
    }

    proptest! {
        #[test]
        fn every_number_survives(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back = through_json(value);
            prop_assert!(back.to_bits() == bits || (value.is_nan() && back.is_nan()));
        }
    }

    #[test]
    fn infinities_and_negative_zero_survive() {
        for value in [f64::INFINITY, f64::NEG_INFINITY, -0.0] {
            assert_eq!(through_json(value).to_bits(), value.to_bits());
        }
    }
}
