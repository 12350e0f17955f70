//! `schema`: what an experiment may say, for editors and for readers.

use super::{out, output::CommandOutput};
use crate::{
    atomic_write,
    experiment::Experiment,
    spec::schema::{reference::reference, schema},
};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{self, PathBuf};

#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Print the key reference, a page of Markdown, instead of the schema
    #[arg(long)]
    markdown: bool,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE", value_parser = out::path())]
    out: Option<PathBuf>,
}

/// Prints or writes the schema of an experiment, or its key reference.
pub(super) fn run(args: &SchemaArgs) -> Result<CommandOutput> {
    let schema = schema::<Experiment>();
    let mut text = if args.markdown { reference(&schema) } else { serde_json::to_string_pretty(&schema)? };
    let Some(path) = &args.out else { return Ok(CommandOutput::ok(text)) };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let written = || format!("cannot write {}: does its folder exist, is it writable?", path.display());
    atomic_write::write(path, text.as_bytes()).with_context(written)?;
    Ok(CommandOutput::ok(match args.markdown {
        true => format!("the key reference is in {}", path.display()),
        // An editor starts a relative path at the folder of the file that it edits.
        false => format!(
            "the schema is in {}; an editor uses it for a file whose first line is\n\
             # yaml-language-server: $schema={}",
            path.display(),
            path::absolute(path)?.display()
        ),
    }))
}
