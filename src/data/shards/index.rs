//! The index of one shard: keys, places and labels of its pictures. Built by reading the shard once, and kept in the cache
//! folder; a damaged index, or one of another version of the shard, is built anew.

use super::{
    members::{self, Member, Skipped},
    sample::{self, Role},
};
use crate::{atomic_write, checksum, text::excerpt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Version of the format; others are built anew.
const FORMAT: u32 = 1;
/// Largest member that is read for a label, in bytes.
const LABEL_BYTES: u64 = 16 << 20;

/// Tells one version of a shard from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Time of the last change in nanoseconds; of a server, the ETag.
    pub version: String,
}

/// The pictures of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ShardIndex {
    format: u32,
    pub stamp: Stamp,
    /// key of labels in JSON members
    label_key: String,
    pub keys: Vec<String>,
    /// First byte of each picture.
    pub offsets: Vec<u64>,
    /// Bytes of each picture.
    pub sizes: Vec<u64>,
    /// Of each picture, its label among `texts`.
    pub labels: Vec<Option<u32>>,
    pub texts: Vec<String>,
    /// Whether labels are from `.txt` members, which may be captions.
    pub has_txt: bool,
    /// The first label that cannot be read.
    pub bad_label: Option<String>,
    pub skipped: Skipped,
    /// Why the shard is incomplete; none of its pictures is trusted.
    pub cut: Option<String>,
    crc32c: String,
}

/// One sample while its members are met.
#[derive(Default)]
struct Sample<'a> {
    key: &'a str,
    extensions: HashSet<String>,
    picture: Option<&'a Member>,
    class: Option<&'a Member>,
    json: Option<&'a Member>,
    text: Option<&'a Member>,
}

impl<'a> Sample<'a> {
    /// Errors: a member that is there twice, a second picture.
    fn add(&mut self, member: &'a Member, extension: String) -> Result<(), String> {
        let place = match Role::of(&extension) {
            Role::Picture => &mut self.picture,
            Role::Class => &mut self.class,
            Role::Json => &mut self.json,
            Role::Text => &mut self.text,
            Role::Other => &mut None,
        };
        let is_second_picture = Role::of(&extension) == Role::Picture && place.is_some();
        *place = Some(member);
        if !self.extensions.insert(extension) {
            return Err(format!(
                "has `{}` twice; keys must differ up to the first dot",
                excerpt(&member.name)
            ));
        }
        if is_second_picture {
            return Err(format!("has two pictures with the key `{}`; keep one", excerpt(self.key)));
        }
        Ok(())
    }
}

impl ShardIndex {
    /// Reads a shard from end to end. `label_key` is the key of labels in JSON members.
    ///
    /// # Errors
    /// A compressed or damaged file; keys or members that are there twice.
    pub fn build(file: &File, stamp: Stamp, label_key: &str) -> Result<Self, String> {
        let listed = members::list(file)?;
        let (skipped, cut) = (listed.skipped, listed.cut);
        let label_key = label_key.into();
        let mut index = Self { format: FORMAT, stamp, label_key, skipped, cut, ..Self::default() };
        let (mut seen, mut numbers) = (HashSet::new(), HashMap::new());
        let mut sample = Sample::default();
        for member in &listed.files {
            let named = sample::split(&member.name).filter(|_| !sample::is_reserved(&member.name));
            let Some((key, extension)) = named else {
                index.skipped.nameless += 1;
                continue;
            };
            if key != sample.key {
                index.push(&std::mem::take(&mut sample), file, &mut numbers)?;
                if !seen.insert(key) {
                    let key = excerpt(key);
                    return Err(format!(
                        "has the key `{key}` at two places; members of a sample must be neighbors"
                    ));
                }
                sample.key = key;
            }
            sample.add(member, extension)?;
        }
        index.push(&sample, file, &mut numbers)?;
        Ok(index)
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    fn push(
        &mut self,
        sample: &Sample,
        file: &File,
        numbers: &mut HashMap<String, u32>,
    ) -> Result<(), String> {
        let Some(picture) = sample.picture else {
            self.skipped.no_picture += usize::from(!sample.extensions.is_empty());
            return Ok(());
        };
        let label = self.label(sample, file).unwrap_or_else(|reason| {
            let fault = || format!("`{}`: {reason}", excerpt(sample.key));
            self.bad_label.get_or_insert_with(fault);
            None
        });
        let number = label.map(|text| {
            *numbers.entry(text).or_insert_with_key(|text| {
                self.texts.push(text.clone());
                self.texts.len() as u32 - 1
            })
        });
        self.keys.push(sample.key.into());
        self.offsets.push(picture.offset);
        self.sizes.push(picture.size);
        self.labels.push(number);
        Ok(())
    }

    /// The label of a sample: of its class member, its JSON, else its text.
    fn label(&mut self, sample: &Sample, file: &File) -> Result<Option<String>, String> {
        if let Some(class) = sample.class {
            return text_of(file, class).map(Some);
        }
        if let Some(json) = sample.json {
            let label = json_label(&text_of(file, json)?, &self.label_key)?;
            if label.is_some() || sample.text.is_none() {
                return Ok(label);
            }
        }
        let Some(text) = sample.text else { return Ok(None) };
        self.has_txt = true;
        text_of(file, text).map(Some)
    }
}

fn text_of(file: &File, member: &Member) -> Result<String, String> {
    if member.size > LABEL_BYTES {
        return Err(format!("{} has {} bytes, too many for a label", excerpt(&member.name), member.size));
    }
    let bytes = members::read(file, member.offset, member.size).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", excerpt(&member.name)))?;
    Ok(text.trim().into())
}

/// A number or a text under `key`; None without the key.
fn json_label(text: &str, key: &str) -> Result<Option<String>, String> {
    use serde_json::Value;
    let object: Value =
        serde_json::from_str(text).map_err(|error| format!("its JSON is damaged: {error}"))?;
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().into())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("`{}` in its JSON is neither a number nor a text", excerpt(key))),
    }
}

/// Indexes on this machine.
#[derive(Clone, Debug)]
pub(super) struct IndexCache {
    folder: PathBuf,
}

impl IndexCache {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// The index of the shard at `address` as it is now; `build` reads it.
    ///
    /// # Errors
    /// Those of `build`. An index that cannot be written is built at every start.
    pub fn get(
        &self,
        address: &str,
        (stamp, label_key): (&Stamp, &str),
        build: impl FnOnce() -> Result<ShardIndex, String>,
    ) -> Result<ShardIndex, String> {
        if let Some(index) = self.last(address, label_key).filter(|index| index.stamp == *stamp) {
            return Ok(index);
        }
        let index = build()?;
        if let Err(error) = self.write(address, &index) {
            tracing::warn!("the index of {address} cannot be kept in {}: {error}", self.folder.display());
        }
        Ok(index)
    }

    /// The index of the shard at `address` when it was last read.
    pub fn last(&self, address: &str, label_key: &str) -> Option<ShardIndex> {
        let path = self.path(address, label_key);
        let json = fs::read(&path).ok()?;
        if checksum::verify(&json) != checksum::Verification::Valid {
            tracing::warn!("{} is damaged; the shard is indexed anew", path.display());
            return None;
        }
        let index: ShardIndex = serde_json::from_slice(&json).ok()?;
        (index.format == FORMAT && index.label_key == label_key).then_some(index)
    }

    fn write(&self, address: &str, index: &ShardIndex) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let index = ShardIndex { crc32c: checksum::BLANK.into(), ..index.clone() };
        let json = checksum::fill(serde_json::to_string(&index)?);
        atomic_write::write(&self.path(address, &index.label_key), json.as_bytes())
    }

    fn path(&self, address: &str, label_key: &str) -> PathBuf {
        let hash = format!("{:x}", Sha256::digest(format!("{address}\n{label_key}")));
        self.folder.join(format!("{}.index.json", &hash[..32]))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// A tar file of these members.
    pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn built(members: &[(&str, &[u8])]) -> Result<ShardIndex, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar(members)).unwrap();
        ShardIndex::build(&file, Stamp::default(), "label")
    }

    /// Key and label of each sample.
    pub fn samples(index: &ShardIndex) -> Vec<(&str, Option<&str>)> {
        let label = |number: &Option<u32>| number.map(|number| index.texts[number as usize].as_str());
        index.keys.iter().map(String::as_str).zip(index.labels.iter().map(label)).collect()
    }

    #[test]
    fn neighbors_with_one_key_are_a_sample() {
        let index = built(&[
            ("a/0.cls", b" 3\n"),
            ("a/0.JPG", b"first"),
            ("a/0.seg.png", b"mask"),
            ("__index__", b""),
            ("README", b""),
            (".hidden.jpg", b""),
            ("b/0.txt", b"a bee"),
            ("b/0.png", b"second"),
            ("1.json", br#"{"label": "cat", "other": [1]}"#),
            ("1.webp", b"third"),
            ("2.json", br#"{"label": 7}"#),
            ("2.txt", b"a caption"),
            ("2.jpeg", b"fourth"),
            ("3.json", br#"{"class": 7}"#),
            ("3.jpeg", b"fifth"),
            ("4.cls", b"0"),
            ("5.jpg", b"sixth"),
        ])
        .unwrap();
        let expected =
            [("a/0", Some("3")), ("b/0", Some("a bee")), ("1", Some("cat")), ("2", Some("7")), ("3", None)];
        assert_eq!(samples(&index), [&expected[..], &[("5", None)]].concat());
        assert_eq!((index.sizes[1], index.has_txt, &index.bad_label, &index.cut), (6, true, &None, &None));
        assert_eq!((index.skipped.nameless, index.skipped.no_picture), (3, 1));
    }

    #[test]
    fn a_key_or_a_member_that_is_there_twice_is_refused() {
        for (members, part) in [
            (&[("a.jpg", &b""[..]), ("a.JPG", b"")][..], "`a.JPG` twice"),
            (&[("a.1.cls", b""), ("a.1.cls", b"")], "`a.1.cls` twice"),
            (&[("a.jpg", b""), ("a.png", b"")], "two pictures with the key `a`"),
            (&[("a.jpg", b""), ("b.jpg", b""), ("a.cls", b"")], "the key `a` at two places"),
            (&[("a.cls", b""), ("b.jpg", b""), ("a.jpg", b"")], "the key `a` at two places"),
        ] {
            let error = built(members).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        // what the dots of a frame's number make of it
        assert!(built(&[("frame.0001.jpg", b""), ("frame.0002.jpg", b"")]).unwrap().keys.is_empty());
    }

    #[test]
    fn a_label_that_cannot_be_read_is_kept_for_who_needs_labels() {
        for (name, content, part) in [
            ("a.json", &b"{"[..], "`a`: its JSON is damaged"),
            ("a.json", br#"{"label": [1]}"#, "neither a number nor a text"),
            ("a.cls", b"\xff", "a.cls is not UTF-8"),
        ] {
            let index = built(&[(name, content), ("a.jpg", b"")]).unwrap();
            assert_eq!(samples(&index), [("a", None)]);
            assert!(index.bad_label.unwrap().contains(part));
        }
    }

    #[test]
    fn an_index_is_kept_until_the_shard_changes_or_the_index_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = IndexCache::new(&folder.path().join("new"));
        let index = built(&[("a.jpg", b"1"), ("a.cls", b"5")]).unwrap();
        let build = |times: &mut usize, stamp: &Stamp| {
            let made = ShardIndex { stamp: stamp.clone(), ..index.clone() };
            let got = cache.get("t.tar", (stamp, "label"), || {
                *times += 1;
                Ok(made)
            });
            assert_eq!(samples(&got.unwrap()), [("a", Some("5"))]);
        };
        let (mut times, first, second) = (0, Stamp::default(), Stamp { size: 1, version: "2".into() });
        for (stamp, built) in [(&first, 1), (&first, 1), (&second, 2), (&second, 2), (&first, 3)] {
            build(&mut times, stamp);
            assert_eq!(times, built);
        }
        let path = cache.path("t.tar", "label");
        let mut json = fs::read(&path).unwrap();
        let digit = json.iter().position(|byte| *byte == b'5').unwrap();
        json[digit] = b'6';
        fs::write(&path, &json).unwrap();
        build(&mut times, &first);
        fs::write(&path, &json[..10]).unwrap();
        build(&mut times, &first);
        assert_eq!(times, 5);
        assert!(cache.last("t.tar", "class").is_none() && cache.last("u.tar", "label").is_none());
        // a folder that cannot be written
        fs::write(folder.path().join("file"), "").unwrap();
        let nowhere = IndexCache::new(&folder.path().join("file"));
        assert!(nowhere.get("t.tar", (&first, "label"), || Ok(index.clone())).is_ok());
        assert!(cache.get("w.tar", (&first, "label"), || Err("is cut".into())).is_err());
    }
}
