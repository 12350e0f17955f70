//! Shards of an S3 store: the server of the Python package `moto`, on the loopback interface.

use super::{
    web::{Failure, Manners, WebServer},
    *,
};
use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Stdio},
};

/// A server with the bucket `pictures`; ends with the test.
struct Moto {
    process: Child,
    /// Closing it ends the server.
    _input: ChildStdin,
    address: String,
}

impl Moto {
    /// Starts the server on the files of a folder. None, and the test counts as skipped, without the package.
    fn start(folder: &Path, more: &[&str]) -> Option<Self> {
        let python = std::env::var("HUERISTIC_PYTHON").unwrap_or_else(|_| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/s3_server.py");
        let started = Command::new(&python)
            .arg(script)
            .arg(folder)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                super::super::skipping::skipped("no Python", format_args!("cannot run {python}: {error}"));
                return None;
            }
        };
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let input = process.stdin.take().unwrap();
        if address.is_empty() {
            let code = process.wait().unwrap().code();
            assert_eq!(code, Some(3), "the server did not start");
            super::super::skipping::skipped("no moto package (HUERISTIC_PYTHON)", &python);
            return None;
        }
        Some(Self { process, _input: input, address: address.trim().into() })
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A home with three shards in the folder `bucket`.
fn home() -> Home {
    let home = Home::new();
    for shard in 0..3u8 {
        let pictures: Vec<_> =
            (4 * shard..4 * shard + 4).map(|value| (value, u32::from(value) % 2)).collect();
        home.write(&format!("bucket/a%b c#~/t-{shard}.tar"), &labeled(&pictures));
    }
    home.write("bucket/a%b c#~/classes.json", br#"["ant", "bee"]"#);
    home
}

/// Runs `data verify` with this environment.
fn verify(home: &Home, what: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = home.command(&["data", "verify", what]);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), told(&output))
}

const SHARDS: &str = "s3://pictures/a%b c#~/t-{0..2}.tar";

#[test]
fn shards_of_a_store_are_read_by_the_usual_variables() {
    let home = home();
    let Some(moto) = Moto::start(&home.at("bucket"), &[]) else { return };
    let key =
        [("AWS_ACCESS_KEY_ID", "somebody"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_ALLOW_HTTP", "true")];
    for endpoint in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"] {
        let (code, report) = verify(&home, SHARDS, &[&key[..], &[(endpoint, &moto.address)]].concat());
        assert!(code == Some(0) && report.contains("train: 12 images, 0 unreadable"), "{report}");
        assert!(report.contains("bee  6"), "{report}");
    }
    let at = [("AWS_ENDPOINT_URL", moto.address.as_str())];
    for listed in ["s3://pictures/a%b c#~/", "s3://pictures/a%b c#~/t-*.tar"] {
        let (code, report) = verify(&home, listed, &[&key[..], &at[..]].concat());
        assert!(code == Some(0) && report.contains("train: 12 images, 0 unreadable"), "{report}");
        assert!(report.contains("bee  6"), "{report}");
    }
    for (what, environment, parts) in [
        ("s3://nothing/t-{0..2}.tar", &key[..], &["there is no bucket `nothing`"][..]),
        ("s3://pictures/t-{0..2}.tar", &key, &["t-0.tar is missing (3 of 3 are)"]),
        ("s3://pictures/t.tar", &key, &["t.tar is missing (1 of 1 are)"]),
        ("s3://pictures/t-*.tar", &key, &["names no file that is there", "{000000..000146}"]),
        ("s3://nothing/a/", &key, &["there is no bucket `nothing`"]),
        ("s3:///t-{0..2}.tar", &key, &["names no bucket"]),
        (SHARDS, &key[..2], &["AWS_ALLOW_HTTP=true"]),
        (SHARDS, &key[1..], &["one half of the credentials is missing", "AWS_ACCESS_KEY_ID"]),
    ] {
        let (code, report) = verify(&home, what, &[environment, &at[..]].concat());
        assert!(code == Some(1) && parts.iter().all(|part| report.contains(part)), "{what}: {report}");
    }
}

/// Without a scheme, as some servers print their address.
#[test]
fn an_endpoint_that_is_no_address_is_told() {
    let home = home();
    for endpoint in ["127.0.0.1:9000", "localhost:9000", "minio", "http://"] {
        let (code, report) = verify(&home, SHARDS, &credentials(endpoint));
        let said = format!("AWS_ENDPOINT_URL={endpoint} is no address; write http://HOST:PORT");
        assert!(code == Some(1) && report.contains(&said), "{report}");
    }
}

/// What the tests below give for an endpoint.
fn credentials(endpoint: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ENDPOINT_URL", endpoint),
    ]
}

#[test]
fn wrong_credentials_are_told_at_once() {
    let home = home();
    let Some(moto) = Moto::start(&home.at("bucket"), &["checked"]) else { return };
    let began = std::time::Instant::now();
    let (code, report) = verify(&home, SHARDS, &credentials(&moto.address));
    assert!(code == Some(1) && report.contains("access is denied; check AWS_ACCESS_KEY_ID"), "{report}");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// A store whose connections end early, which moto's do not.
#[test]
fn a_busy_store_and_cut_bodies_are_asked_again() {
    let files: Vec<_> = (0..2u8)
        .map(|shard| (format!("pictures/t-{shard}.tar"), labeled(&[(2 * shard, 0), (2 * shard + 1, 1)])))
        .collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    for manners in [Manners::default(), Manners { no_etags: true, ..Manners::default() }] {
        let failures = [Failure::Status(503), Failure::Cut(700), Failure::Cut(0), Failure::Status(500)];
        let (home, server) = (Home::new(), WebServer::start(&files, manners).fail(&failures));
        let (code, report) = verify(&home, "s3://pictures/t-{0..1}.tar", &credentials(&server.address));
        assert!(code == Some(0) && report.contains("train: 4 images, 0 unreadable"), "{report}");
        assert!(report.contains("trying again"), "{report}");
        assert!(server.is_through(), "{:?}", server.requests());
    }
}
