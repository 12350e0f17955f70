//! Lists line by line: pictures with labels, image sets of VOC, lists of classes, detections, addresses on the hub.
#![no_main]
use hueristic::{
    data::{list, source::Dataset, voc::lists},
    hub::{Address, Repo},
    metrics::detection_files,
};
use hueristic_fuzz::{checked, file, seeds, start};

const SEEDS: [&str; 7] = [
    "# comment\nmy photos/a b.jpg zebra\n\nc.png\tant\n",
    "a.jpg 3\nb.jpg 0\n",
    "a.jpg,1\r\nb.jpg,-1\r\n",
    "000001\n2007_000027\n",
    "000001 -1\n000002  1\n000003  0\n",
    "000001 0.5 1.000 2.5 3 4\r\n\n000002\t-1e-3 1 1 9 9\n",
    "hf://owner/repo/file.safetensors@main\nhf://owner/repo\n",
];

libfuzzer_sys::fuzz_target!(
    init: start(64, || seeds::texts(&SEEDS)),
    |data: &[u8]| {
        let path = file("train.txt", data);
        if let Some(files) = checked(list::open(&path, None)) {
            (0..files.len().min(3)).for_each(|row| drop((files.name(row), files.label(row))));
            drop(files.fingerprint());
        }
        checked(lists::read(&path));
        file("cat_val.txt", data);
        checked(lists::presence(&path.with_file_name("val.txt")));
        checked(detection_files::read(&path, |id| id.parse().ok()));
        for line in String::from_utf8_lossy(data).lines() {
            if let Some(address) = checked(line.parse::<Address>()) {
                assert_eq!(address.to_string(), line);
            }
            if let Some(repo) = checked(line.parse::<Repo>()) {
                assert_eq!(repo.to_string(), line);
            }
        }
    }
);
