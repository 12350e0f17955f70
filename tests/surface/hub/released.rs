//! Released weights from a server: redirects, refusals, cut connections, and the cache.

use super::stand_in::{Answer, Asked, StandIn};
use hueristic::released::{Release, WeightCache};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

const FILE: &[u8] = b"The released weights, which are some hundred bytes long to have a middle in which a connection can be cut..";
/// By `sha256sum`.
const SHA256: &str = "0e2129503b82e1073177fb3f1e6d86f6cbe72b3736ef010917a0d029421e3849";

fn release(server: &StandIn, paths: &[&str]) -> Release {
    Release {
        description: "a release".into(),
        architecture: "vgg".into(),
        license: "MIT".into(),
        file: "a.pth".into(),
        addresses: paths.iter().map(|path| format!("{}/{path}", server.endpoint)).collect(),
        sha256: Some(SHA256.into()),
        bytes: Some(FILE.len() as u64),
    }
}

fn online(folder: &Path) -> WeightCache {
    WeightCache { folder: folder.join("hueristic"), offline: None }
}

/// Names in the cache.
fn kept(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("hueristic")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Answers with the file as a server that continues files.
fn continuing(asked: &Asked) -> Answer {
    asked.from.map_or_else(|| Answer::file(FILE), |from| Answer::part(FILE, from))
}

#[test]
fn a_file_comes_once_through_a_redirect_and_is_found_offline() {
    let home = tempfile::tempdir().unwrap();
    let server = StandIn::answering(|asked| match asked.line.as_str() {
        "GET /old" => Some(Answer::redirect("/new")),
        "GET /new" => Some(Answer::file(FILE)),
        _ => None,
    });
    let (cache, release) = (online(home.path()), release(&server, &["old"]));
    let path = cache.locate("a", &release).unwrap();
    assert_eq!((fs::read(&path).unwrap(), kept(home.path())), (FILE.to_vec(), vec!["a.pth".to_string()]));
    assert_eq!(server.asked(), ["GET /old", "GET /new"]);
    let offline = WeightCache { offline: Some("HF_HUB_OFFLINE"), ..cache };
    assert_eq!(offline.locate("a", &release).unwrap(), path);
    assert!(server.asked().is_empty(), "a cached file was asked for");
}

#[test]
fn what_is_not_there_is_asked_for_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let server = StandIn::answering(|asked| (asked.line == "GET /mirror").then(|| Answer::file(FILE)));
    let cache = online(home.path());
    let error = cache.locate("a", &release(&server, &["none", "gone"])).unwrap_err().to_string();
    for part in ["`a`", "/none: the server answers 404", "/gone: the server answers 404", "a.pth"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(kept(home.path()).is_empty(), "{:?}", kept(home.path()));
    cache.locate("a", &release(&server, &["none", "mirror"])).unwrap();
    let nobody = Release { addresses: vec!["http://127.0.0.1:1/a".into()], ..release(&server, &[]) };
    let elsewhere = online(&home.path().join("b"));
    let error = elsewhere.locate("a", &nobody).unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn another_file_is_refused_with_both_checksums() {
    let home = tempfile::tempdir().unwrap();
    let server = StandIn::answering(|asked| {
        Some(if asked.line == "GET /right" { Answer::file(FILE) } else { Answer::file(b"abc") })
    });
    let cache = online(home.path());
    let error = cache.locate("a", &release(&server, &["wrong"])).unwrap_err().to_string();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(error.contains(&format!("its SHA-256 is {abc}, expected {SHA256}")), "{error}");
    assert!(kept(home.path()).is_empty(), "{:?}", kept(home.path()));
    cache.locate("a", &release(&server, &["wrong", "right"])).unwrap();
}

#[test]
fn a_cut_connection_is_continued() {
    let home = tempfile::tempdir().unwrap();
    let server = StandIn::answering(|asked| {
        let answer = continuing(asked);
        Some(if asked.from.unwrap_or(0) < 60 { answer.cut_after(35) } else { answer })
    });
    let path = online(home.path()).locate("a", &release(&server, &["a"])).unwrap();
    assert_eq!(fs::read(path).unwrap(), FILE);
    let from: Vec<_> = server.requests().into_iter().map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(35), Some(70)]);
}

#[test]
fn a_server_that_continues_nothing_starts_over() {
    let home = tempfile::tempdir().unwrap();
    let times = AtomicUsize::new(0);
    let server = StandIn::answering(move |_| {
        let first = times.fetch_add(1, SeqCst) == 0;
        Some(if first { Answer::file(FILE).cut_after(35) } else { Answer::file(FILE) })
    });
    let path = online(home.path()).locate("a", &release(&server, &["a"])).unwrap();
    assert_eq!((fs::read(path).unwrap(), server.asked().len()), (FILE.to_vec(), 2));
}

#[test]
fn the_next_command_continues_where_one_ended() {
    let home = tempfile::tempdir().unwrap();
    let cutting = StandIn::answering(|asked| Some(continuing(asked).cut_after(10)));
    let (cache, cut) = (online(home.path()), release(&cutting, &["a"]));
    let error = cache.locate("a", &cut).unwrap_err().to_string();
    assert!(error.contains("the same command continues"), "{error}");
    assert_eq!((kept(home.path()), cutting.asked().len()), (vec!["a.pth.partial".to_string()], 4));
    let server = StandIn::answering(|asked| Some(continuing(asked)));
    let path = cache.locate("a", &release(&server, &["a"])).unwrap();
    assert_eq!(fs::read(path).unwrap(), FILE);
    assert_eq!(server.requests().into_iter().map(|asked| asked.from).collect::<Vec<_>>(), [Some(40)]);
    assert_eq!(kept(home.path()), ["a.pth"]);
}

#[test]
fn the_first_download_without_a_checksum_is_the_measure() {
    let home = tempfile::tempdir().unwrap();
    let server = StandIn::answering(|_| Some(Answer::file(FILE)));
    let (cache, release) = (online(home.path()), Release { sha256: None, ..release(&server, &["a"]) });
    let path = cache.locate("a", &release).unwrap();
    assert_eq!(kept(home.path()), ["a.pth", "a.pth.sha256"]);
    fs::write(&path, "abc").unwrap();
    assert!(cache.locate("a", &release).unwrap_err().to_string().contains(&format!("expected {SHA256}")));
}
