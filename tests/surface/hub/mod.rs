//! The hub against a stand-in server on the loopback interface: requests, uploads, cache locations, and offline
//! behavior. Each case runs in a separate process, since it depends on environment variables.

mod data;
mod push;
mod released;
mod runs;
mod stand_in;
mod weights;

use std::{path::Path, process::Command};

/// Each of these variables disables all requests.
const OFFLINE: [&str; 3] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"];

/// A process whose hub environment contains only this server and this home.
fn at_home(mut command: Command, home: &Path, endpoint: &str) -> Command {
    let names = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"];
    let others = ["HF_HUB_DISABLE_IMPLICIT_TOKEN", "RUST_LOG", "HUERISTIC_DATA"];
    for name in names.into_iter().chain(OFFLINE).chain(others) {
        command.env_remove(name);
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).env("NO_PROXY", "127.0.0.1,127.0.0.2");
    command
}

/// Runs the binary with these arguments and additional environment: exit code, stdout, stderr.
fn hueristic(
    home: &Path,
    endpoint: &str,
    arguments: &[&str],
    more: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let command = at_home(Command::new(env!("CARGO_BIN_EXE_hueristic")), home, endpoint);
    let output = { command }.args(arguments).envs(more.iter().copied()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
