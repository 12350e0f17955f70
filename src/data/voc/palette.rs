//! Maps mask colors to labels: VOC's colors, or those given in a spec.
//!
//! ```yaml
//! palette: { background: [255, 255, 255], cat: [0, 0, 255], dog: [255, 0, 0], void: [128, 128, 128] }
//! ```

use super::classes::CLASSES;
use crate::data::annotated::VOID;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

pub type Color = [u8; 3];

const BACKGROUND: &str = "background";
const BORDER: &str = "void";
const INDICES: &str = "indices";

/// VOC's color map: the bits of the index are distributed to red, green and blue in turn, from the highest bit down.
pub fn color_map() -> [Color; 256] {
    std::array::from_fn(|index| {
        std::array::from_fn(|channel| {
            (0..8).fold(0, |color, bit| {
                let dealt = index >> (3 * bit + channel) & 1;
                color | (dealt as u8) << (7 - bit)
            })
        })
    })
}

/// How mask pixels are mapped to labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// By VOC's colors, independent of the palette order.
    #[default]
    Voc,
    /// By index, independent of the colors.
    Indices,
    /// By the given class colors; background and void default to VOC's.
    Named(BTreeMap<String, Color>),
}

impl Palette {
    pub fn is_voc(&self) -> bool {
        *self == Self::Voc
    }

    /// The label of every color.
    pub(super) fn labels(&self) -> HashMap<Color, u8> {
        let map = color_map();
        match self {
            Self::Voc | Self::Indices => map.into_iter().zip(0..=u8::MAX).collect(),
            Self::Named(named) => {
                let [background, void] = [(map[0], 0), (map[usize::from(VOID)], VOID)];
                let given = named.iter().filter_map(|(name, color)| Some((*color, label(name)?)));
                [background, void].into_iter().filter(|(_, label)| !self.names(*label)).chain(given).collect()
            }
        }
    }

    fn names(&self, wanted: u8) -> bool {
        matches!(self, Self::Named(named) if named.keys().any(|name| label(name) == Some(wanted)))
    }
}

/// The mask label of a class.
fn label(name: &str) -> Option<u8> {
    match name {
        BACKGROUND => Some(0),
        BORDER => Some(VOID),
        class => CLASSES.iter().position(|known| *known == class).map(|at| at as u8 + 1),
    }
}

impl Serialize for Palette {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Voc => serializer.serialize_none(),
            Self::Indices => serializer.serialize_str(INDICES),
            Self::Named(named) => named.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Palette {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PaletteVisitor)
    }
}

impl JsonSchema for Palette {
    fn schema_name() -> Cow<'static, str> {
        "Palette".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = [BACKGROUND, BORDER].into_iter().chain(CLASSES).collect();
        let color = generator.subschema_for::<Color>();
        json_schema!({
            "description": "How the colors of masks are mapped to classes. Absent: VOC's colors. `indices`: the indices of \
                            the pictures' palettes, whatever their colors. Else the color `[red, green, blue]` of each \
                            class, 0 to 255; `background` and `void` default to VOC's.",
            "oneOf": [
                { "type": "null" },
                { "const": INDICES },
                { "type": "object", "propertyNames": { "enum": names }, "additionalProperties": color },
            ],
        })
    }
}

struct PaletteVisitor;

impl<'de> Visitor<'de> for PaletteVisitor {
    type Value = Palette;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a color [red, green, blue] for each class, or `{INDICES}`")
    }

    fn visit_unit<E: Error>(self) -> Result<Palette, E> {
        Ok(Palette::Voc)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Palette, E> {
        match word {
            INDICES => Ok(Palette::Indices),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Palette, A::Error> {
        let mut named: BTreeMap<String, Color> = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if label(&name).is_none() {
                return Err(A::Error::custom(format!(
                    "`{name}` is neither a class of PASCAL VOC nor `{BACKGROUND}` or `{BORDER}`"
                )));
            }
            let color: Color = map.next_value()?;
            if let Some((other, _)) = named.iter().find(|(_, taken)| **taken == color) {
                return Err(A::Error::custom(format!("`{other}` and `{name}` have one color")));
            }
            if named.insert(name.clone(), color).is_some() {
                return Err(A::Error::custom(format!("`{name}` is named twice")));
            }
        }
        Ok(Palette::Named(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_color_map_is_vocs() {
        let map = color_map();
        // background, aeroplane, bicycle, bird, boat, bottle, person, tvmonitor, the border
        let known = [
            (0, [0, 0, 0]),
            (1, [128, 0, 0]),
            (2, [0, 128, 0]),
            (3, [128, 128, 0]),
            (4, [0, 0, 128]),
            (5, [128, 0, 128]),
            (15, [192, 128, 128]),
            (20, [0, 64, 128]),
            (255, [224, 224, 192]),
        ];
        for (index, color) in known {
            assert_eq!(map[index], color, "index {index}");
        }
        assert_eq!(Palette::Voc.labels().len(), 256, "no color is there twice");
    }

    fn read(text: &str) -> Result<Palette, String> {
        serde_yaml::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_spec_names_colors_by_class() {
        let palette = read("{ cat: [0, 0, 255], dog: [255, 0, 0] }").unwrap();
        let expected = [([0, 0, 0], 0), ([224, 224, 192], 255), ([0, 0, 255], 8), ([255, 0, 0], 12)];
        assert_eq!(palette.labels(), HashMap::from(expected));
        let palette = read("{ background: [9, 9, 9], void: [0, 0, 0], cat: [224, 224, 192] }").unwrap();
        assert_eq!(palette.labels(), HashMap::from([([9, 9, 9], 0), ([0, 0, 0], 255), ([224, 224, 192], 8)]));
        assert_eq!((read("indices"), read("~")), (Ok(Palette::Indices), Ok(Palette::Voc)));
        for palette in [palette, Palette::Indices, Palette::Voc] {
            assert_eq!(read(&serde_yaml::to_string(&palette).unwrap()), Ok(palette));
        }
    }

    #[test]
    fn palettes_that_cannot_be_meant_are_refused() {
        for (text, part) in [
            ("{ cta: [0, 0, 255] }", "`cta` is neither a class"),
            ("{ cat: [0, 0, 256] }", "256"),
            ("{ cat: [0, 0] }", "length"),
            ("{ cat: [0, 0, 1], dog: [0, 0, 1] }", "`cat` and `dog` have one color"),
            ("{ cat: [0, 0, 1], cat: [0, 0, 2] }", "`cat` is named twice"),
            ("colors", "`indices`"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }
}
