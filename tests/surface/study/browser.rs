//! A whole session in headless Chromium (`scripts/study_browser/session.mjs`).

use super::home::{Home, TOKEN};
use crate::skipping::skipped;
use std::{path::Path, process::Command};

/// Exit code of the script without a browser or its driver.
const NOT_HERE: i32 = 3;

#[test]
fn a_session_in_a_browser_by_keys_and_by_touch() {
    let home = Home::with_pictures(24);
    home.new_study(&["--practice", "2", "--trials", "10"]);
    let server = home.serve();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/study_browser/session.mjs");
    let url = format!("http://{}/", server.address);
    let output = match Command::new("node").arg(script).args([&url, TOKEN]).output() {
        Err(error) => return skipped("no Node.js", error),
        Ok(output) if output.status.code() == Some(NOT_HERE) => {
            return skipped(
                "no Chromium with playwright-core",
                String::from_utf8_lossy(&output.stderr).trim(),
            );
        }
        Ok(output) => output,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    home.says(&["study", "score", "study", "--bootstrap", "10", "--out", "out"]);
    let csv = std::fs::read_to_string(home.path().join("out/trials.csv")).unwrap();
    let count = |status: &str| csv.lines().filter(|line| line.split(',').nth(7) == Some(status)).count();
    // of 24 trials, the one that was hidden and the one before the reload are dropped
    assert_eq!([count("hidden"), count("reload"), count("open"), count("too early")], [1, 1, 0, 0], "{csv}");
    assert_eq!(count("answered") + count("exposure off"), 22);
}
