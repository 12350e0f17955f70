//! The schema and the parser, each asked whether it accepts a document.

use boon::{Compiler, SchemaIndex, Schemas};
use hueristic::{
    experiment::Experiment,
    spec::{parse, schema::schema},
};
use serde_json::Value;
use std::fs;

/// The schema of experiments with an independent validator.
pub struct Witness {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Witness {
    pub fn of(schema: &Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", schema.clone()).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    pub fn of_experiments() -> Self {
        Self::of(&schema::<Experiment>())
    }

    /// Why the schema refuses the document.
    pub fn check(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// What a file of YAML says, with its merge keys applied.
pub fn json(yaml: &str) -> Value {
    let mut value: serde_yaml::Value =
        serde_yaml::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

/// Why the parser refuses a text, before relations between keys are checked.
pub fn parsed(text: &str) -> Result<Experiment, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec.yaml");
    fs::write(&path, text).unwrap();
    parse(&path, &[]).map_err(|error| error.to_string())
}
