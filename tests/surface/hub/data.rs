//! Parquet files of a data set.

use super::{OFFLINE, at_home, stand_in::StandIn};
use hueristic::{
    bounded::Count,
    data::{
        open::open,
        source::{DataSpec, Locations, SourceSpec, Split},
    },
    hub::Hub,
};
use parquet::{
    data_type::{ByteArrayType, Int64Type},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use std::{collections::HashMap, net::TcpListener, path::Path, process::Command};

const CHILD: &str = "HUERISTIC_TEST_FETCH";

/// Runs `child` below in a process with this environment; returns its output and whether it succeeded.
fn fetch(home: &Path, endpoint: &str, file: &str, more: &[(&str, &str)]) -> (bool, String) {
    run("child", home, endpoint, file, more)
}

fn run(child: &str, home: &Path, endpoint: &str, file: &str, more: &[(&str, &str)]) -> (bool, String) {
    let mut command = at_home(Command::new(std::env::current_exe().unwrap()), home, endpoint);
    command.args(["--exact", &format!("hub::data::{child}"), "--nocapture", "--ignored"]).env(CHILD, file);
    let output = command.envs(more.iter().copied()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
#[ignore = "the process that the other tests start"]
fn child() {
    let Ok(file) = std::env::var(CHILD) else { return };
    match Hub::from_env().fetch_data("somebody/pictures", None, &[file]) {
        Ok(paths) => {
            println!("path={}\ntext={}", paths[0].display(), std::fs::read_to_string(&paths[0]).unwrap())
        }
        Err(error) => println!("error={error}"),
    }
}

/// One row: a bitmap of one pixel, (30, 20, 10), labeled 3.
fn rows() -> Vec<u8> {
    let mut image = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    image.extend([0; 24]);
    image.extend([10, 20, 30, 0]);
    let schema = parse_message_type("message m { required binary img; required int64 label; }").unwrap();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema.into(), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[image.into()], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[3], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
#[ignore = "the process that the test below starts"]
fn opening_child() {
    let Ok(file) = std::env::var(CHILD) else { return };
    let source = SourceSpec::Hub {
        repo: "somebody/pictures".into(),
        revision: None,
        train: vec![file.clone()],
        val: vec![file],
        image: "img".into(),
        label: Some("label".into()),
    };
    let spec = DataSpec::new(source, Count::of(1));
    for split in [Split::Train, Split::Val] {
        let set = open(&spec, split, &Locations::default()).unwrap();
        println!("{}: {} {:?} {:?}", split.name(), set.len(), set.label(0), set.image(0).unwrap().pixels);
    }
}

#[test]
fn a_source_on_the_hub_opens_as_a_data_set() {
    let home = tempfile::tempdir().unwrap();
    let path = "/datasets/somebody/pictures/resolve/main/data/rows.parquet".to_owned();
    let server = StandIn::start(HashMap::from([(path, rows())]));
    let (ok, out) = run("opening_child", home.path(), &server.endpoint, "data/rows.parquet", &[]);
    let whole = ["train", "val"].map(|split| out.contains(&format!("{split}: 1 Some(3) [30, 20, 10]")));
    assert!(ok && whole == [true; 2], "{out}");
}

fn stand_in() -> StandIn {
    let file = |name: &str| format!("/datasets/somebody/pictures/resolve/main/data/{name}");
    StandIn::start(HashMap::from([(file("train.parquet"), b"the rows".to_vec())]))
}

#[test]
fn a_file_is_fetched_once_kept_and_found_offline() {
    let home = tempfile::tempdir().unwrap();
    let server = stand_in();
    let get = |more: &[(&str, &str)]| fetch(home.path(), &server.endpoint, "data/train.parquet", more);

    let (ok, first) = get(&[]);
    assert!(ok && first.contains("text=the rows"), "{first}");
    assert!(first.contains(&format!("path={}", home.path().join("hub").display())), "{first}");
    let asked = server.asked();
    let url = "/datasets/somebody/pictures/resolve/main/data/train.parquet";
    assert_eq!(asked, [format!("HEAD {url}"), format!("GET {url}")]);

    let (_, second) = get(&[]);
    assert!(second.contains("text=the rows"), "{second}");
    assert_eq!(server.asked(), [format!("HEAD {url}")], "the file was fetched twice");

    let (_, offline) = get(&[("HF_HUB_OFFLINE", "1")]);
    assert!(offline.contains("text=the rows"), "{offline}");
    assert!(server.asked().is_empty(), "a request was made offline");
}

#[test]
fn offline_without_a_copy_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let server = stand_in();
    for name in OFFLINE {
        let (_, out) = fetch(home.path(), &server.endpoint, "data/train.parquet", &[(name, "YES")]);
        let forbids = format!("{name} forbids");
        for part in ["error=somebody/pictures: data/train.parquet", &forbids, "--data"] {
            assert!(out.contains(part), "{out}");
        }
    }
    assert!(server.asked().is_empty(), "a request was made offline");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let server = stand_in();
    let (_, out) = fetch(home.path(), &server.endpoint, "data/tarin.parquet", &[]);
    assert!(out.contains("data/tarin.parquet") && out.contains("check the names in the spec"), "{out}");
    assert!(!server.asked().is_empty());
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_advice() {
    let home = tempfile::tempdir().unwrap();
    // On an address where no other test's server takes the port meanwhile.
    let closed = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let (_, out) = fetch(home.path(), &format!("http://{closed}"), "data/train.parquet", &[]);
    assert!(out.contains("error=") && out.contains("HF_ENDPOINT") && out.contains("--data"), "{out}");
}
