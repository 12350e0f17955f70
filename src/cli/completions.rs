//! `completions` and `man`: what shells and `man` know of the program, from the definitions behind `--help`.

use super::{out, output::CommandOutput};
use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::{Shell, generate};
use std::{fs, path::PathBuf};

#[derive(Args, Debug)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Folder for the pages, one for each command
    #[arg(long, value_name = "DIR", default_value = "man", value_parser = out::path())]
    out: PathBuf,
}

/// The script that completes the arguments of `command`.
pub(super) fn completions(args: &CompletionArgs, mut command: Command) -> Result<CommandOutput> {
    let (name, mut script) = (command.get_name().to_string(), vec![]);
    generate(args.shell, &mut command, name, &mut script);
    Ok(CommandOutput::ok(String::from_utf8(script)?))
}

/// Writes a page for `command` and for each of its own.
pub(super) fn man(args: &ManArgs, command: Command) -> Result<CommandOutput> {
    let out = args.out.display();
    let first = format!("{}.1", command.get_name());
    let written = || format!("cannot write {out}: is the folder writable, the disk full?");
    fs::create_dir_all(&args.out).with_context(written)?;
    clap_mangen::generate_to(command, &args.out).with_context(written)?;
    Ok(CommandOutput::ok(format!("pages in {out}; the first is {first}: man {out}/{first}")))
}
