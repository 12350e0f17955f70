//! Shards: tar files of pictures and labels, indexed, and read at the places that the index says.
#![no_main]
use hueristic::data::{
    shards::{ShardSet, ShardsSource},
    source::{Dataset, Split},
};
use hueristic_fuzz::{checked, file, folder, seeds, start};

/// More pictures than a seed has need not be looked at.
const PICTURES: usize = 3;

fn made() -> Vec<Vec<u8>> {
    let pictures = seeds::images::encoded(&[image::ImageFormat::Png]);
    let labels: [(&str, &[u8]); 3] = [("cls", b"1"), ("json", br#"{"label": "cat"}"#), ("txt", b"a cat")];
    let shard = |(ending, label): &(&str, &[u8])| {
        let mut builder = tar::Builder::new(vec![]);
        for name in ["0", &"long".repeat(40)] {
            for (ending, content) in [("png", pictures[0].as_slice()), (ending, label)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, format!("{name}.{ending}"), content).expect("memory");
            }
        }
        builder.into_inner().expect("memory")
    };
    labels.iter().map(shard).collect()
}

libfuzzer_sys::fuzz_target!(
    init: start(600, made),
    |data: &[u8]| {
        let source = ShardsSource::new(file("t.tar", data), None);
        if let Some(set) = checked(ShardSet::open(&source, Split::Train, 0.0, &folder().join("cache"))) {
            for index in 0..set.len().min(PICTURES) {
                drop((set.name(index), set.label(index)));
                checked(set.image(index));
            }
            drop((set.fingerprint(), set.why_unlabeled().map(String::from)));
        }
    }
);
