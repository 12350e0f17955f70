//! What a test does that cannot run here: it says so, and leaves a line for `what_was_skipped`, which counts the tests of
//! one `cargo test`.

#![allow(dead_code)] // each test program uses a part

use std::{
    env, fmt,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

/// Where the lines of all programs of one `cargo test` are.
pub fn record() -> PathBuf {
    // Cargo names the folder to test programs, but not to the tests of the library: it is beside that of their program.
    let beside = || {
        let program = env::current_exe().unwrap_or_default();
        program.ancestors().nth(3).unwrap_or(Path::new("")).join("tmp")
    };
    option_env!("CARGO_TARGET_TMPDIR").map_or_else(beside, PathBuf::from).join("skipped").join(run())
}

/// The process that started this one, and when it began: cargo's own, the same for all test programs of a run.
fn run() -> String {
    #[cfg(unix)]
    let parent = std::os::unix::process::parent_id();
    #[cfg(not(unix))]
    let parent = 0;
    // The 22nd field, after a name that may hold blanks.
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    let began =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or("0").to_string();
    format!("{parent}-{began}")
}

/// Says that the test of this thread is not run: `why` in words that are the same for all such tests, `what` is missing.
pub fn skipped(why: &str, what: impl fmt::Display) {
    println!("skipped: {why}: {what}");
    let thread = std::thread::current();
    let program = env!("CARGO_CRATE_NAME");
    let test = thread.name().filter(|name| *name != "main").unwrap_or(program);
    let path = record();
    // Nothing is counted where the folder of the build is not: a program that was carried elsewhere.
    let _ = path.parent().map(fs::create_dir);
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{why}\t{test}\n").as_bytes());
    }
}

/// What a script in `scripts/oracles` prints about `path`, by the Python of HUERISTIC_PYTHON or `python3`. None, and the test
/// counts as skipped, without Python or if the script ends with 3, which says that `packages` are missing.
pub fn answer_of_python(script: &str, path: &Path, packages: &str) -> Option<Vec<u8>> {
    let python = env::var("HUERISTIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles").join(script);
    let output = match std::process::Command::new(&python).arg(script).arg(path).output() {
        Err(error) => {
            skipped("no Python", format_args!("cannot run {python}: {error}"));
            return None;
        }
        Ok(output) if output.status.code() == Some(3) => {
            skipped(&format!("no {packages} package (HUERISTIC_PYTHON)"), &python);
            return None;
        }
        Ok(output) => output,
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// The folder of real data sets, whether it is there or not.
pub fn data_folder() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    env::var_os("HUERISTIC_DATA").map_or_else(beside, PathBuf::from)
}

/// A real data set; None, and the test counts as skipped, where it is not.
pub fn data(name: &str) -> Option<PathBuf> {
    let path = data_folder().join(name);
    if path.exists() {
        return Some(path);
    }
    skipped("no data set below HUERISTIC_DATA", name);
    None
}
