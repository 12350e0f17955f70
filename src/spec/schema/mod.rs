//! The JSON Schema of a spec, for editors, and the key reference made of it. It states what the parser accepts as nearly
//! as JSON Schema can, with doc comments as descriptions.
//!
//! schemars derives it as serde_json would read the types. A spec may say more: the bare name of a variant, and only
//! what differs from the file that it `extends`. Neither states what relates two keys, such as a stage and those that use
//! it: that is what `hueristic check` reports.

mod definitions; // and references to them

mod choices; // variants, in every spelling
mod extending; // files that extend another
pub mod reference; // the key reference
mod wording; // titles, descriptions, keywords

use schemars::{
    JsonSchema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

/// The schema of a spec file of type `T`. Keys are in the order of the source.
pub fn schema<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    choices::Choices::of(&schema).transform(&mut schema);
    RecursiveTransform(wording::standard).transform(&mut schema);
    wording::add_titles(&mut schema);
    extending::with_base(schema, &T::schema_name())
}
