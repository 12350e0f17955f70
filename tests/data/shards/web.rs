//! Shards of a web server: a small one of this test, which fails as it is told.

use super::*;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    thread,
};

/// How a server differs from one that always answers in full.
#[derive(Clone, Copy, Default)]
pub(super) struct Manners {
    pub no_ranges: bool,
    pub no_etags: bool,
    pub no_dates: bool,
    pub no_head: bool,
    pub no_length: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Failure {
    Status(u16),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
}

/// A server of files in memory.
pub(super) struct WebServer {
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    manners: Manners,
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// The next one is for the next GET of a shard.
    failures: Mutex<Vec<Failure>>,
    /// Method, path and first byte of each request.
    requests: Mutex<Vec<String>>,
}

impl WebServer {
    pub fn start(files: &[(&str, Vec<u8>)], manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| (format!("/{name}"), bytes.clone())).collect();
        let shared = Arc::new(Shared { manners, files: Mutex::new(files), ..Shared::default() });
        let server = Self { address, shared: shared.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.answer(&stream));
            }
        });
        server
    }

    pub fn fail(self, failures: &[Failure]) -> Self {
        *self.shared.failures.lock().unwrap() = failures.iter().rev().copied().collect();
        self
    }

    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Whether every failure has happened.
    pub fn is_through(&self) -> bool {
        self.shared.failures.lock().unwrap().is_empty()
    }
}

impl Shared {
    /// One request for each connection.
    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        let mut lines =
            BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let first = lines.next()?;
        let (method, path) = (first.split(' ').next()?.to_owned(), first.split(' ').nth(1)?.to_owned());
        let ranged = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let (from, to) = (name.eq_ignore_ascii_case("range").then_some(value)?)
                .strip_prefix("bytes=")?
                .split_once('-')?;
            Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()))
        });
        let range = ranged.last().filter(|_| !self.manners.no_ranges);
        let from = range.map_or(0, |(from, _)| from);
        self.requests.lock().unwrap().push(format!("{method} {path} {from}"));
        let is_shard = method == "GET" && path.ends_with(".tar") && range.is_none_or(|(_, to)| to != Some(0));
        let failure = if is_shard { self.failures.lock().unwrap().pop() } else { None };
        let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n");
        let files = self.files.lock().unwrap();
        let text = match (files.get(&path), failure) {
            (_, Some(Failure::Status(code))) => head(&format!("{code} Oh"), "Content-Length: 0\r\n"),
            (None, _) => head("404 Not Found", "Content-Length: 0\r\n"),
            (Some(_), _) if method == "HEAD" && self.manners.no_head => {
                head("405 No", "Content-Length: 0\r\n")
            }
            (Some(bytes), failure) => {
                let end = range.and_then(|(_, to)| to).map_or(bytes.len(), |to| bytes.len().min(to + 1));
                let part = &bytes[from.min(end)..end];
                let mut more = String::new();
                if !self.manners.no_dates {
                    more += "Last-Modified: Mon, 30 Nov 2026 10:00:00 GMT\r\n";
                }
                if !self.manners.no_length {
                    more += &format!("Content-Length: {}\r\n", part.len());
                }
                if range.is_some() {
                    more += &format!("Content-Range: bytes {from}-{}/{}\r\n", end - 1, bytes.len());
                }
                if !self.manners.no_etags {
                    let sum: u64 =
                        bytes.iter().enumerate().map(|(at, byte)| at as u64 * u64::from(*byte)).sum();
                    more += &format!("ETag: \"{sum}\"\r\n");
                }
                stream
                    .write_all(head(if range.is_some() { "206 Part" } else { "200 OK" }, &more).as_bytes())
                    .ok()?;
                let sent =
                    if let Some(Failure::Cut(bytes)) = failure { bytes.min(part.len()) } else { part.len() };
                if method == "GET" {
                    stream.write_all(&part[..sent]).ok()?;
                }
                return Some(());
            }
        };
        stream.write_all(text.as_bytes()).ok()
    }
}

/// Three shards of four pictures each.
fn three() -> Vec<(&'static str, Vec<u8>)> {
    let shard = |first: u8| {
        labeled(&(first..first + 4).map(|value| (value, u32::from(value) % 2)).collect::<Vec<_>>())
    };
    vec![
        ("data/t-0.tar", shard(0)),
        ("data/t-1.tar", shard(4)),
        ("data/t-2.tar", shard(8)),
        ("data/classes.json", br#"["ant", "bee"]"#.to_vec()),
    ]
}

fn remote(server: &WebServer, pattern: &str) -> DataSpec {
    shards(&format!("{}/data/{pattern}", server.address), None)
}

fn expected() -> Vec<(u8, Option<u32>)> {
    (0..12).map(|value| (value, Some(u32::from(value) % 2))).collect()
}

#[test]
fn a_server_is_read_once_and_then_the_cache() {
    let (home, server) = (Home::new(), WebServer::start(&three(), Manners::default()));
    let spec = DataSpec { cache: false, ..remote(&server, "t-{0..2}.tar") };
    for _ in 0..2 {
        let set = home.open(&spec, Split::Train).unwrap();
        assert_eq!((values(&*set), set.classes()), (expected(), &["ant".to_string(), "bee".into()][..]));
    }
    let got = |name: &str| {
        server.requests().iter().filter(|r| r.starts_with(&format!("GET /data/{name} "))).count()
    };
    assert_eq!(["t-0.tar", "t-1.tar", "t-2.tar"].map(got), [1, 1, 1], "{:?}", server.requests());
}

/// Whatever a server lacks, the pictures are the same.
#[test]
fn servers_without_ranges_etags_or_head_are_read_all_the_same() {
    let some = Manners::default();
    for (case, manners) in [
        Manners { no_ranges: true, ..some },
        Manners { no_etags: true, ..some },
        Manners { no_head: true, ..some },
        Manners { no_etags: true, no_dates: true, ..some },
        Manners { no_head: true, no_ranges: true, no_etags: true, no_dates: true, no_length: false },
    ]
    .into_iter()
    .enumerate()
    {
        let failures = [Failure::Status(503), Failure::Cut(700), Failure::Cut(0), Failure::Status(429)];
        let (home, server) = (Home::new(), WebServer::start(&three()[..1], manners).fail(&failures));
        let set = home.open(&remote(&server, "t-0.tar"), Split::Train).unwrap();
        assert_eq!(values(&*set), expected()[..4], "case {case}");
        let resumed = server.requests().iter().any(|request| request == "GET /data/t-0.tar 700");
        let is_known = !manners.no_etags || !manners.no_dates;
        assert_eq!(resumed, !manners.no_ranges && is_known, "case {case}: {:?}", server.requests());
        assert!(server.is_through(), "case {case}");
    }
}

#[test]
fn what_no_attempt_can_get_is_told_at_once() {
    let home = Home::new();
    let server = WebServer::start(&three(), Manners::default());
    for (pattern, part) in [
        ("t-{0..4}.tar", "t-3.tar is missing (2 of 5 are)"),
        ("u-{0..1}.tar", "u-0.tar is missing (2 of 2 are)"),
        ("t-*.tar", "cannot be searched with a wildcard; write"),
        ("", "does not name shards"),
    ] {
        let error = home.refusal(&remote(&server, pattern), Split::Train);
        assert!(error.contains(part) && error.contains(&server.address), "{error}");
    }
    let forbidden = WebServer::start(&three(), Manners::default()).fail(&[Failure::Status(403)]);
    let error = home.refusal(&remote(&forbidden, "t-0.tar"), Split::Train);
    assert!(error.contains("t-0.tar cannot be fetched: the server answers 403"), "{error}");
    let endless =
        WebServer::start(&three(), Manners { no_length: true, no_ranges: true, ..Manners::default() });
    let error = home.refusal(&remote(&endless, "t-0.tar"), Split::Train);
    assert!(error.contains("has no known size"), "{error}");
}

#[test]
fn a_shard_that_changes_on_the_server_is_refused_by_name() {
    let home = Home::new();
    let server = WebServer::start(&three(), Manners::default());
    let spec = DataSpec { cache: false, max_bad: Fraction::of(0.0), ..remote(&server, "t-{0..2}.tar") };
    let set = home.open(&spec, Split::Train).unwrap();
    server.shared.files.lock().unwrap().insert("/data/t-1.tar".into(), labeled(&[(99, 0); 1]));
    assert_eq!(set.image(4).unwrap().pixels[0], 4, "the copy in the cache");
    fs::remove_dir_all(home.at("cache/shards")).unwrap();
    let error = set.image(4).unwrap_err().to_string();
    assert!(error.contains("t-1.tar has changed on the server since it was indexed"), "{error}");
    assert_eq!(set.image(0).unwrap().pixels[0], 0);
    // opened anew, the set is that of now
    assert_eq!(home.open(&spec, Split::Train).unwrap().len(), 9);
}

/// The order depends on the seed alone: not on the cache, its size, or what was read before.
#[test]
fn training_from_a_server_is_resumed_exactly_with_any_cache() {
    let (local, home) = (Home::new(), Home::new());
    let server = WebServer::start(&three(), Manners::default());
    for (name, bytes) in three() {
        local.write(name, &bytes);
    }
    let of = |train: String| {
        let source = ShardsSource { mix: Some(Count::of(2)), ..ShardsSource::new(&train, None) };
        DataSpec { cache: false, ..spec(SourceSpec::Shards(source)) }
    };
    let remote = of(format!("{}/data/t-{{0..2}}.tar", server.address));
    let here = of(local.at("data/t-{0..2}.tar").display().to_string());
    let all = take(&mut loader(&local.open(&here, Split::Train).unwrap(), &here, 3), 12);
    let set = home.open(&remote, Split::Train).unwrap();
    assert_eq!(take(&mut loader(&set, &remote, 3), 12), all, "the same shards on this machine");
    let emptied = home.open(&remote, Split::Train).unwrap();
    fs::remove_dir_all(home.at("cache/shards")).unwrap();
    let mut later = loader(&emptied, &remote, 3);
    later.seek(Position { epoch: 1, batch: 2 });
    assert_eq!(take(&mut later, 3), all[6..9]);
}

#[test]
fn a_small_cache_is_kept_small() {
    let (home, server) = (Home::new(), WebServer::start(&three(), Manners::default()));
    let size = three()[0].1.len();
    let what = format!("{}/data/t-{{0..2}}.tar", server.address);
    let spec = format!(
        "name: small\ndata: {{ source: {{ shards: {{ train: '{what}', mix: 1 }} }}, crop: 8 }}\nbackbone: {{ alexnet: {{ stem: \
         small }} }}\nstages:\n  s:\n    pretext:\n      task: colorization\n      train: {{ steps: 1, batch: 2, optimizer: \
         {{ adam: {{ lr: 1 }} }} }}\n"
    );
    let spec = home.write("spec.yaml", spec.as_bytes()).display().to_string();
    let verify = |what: &str, limit: &str| {
        let output =
            home.command(&["data", "verify", what]).env("HUERISTIC_SHARD_CACHE", limit).output().unwrap();
        (output.status.code(), told(&output))
    };
    let (code, report) = verify(&spec, &(2 * size + 10).to_string());
    assert!(code == Some(0) && report.contains("train: 12 images, 0 unreadable"), "{report}");
    let kept = fs::read_dir(home.at("home/hueristic/shards")).unwrap().count();
    assert_eq!(kept, 2, "{report}");
    let (code, report) = verify(&what, &(2 * size + 10).to_string());
    assert!(code == Some(1) && report.contains("lower `mix`"), "{report}");
    assert!(report.contains("set HUERISTIC_SHARD_CACHE to that number"), "{report}");
    let (code, report) = verify(&what, "lots");
    assert!(
        code == Some(1) && report.contains("HUERISTIC_SHARD_CACHE=lots: expected a number of bytes"),
        "{report}"
    );
}
