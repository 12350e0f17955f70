//! Uploading a finished run to the hub.

use super::{
    hueristic, runs,
    stand_in::{Answer, Asked, StandIn},
};
use hueristic::{
    experiment::publish::prepare,
    train::manifest::{Manifest, Status, sha256},
};
use serde_json::{Value, json};
use std::{collections::HashMap, fs, path::Path};

const TO: &str = "hf://somebody/colors";
const TOKEN: (&str, &str) = ("HF_TOKEN", "hf_key");
const WEIGHTS: &str = "weights.safetensors";

/// A hub that creates repositories on request and accepts weights as large files (`lfs`) or with the commit
/// (`regular`).
fn stand_in(mode: &'static str) -> StandIn {
    let taken = std::sync::Mutex::new(false);
    StandIn::answering(move |asked| {
        let (_, path) = asked.line.split_once(' ')?;
        let ok = |value: Value| Some(Answer::json("200 OK", value));
        match path {
            "/api/repos/create" if std::mem::replace(&mut *taken.lock().unwrap(), true) => {
                Some(Answer::json("409 Conflict", "{\"error\":\"You already created this model repo\"}"))
            }
            "/api/repos/create" => ok(json!({"url": "https://hub/somebody/colors"})),
            "/api/models/somebody/colors/branch/trial" => ok(json!({})),
            "/somebody/colors.git/info/lfs/objects/batch" => ok(json!({"transfer": "xet"})),
            _ if path.contains("/preupload/") => ok(upload_modes(asked, mode)),
            _ if path.contains("/xet-write-token/") => ok(
                json!({"casUrl": format!("http://{}", asked.host), "accessToken": "key", "exp": 4_000_000_000_u64}),
            ),
            _ if path.starts_with("/v1/xorbs/") => ok(json!({"was_inserted": true})),
            "/v1/shards" => ok(json!({"result": 1})),
            _ if path.contains("/commit/") => {
                ok(json!({"commitUrl": "https://hub/somebody/colors/commit/1"}))
            }
            _ => None,
        }
    })
}

fn upload_modes(asked: &Asked, mode: &str) -> Value {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let modes = body["files"].as_array().unwrap().iter().map(|file| {
        let mode = if file["path"] == WEIGHTS { mode } else { "regular" };
        json!({"path": file["path"], "uploadMode": mode})
    });
    json!({"files": modes.collect::<Vec<_>>()})
}

fn push(run: &Path, server: &StandIn, to: &str, more: &[&str], token: bool) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().unwrap();
    let license: &[_] = if more.contains(&"--license") { &[] } else { &["--license", "mit"] };
    let arguments = [&["weights", "push", run.to_str().unwrap(), to], more, license].concat();
    let uncompressed = ("HF_XET_XORB_COMPRESSION_POLICY", "none");
    let environment: &[_] = if token { &[TOKEN, uncompressed] } else { &[uncompressed] };
    hueristic(home.path(), &server.endpoint, &arguments, environment)
}

/// The lines of the requested commit: its header, and its files by path.
fn commit(asked: &[Asked]) -> (Value, HashMap<String, Value>) {
    let commit = asked.iter().find(|a| a.line.contains("/commit/")).unwrap();
    let mut lines = commit.body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let mut next = || lines.next().map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let head = next().unwrap();
    assert_eq!(head["key"], "header");
    let files =
        std::iter::from_fn(next).map(|file| (file["value"]["path"].as_str().unwrap().to_string(), file));
    (head["value"].clone(), files.collect())
}

/// The bytes of a file included in the commit itself.
fn inline(file: &Value) -> Vec<u8> {
    assert_eq!((&file["key"], &file["value"]["encoding"]), (&json!("file"), &json!("base64")));
    base64(file["value"]["content"].as_str().unwrap())
}

/// RFC 4648.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').chars().map(|c| alphabet.find(c).unwrap() as u32);
    let digits: Vec<u32> = digits.collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let all = four.iter().fold(0, |all, digit| all << 6 | digit) << (6 * (4 - four.len()));
        all.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}

#[test]
fn a_run_is_uploaded_in_one_commit() {
    let home = tempfile::tempdir().unwrap();
    let (run, server) = (runs::finished(home.path()), stand_in("regular"));
    let (code, out, err) = push(&run, &server, TO, &["--private", "--message", "Two steps"], true);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("https://hub/somebody/colors/commit/1"), "{out}");
    assert!(out.contains("hf://somebody/colors/weights.safetensors"), "{out}");

    let asked = server.requests();
    let lines: Vec<_> = asked.iter().map(|a| a.line.as_str()).collect();
    let api = "POST /api/models/somebody/colors";
    let wanted =
        ["POST /api/repos/create".into(), format!("{api}/preupload/main"), format!("{api}/commit/main")];
    assert_eq!(lines, wanted);
    assert!(asked.iter().all(|a| a.token.as_deref() == Some("Bearer hf_key")), "{lines:?}");
    let created: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(
        created,
        json!({"name": "colors", "organization": "somebody", "private": true, "type": "model"})
    );
    let (head, files) = commit(&asked);
    assert_eq!(head["summary"], "Two steps");
    assert_eq!(inline(&files[WEIGHTS]), fs::read(run.join(WEIGHTS)).unwrap());
    assert_eq!(inline(&files["spec.yaml"]), fs::read(run.join("spec.yaml")).unwrap());
    let card = prepare(&run, &TO.parse().unwrap(), "mit").unwrap().card;
    assert_eq!(inline(&files["README.md"]), card.as_bytes());
    let manifest: Manifest = serde_json::from_slice(&inline(&files["manifest.json"])).unwrap();
    assert_eq!(manifest.machine.host, "withheld");
    assert_eq!(manifest.outputs, Manifest::read(&run).unwrap().unwrap().outputs);
    assert_eq!(files.len(), 4);
}

#[test]
fn large_files_go_to_the_hubs_store() {
    let home = tempfile::tempdir().unwrap();
    let (run, server) = (runs::finished(home.path()), stand_in("lfs"));
    let (code, _, err) = push(&run, &server, &format!("{TO}@trial"), &[], true);
    assert_eq!(code, Some(0), "{err}");
    let asked = server.requests();
    assert_eq!(asked[1].line, "POST /api/models/somebody/colors/branch/trial");
    assert!(asked.last().unwrap().line.ends_with("/commit/trial"), "{:?}", asked.last());

    let bytes = fs::read(run.join(WEIGHTS)).unwrap();
    let (head, files) = commit(&asked);
    assert!(head["summary"].as_str().unwrap().contains("color-s0-0123456789ab"), "{head}");
    let oid = sha256(&run.join(WEIGHTS)).unwrap();
    let pointer = json!({"path": WEIGHTS, "algo": "sha256", "oid": oid, "size": bytes.len()});
    assert_eq!(files[WEIGHTS], json!({"key": "lfsFile", "value": pointer}));
    let stored: Vec<u8> =
        asked.iter().filter(|a| a.line.contains("/v1/xorbs/")).flat_map(|a| a.body.clone()).collect();
    assert!(holds_in_order(&stored, &bytes), "{} bytes stored of {}", stored.len(), bytes.len());
}

/// Whether `stored` contains all of `bytes`, in chunks with a few header bytes between them.
fn holds_in_order(stored: &[u8], bytes: &[u8]) -> bool {
    const HEADER: usize = 8;
    let (mut at, mut found) = (0, 0);
    while found < bytes.len() {
        let same = |at: usize| {
            stored[at.min(stored.len())..].iter().zip(&bytes[found..]).take_while(|(a, b)| a == b).count()
        };
        let run = same(at + HEADER);
        if run == 0 {
            return false;
        }
        (at, found) = (at + HEADER + run, found + run);
    }
    true
}

#[test]
fn a_second_push_finds_the_repository() {
    let home = tempfile::tempdir().unwrap();
    let (run, server) = (runs::finished(home.path()), stand_in("regular"));
    for _ in 0..2 {
        let (code, _, err) = push(&run, &server, TO, &[], true);
        assert_eq!(code, Some(0), "{err}");
    }
    assert_eq!(server.asked().iter().filter(|line| line.contains("/commit/")).count(), 2);
}

#[test]
fn a_dry_run_prints_the_card_and_asks_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (run, server) = (runs::fixed(home.path()), stand_in("regular"));
    let (code, out, err) = push(&run, &server, TO, &["--dry-run", "--license", "cc-by-4.0"], false);
    assert_eq!(code, Some(0), "{err}");
    assert!(server.asked().is_empty(), "a dry run made a request");
    for secret in ["anns-desk", "/home", home.path().to_str().unwrap()] {
        assert!(!out.contains(secret), "{secret}: {out}");
    }
    insta::assert_snapshot!(out.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn absolute_paths_are_not_published() {
    let home = tempfile::tempdir().unwrap();
    let run = runs::finished(home.path());
    let spec = fs::read_to_string(run.join("spec.yaml")).unwrap();
    fs::write(run.join("spec.yaml"), spec + "folder: /home/ann/pictures\n").unwrap();
    runs::edit(&run, |manifest| manifest.set_outputs(&run).unwrap());
    let server = stand_in("regular");
    let (code, _, err) = push(&run, &server, TO, &[], true);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("/home/ann/pictures") && err.contains("the header of weights.safetensors"), "{err}");
    let (_, files) = commit(&server.requests());
    for name in ["README.md", "spec.yaml", "manifest.json"] {
        let text = String::from_utf8(inline(&files[name])).unwrap();
        assert!(!text.contains("ann/"), "{name}: {text}");
    }
    let spec = String::from_utf8(inline(&files["spec.yaml"])).unwrap();
    assert!(spec.starts_with("# Absolute paths") && spec.contains("folder: pictures"), "{spec}");
}

/// Pushes a run after applying `spoil`; returns the message and checks that nothing was sent.
fn refused(spoil: impl FnOnce(&Path), more: &[&str], token: bool) -> (i32, String) {
    let home = tempfile::tempdir().unwrap();
    let (run, server) = (runs::finished(home.path()), stand_in("regular"));
    spoil(&run);
    let (code, out, err) = push(&run, &server, TO, more, token);
    assert_eq!((out.as_str(), server.asked()), ("", vec![]), "something was sent");
    (code.unwrap(), err)
}

#[test]
fn what_is_not_a_finished_run_is_refused() {
    let status = |status| move |run: &Path| runs::edit(run, |m| (m.status, m.steps) = (status, 1));
    let says = |(code, err): (i32, String), parts: &[&str]| {
        assert!(code == 1 && parts.iter().all(|part| err.contains(part)), "{parts:?}: {err}");
    };
    says(refused(status(Status::Running), &[], true), &["not finished", "was killed", "hueristic run"]);
    says(
        refused(status(Status::Interrupted), &[], true),
        &["not finished", "stopped at step 1", "hueristic run"],
    );
    let failed = |run: &Path| {
        runs::edit(run, |m| (m.status, m.error) = (Status::Failed, Some("the disk is full".into())));
    };
    says(refused(failed, &[], true), &["not finished", "the disk is full"]);
    says(
        refused(|run| fs::remove_file(run.join("manifest.json")).unwrap(), &[], true),
        &["no manifest.json"],
    );
    says(
        refused(|run| fs::remove_file(run.join(WEIGHTS)).unwrap(), &["--dry-run"], true),
        &[WEIGHTS, "is missing", "delete ", " and run the stage again"],
    );
    let probe = |run: &Path| runs::edit(run, |m| drop(m.outputs.remove(WEIGHTS)));
    says(refused(probe, &[], true), &[WEIGHTS, "no output of that run", "a probe leaves none"]);
}

#[test]
fn files_that_the_run_has_not_left_are_refused() {
    for name in [WEIGHTS, "spec.yaml"] {
        let add = |run: &Path| {
            let mut bytes = fs::read(run.join(name)).unwrap();
            bytes.push(b'\n');
            fs::write(run.join(name), bytes).unwrap();
        };
        let (code, err) = refused(add, &["--dry-run"], true);
        assert!(code == 1 && err.contains(name) && err.contains("was modified after the run"), "{err}");
        assert!(err.contains("; delete ") && err.contains(" and run the stage again"), "{err}");
    }
}

#[test]
fn without_a_token_nothing_is_sent() {
    let (code, err) = refused(|_| {}, &[], false);
    assert!(code == 1 && err.contains("HF_TOKEN") && err.contains("huggingface.co/settings/tokens"), "{err}");
}

#[test]
fn a_token_that_may_not_write_is_named() {
    let home = tempfile::tempdir().unwrap();
    let run = runs::finished(home.path());
    for (status, part) in
        [("401 Unauthorized", "write permission"), ("403 Forbidden", "has no write permission")]
    {
        let server = StandIn::answering(move |_| Some(Answer::json(status, "{\"error\":\"no\"}")));
        let (code, _, err) = push(&run, &server, TO, &[], true);
        assert!(code == Some(1) && err.contains(part) && err.contains(TO), "{err}");
    }
}

#[test]
fn bad_usage_exits_with_2() {
    let (home, server) = (tempfile::tempdir().unwrap(), stand_in("regular"));
    let run = runs::finished(home.path());
    for (run, to, more, part) in [
        (run.as_path(), "somebody/colors", vec![], "hf://OWNER/REPO"),
        (
            &run,
            "hf://somebody/colors/x.safetensors",
            vec![],
            "unexpected `x.safetensors` after the repository",
        ),
        (&run, TO, vec!["--license", "My Own"], "apache-2.0"),
        (Path::new("/none"), TO, vec![], "/none is not a directory"),
    ] {
        let (code, _, err) = push(run, &server, to, &more, true);
        assert!(code == Some(2) && err.contains(part), "{err}");
    }
    let unlicensed = ["weights", "push", run.to_str().unwrap(), TO];
    let (code, _, err) = hueristic(home.path(), &server.endpoint, &unlicensed, &[TOKEN]);
    assert!(code == Some(2) && err.contains("--license"), "{err}");
}

#[test]
fn a_probe_takes_its_backbone_from_the_hub() {
    let home = tempfile::tempdir().unwrap();
    let path = format!("/somebody/colors/resolve/main/{WEIGHTS}");
    let bytes = fs::read(runs::finished(home.path()).join(WEIGHTS)).unwrap();
    let server = StandIn::start(HashMap::from([(path.clone(), bytes)]));
    let spec = home.path().join("probe.yaml");
    let probe = |file: &str, verb: &str| {
        let text = format!(
            "name: probe
data: {{ source: {{ scenes: {{ train: 64, val: 40 }} }}, crop: 29 }}
backbone: {{ alexnet: {{ stem: small, width: 0.25, fc: 32 }} }}
stages:
  probe:
    linear_probe:
      backbones: {{ color: {{ file: \"{file}\" }} }}
      probe: {{ layers: [conv1], dimensions: 96, augment: false }}
      train: {{ steps: 2, batch: 16, optimizer: {{ sgd: {{ lr: 0.01 }} }} }}
"
        );
        fs::write(&spec, text).unwrap();
        let out = home.path().join("out");
        let arguments = [verb, spec.to_str().unwrap(), "--out", out.to_str().unwrap()];
        hueristic(home.path(), &server.endpoint, &arguments, &[])
    };
    let address = format!("hf://somebody/colors/{WEIGHTS}");
    let (code, _, err) = probe(&address, "run");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(server.asked(), [format!("HEAD {path}"), format!("GET {path}")]);
    let (code, _, err) = probe(&address, "check");
    assert_eq!((code, server.asked()), (Some(0), vec![format!("HEAD {path}")]), "{err}");
    let (code, _, err) = probe("hf://somebody/colors/none", "check");
    assert!(code == Some(1) && err.contains("`color`: hf://") && err.contains("Entry not found"), "{err}");
    server.asked();
    let (code, _, err) = probe("hf://somebody/colors", "show");
    assert!(
        code == Some(2) && err.contains("no file in the repository") && err.contains("probe.yaml:7"),
        "{err}"
    );
    assert!(server.asked().is_empty());
}
