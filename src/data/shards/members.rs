//! The members of a tar file, with where their contents begin. Read by the crate `tar`, which knows the formats; what it
//! passes over in silence is found here: a missing end, compressed files, links.

use crate::text::counted;
use serde::{Deserialize, Serialize};
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};
use tar::{Archive, EntryType};

/// Tar files end with two blocks of zeros.
const END: usize = 1024;
const BLOCK: u64 = 512;
/// How compressed files begin, and what unpacks them.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unzstd"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
];

/// A regular file in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    /// First byte of its content in the shard.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// The regular files of a shard, in its order.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub files: Vec<Member>,
    pub skipped: Skipped,
    /// Why the end of the shard is missing; `files` are those that are complete.
    pub cut: Option<String>,
}

/// Numbers of members that are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub hard_links: usize,
    pub links: usize,
    pub folders: usize,
    pub special: usize,
    /// `__name__`, hidden files, and file names without a dot
    pub nameless: usize,
    /// samples without a picture
    pub no_picture: usize,
}

impl Skipped {
    /// The sum of two shards.
    pub fn plus(self, other: Self) -> Self {
        Self {
            hard_links: self.hard_links + other.hard_links,
            links: self.links + other.links,
            folders: self.folders + other.folders,
            special: self.special + other.special,
            nameless: self.nameless + other.nameless,
            no_picture: self.no_picture + other.no_picture,
        }
    }

    /// Whether pictures may be missing.
    pub fn may_lack_pictures(&self) -> bool {
        self.hard_links + self.links + self.no_picture > 0
    }

    /// `2 hard links, 1 folder`; None without any.
    pub fn shown(&self) -> Option<String> {
        let all = [
            (self.hard_links, "hard link"),
            (self.links, "symbolic link"),
            (self.folders, "folder"),
            (self.special, "special file"),
            (self.nameless, "member without a key and an extension"),
            (self.no_picture, "sample without a picture"),
        ];
        let shown: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n, what)).collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }

    fn count(&mut self, kind: EntryType) {
        match kind {
            // A second link to a file is stored without the content.
            EntryType::Link => self.hard_links += 1,
            EntryType::Symlink => self.links += 1,
            EntryType::Directory => self.folders += 1,
            _ => self.special += 1,
        }
    }
}

/// As [`counted`], of a noun with words behind it.
fn plural(count: usize, what: &str) -> String {
    match what.split_once(" without") {
        Some((noun, rest)) => format!("{} without{rest}", counted(count, noun)),
        None => counted(count, what),
    }
}

/// Lists the members of an open shard.
///
/// # Errors
/// A compressed file, a file that is no tar archive, one that cannot be read; a damaged header between members.
pub(super) fn list(mut file: &File) -> Result<Members, String> {
    refuse_compressed(file)?;
    let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let ended = Cell::new(false);
    let mut archive = Archive::new(Watched { file, ended: &ended });
    let (mut found, mut next) = (Members::default(), 0);
    for entry in archive.entries_with_seek().map_err(unreadable)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(_) if next == 0 => {
                return Err("is no tar archive; expected WebDataset shards (`.tar`)".into());
            }
            Err(_) if ended.get() => break,
            Err(error) => return Err(format!("is damaged at byte {next}: {error}")),
        };
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let ends = offset.checked_add(size).ok_or("is damaged: a member is larger than any file")?;
        if ends > length {
            break;
        }
        next = ends.next_multiple_of(BLOCK);
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                found.files.push(Member { name, offset, size });
            }
            kind => found.skipped.count(kind),
        }
    }
    found.cut = missing_end(file, next, length)?;
    Ok(found)
}

/// A file that tells whether it was read past its end.
struct Watched<'a> {
    file: &'a File,
    ended: &'a Cell<bool>,
}

impl Read for Watched<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        if read == 0 && !bytes.is_empty() {
            self.ended.set(true);
        }
        Ok(read)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}

fn refuse_compressed(mut file: &File) -> Result<(), String> {
    let mut start = Vec::new();
    file.rewind().and_then(|()| file.take(8).read_to_end(&mut start)).map_err(unreadable)?;
    match COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic)) {
        Some((_, format, tool)) => Err(format!(
            "is compressed ({format}), so that no picture can be read by its offset; unpack it with `{tool}`"
        )),
        None => Ok(()),
    }
}

/// Why the two blocks of zeros behind the last member are missing. Without them, a shard that was cut between two members
/// is read as a shorter one.
fn missing_end(mut file: &File, last: u64, length: u64) -> Result<Option<String>, String> {
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(last)).map_err(unreadable)?;
    file.take(END as u64).read_to_end(&mut end).map_err(unreadable)?;
    let is_whole = end.len() == END && end.iter().all(|byte| *byte == 0);
    Ok((!is_whole)
        .then(|| format!("is cut: it ends at byte {length} without the end of a tar archive; copy it again")))
}

/// The content of a member.
///
/// # Errors
/// A shorter file.
pub(super) fn read(file: &File, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).map_err(|_| io::Error::other("a member is larger than memory"))?;
    let mut bytes = vec![0; size];
    read_at(file, &mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

/// Opens a shard for reading.
///
/// # Errors
/// Why it cannot be.
pub(super) fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};
    use tar::{Builder, Header};

    /// A shard of `0.jpg`, a hard link, a symbolic link, a folder, and a file whose name needs a header of its own.
    fn archive() -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let mut add = |kind, name: &str, content: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            if matches!(kind, EntryType::Link | EntryType::Symlink) {
                header.set_link_name("0.jpg").unwrap();
            }
            builder.append_data(&mut header, name, content).unwrap();
        };
        add(EntryType::Regular, "0.jpg", b"first");
        add(EntryType::Link, "1.jpg", b"");
        add(EntryType::Symlink, "2.jpg", b"");
        add(EntryType::Directory, "folder/", b"");
        add(EntryType::Regular, &format!("{}/3.jpg", "long".repeat(40)), &[7; 700]);
        builder.into_inner().unwrap()
    }

    fn listed(bytes: &[u8]) -> Result<Members, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        list(&file)
    }

    #[test]
    fn regular_files_are_found_by_offset_and_the_rest_is_counted() {
        let bytes = archive();
        let found = listed(&bytes).unwrap();
        let content = |m: &Member| bytes[m.offset as usize..][..m.size as usize].to_vec();
        assert_eq!(found.files.iter().map(content).collect::<Vec<_>>(), [b"first".to_vec(), vec![7; 700]]);
        assert!(found.files[1].name.ends_with("long/3.jpg") && found.files[1].name.len() > 160);
        assert_eq!(found.skipped.shown().unwrap(), "1 hard link, 1 symbolic link, 1 folder");
        assert!(
            found.skipped.may_lack_pictures()
                && !Skipped { folders: 1, ..Skipped::default() }.may_lack_pictures()
        );
        let samples = Skipped { no_picture: 2, ..Skipped::default() };
        assert_eq!(samples.plus(samples).shown().unwrap(), "4 samples without a picture");
        assert_eq!(found.cut, None);
    }

    /// Cut at any byte: within a header, within a content, between two members, between the two blocks of zeros.
    #[test]
    fn a_cut_at_any_byte_is_seen_and_what_is_complete_is_kept() {
        let bytes = archive();
        let (first, last) = (512 + 5, bytes.len() - END);
        for length in 512..bytes.len() {
            let found = listed(&bytes[..length]).unwrap();
            assert!(
                found.cut.as_ref().is_some_and(|why| why.contains(&length.to_string())),
                "{length} bytes"
            );
            assert_eq!(
                found.files.len(),
                usize::from(length >= first) + usize::from(length >= last - 324),
                "{length}"
            );
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let damaged = |at: usize| {
            let mut bytes = archive();
            bytes[at] ^= 1;
            listed(&bytes).unwrap_err()
        };
        assert!(damaged(0).contains("no tar archive"));
        assert!(damaged(1024 + 3).contains("damaged at byte 1024"), "{}", damaged(1024 + 3));
        for (start, name) in
            [(&b"\x1f\x8b\x08"[..], "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd"), (b"BZh9", "bunzip2")]
        {
            let error = listed(start).unwrap_err();
            assert!(error.contains("is compressed") && error.contains(name), "{error}");
        }
        assert!(listed(&[b'x'; 4096]).unwrap_err().contains("no tar archive"));
        assert!(listed(b"").unwrap().cut.is_some() && listed(&[0; 1024]).unwrap().cut.is_none());
    }

    #[test]
    fn contents_are_read_at_their_place() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&archive()).unwrap();
        let opened = open(file.path()).unwrap();
        assert_eq!(read(&opened, 512, 5).unwrap(), b"first");
        assert!(read(&opened, 1 << 20, 1).is_err());
        fs::remove_file(file.path()).unwrap();
        assert!(open(file.path()).unwrap_err().contains("cannot be read"));
    }
}
