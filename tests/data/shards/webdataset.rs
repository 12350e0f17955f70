//! Shards of the package `webdataset`: what it writes is read here as it reads it, and the other way round.

use super::*;
use hueristic::data::shards::pack::{PackOptions, ShardLimit, pack};

/// Keys and labels that the package reads in the shards of a folder, after it has written `theirs-*.tar` there.
fn answer(folder: &Path) -> Option<serde_json::Value> {
    let answer = super::super::skipping::answer_of_python("webdataset_shards.py", folder, "webdataset")?;
    Some(serde_json::from_slice(&answer).unwrap())
}

#[test]
fn both_read_the_same_keys_and_labels() {
    let home = Home::new();
    for number in 0..9u8 {
        home.write(&format!("photos/{}/{number}.png", ["ant", "bee"][usize::from(number) % 2]), &png(number));
    }
    fs::create_dir(home.at("shards")).unwrap();
    let options = PackOptions { size: None, quality: 90, limit: ShardLimit::Pictures(4), shuffle: Some(0) };
    let photos = spec(SourceSpec::folder(home.at("photos"), None));
    pack(&photos, &home.locations(), &home.at("ours"), &options).unwrap();
    for shard in ["000000.tar", "000001.tar", "000002.tar"] {
        let content = fs::read(home.at(&format!("ours/train-{shard}"))).unwrap();
        home.write(&format!("shards/ours-{shard}"), &content);
    }
    let Some(answer) = answer(&home.at("shards")) else { return };
    for who in ["ours", "theirs"] {
        let set = home.open(&shards(home.at(&format!("shards/{who}-*.tar")), None), Split::Train).unwrap();
        let samples: Vec<_> = (0..set.len())
            .map(|index| {
                let name = set.name(index);
                let (_, key) = name.rsplit_once(": ").unwrap();
                serde_json::json!([key, set.label(index), set.image(index).unwrap().pixels[0]])
            })
            .collect();
        assert_eq!(answer[who], serde_json::Value::from(samples), "{who}");
        assert!(set.len() >= 9);
    }
}
