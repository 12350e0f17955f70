//! TensorBoard event files: scalars and images.
//!
//! A file is a sequence of TFRecords (length, masked CRC-32C of the length, payload, masked CRC-32C of the payload),
//! each payload a protobuf `Event` (tensorflow/core/util/event.proto and framework/summary.proto). The few messages
//! needed are encoded by hand. A resumed run begins a new file whose first events say from which step on older files
//! no longer count, and TensorBoard reads the files as one. No histograms, no graphs.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An open event file; what was written is on disk after `flush`.
pub struct Events {
    path: PathBuf,
    out: BufWriter<File>,
    /// Seconds since 1970 that no event may lie before.
    least: f64,
}

impl Events {
    /// Begins a file in `folder` that is read after those already there, whatever the clock says. `resumed` is the step
    /// that a resumed run continues after; None of one that begins: what older files hold of later steps is void.
    pub fn create(folder: &Path, resumed: Option<usize>) -> Result<Self> {
        let before =
            older(folder).with_context(|| format!("cannot read the events in {}", folder.display()))?;
        let since = now().max(Duration::from_secs_f64(before));
        let path =
            folder.join(format!("events.out.tfevents.{:010}.{:09}", since.as_secs(), since.subsec_nanos()));
        let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut events = Self { path, out: BufWriter::new(file), least: since.as_secs_f64() };
        let seconds = events.seconds();
        events.write(&event(seconds, 0, |e| e.text(FILE_VERSION, "brain.Event:2")))?;
        let from = resumed.map_or(0, |step| step + 1);
        events.write(&event(seconds, from, |e| e.message(SESSION_LOG, &start_of_session())))?;
        events.flush()?;
        Ok(events)
    }

    /// The time for the next event: never before the one before it.
    fn seconds(&mut self) -> f64 {
        self.least = self.least.max(now().as_secs_f64());
        self.least
    }

    /// One number under `tag` at `step`.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<()> {
        let mut entry = Message::default();
        entry.text(TAG, tag);
        entry.float(SIMPLE_VALUE, value as f32);
        self.summary(step, &entry)
    }

    /// A PNG of `width` × `height` RGB pixels under `tag` at `step`.
    pub fn image(
        &mut self,
        tag: &str,
        step: usize,
        (width, height): (usize, usize),
        png: &[u8],
    ) -> Result<()> {
        let mut image = Message::default();
        image.number(1, height as u64);
        image.number(2, width as u64);
        image.number(3, 3); // colour space: RGB
        image.bytes(4, png);
        let mut entry = Message::default();
        entry.text(TAG, tag);
        entry.message(IMAGE, &image);
        self.summary(step, &entry)
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().with_context(|| self.trouble())
    }

    fn summary(&mut self, step: usize, entry: &Message) -> Result<()> {
        let mut summary = Message::default();
        summary.message(1, entry);
        let seconds = self.seconds();
        self.write(&event(seconds, step, |e| e.message(SUMMARY, &summary)))
    }

    fn write(&mut self, event: &Message) -> Result<()> {
        write_record(&mut self.out, &event.0).with_context(|| self.trouble())
    }

    fn trouble(&self) -> String {
        format!("cannot write {}: is the disk full?", self.path.display())
    }
}

/// Seconds since 1970 whose names still sort as numbers do; a clock or file beyond is not believed.
const LATEST: u64 = 9_000_000_000;

// Field numbers of Event …
const FILE_VERSION: u32 = 3;
const SUMMARY: u32 = 5;
const SESSION_LOG: u32 = 7;
// … and of Summary.Value.
const TAG: u32 = 1;
const SIMPLE_VALUE: u32 = 2;
const IMAGE: u32 = 4;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970 that a new file's name and events must not lie before: beyond the names of the event files in
/// `folder`, in whose order TensorBoard reads them, and no earlier than the last event of the newest.
fn older(folder: &Path) -> io::Result<f64> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.split_once("tfevents.").map(|(_, stamp)| stamp);
        let seconds = stamp.and_then(|stamp| stamp.split('.').next()?.parse().ok()).filter(|s| *s < LATEST);
        newest = newest.max(seconds.map(|seconds| (seconds, entry.path())));
    }
    let Some((seconds, path)) = newest else { return Ok(0.0) };
    // What is cut off or damaged ends the file: TensorBoard reads no further either.
    Ok(last_time(&path).unwrap_or(0.0).max((seconds + 1) as f64))
}

/// The time of a file's last event.
fn last_time(path: &Path) -> Option<f64> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut last = None;
    // A record: length (8 bytes), checksum (4), event, checksum (4). An event begins with the key 9 and its time.
    let mut start = [0; 21];
    while file.read_exact(&mut start).is_ok() {
        let length = u64::from_le_bytes(std::array::from_fn(|i| start[i]));
        let rest = length.checked_sub(9).and_then(|rest| i64::try_from(rest).ok()?.checked_add(4));
        let (Some(rest), 9) = (rest, start[12]) else { break };
        let time = f64::from_le_bytes(std::array::from_fn(|i| start[13 + i]));
        if !(0.0..LATEST as f64).contains(&time) || file.seek_relative(rest).is_err() {
            break;
        }
        last = Some(time);
    }
    last
}

fn event(seconds: f64, step: usize, fill: impl FnOnce(&mut Message)) -> Message {
    let mut event = Message::default();
    event.double(1, seconds);
    event.number(2, step as u64);
    fill(&mut event);
    event
}

/// `SessionLog { status: START }`, at which a reader drops what it has of this step and later ones.
fn start_of_session() -> Message {
    let mut log = Message::default();
    log.number(1, 1);
    log
}

fn write_record(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(payload)?;
    out.write_all(&masked_crc(payload).to_le_bytes())
}

/// TFRecord's checksum: CRC-32C, rotated and shifted so that a checksum of data that holds checksums stays sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }
    fn double(&mut self, field: u32, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }
    fn float(&mut self, field: u32, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }
    fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }
    fn message(&mut self, field: u32, value: &Message) {
        self.bytes(field, &value.0);
    }
    fn key(&mut self, field: u32, wire: u64) {
        self.varint(u64::from(field) << 3 | wire);
    }
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Known answers of the protobuf encoding guide: 150 is 96 01; field 2 with "testing" is 12 07 74 …
    #[test]
    fn protobuf_examples() {
        let mut number = Message::default();
        number.number(1, 150);
        assert_eq!(number.0, [0x08, 0x96, 0x01]);
        let mut text = Message::default();
        text.text(2, "testing");
        assert_eq!(text.0, [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        let mut outer = Message::default();
        outer.message(3, &number);
        assert_eq!(outer.0, [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn a_clock_set_back_changes_neither_the_order_of_files_nor_of_times() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(older(folder.path()).unwrap(), 0.0);
        let far = now().as_secs_f64() + 5e6;
        let mut first = Events::create(folder.path(), None).unwrap();
        first.least = far + 0.5; // as if the clock had been ahead
        first.scalar("a", 1, 1.0).unwrap();
        first.flush().unwrap();
        assert_eq!(last_time(&first.path), Some(far + 0.5));
        let second = Events::create(folder.path(), Some(1)).unwrap();
        assert!(second.path > first.path && second.least >= far + 0.5);
        fs::write(at("events.out.tfevents.8000000000.host.7.0"), "no events").unwrap();
        let third = Events::create(folder.path(), Some(1)).unwrap();
        assert_eq!(third.path, at("events.out.tfevents.8000000001.000000000"));
        let fourth = Events::create(folder.path(), Some(1)).unwrap();
        assert!(fourth.path > third.path);
        fs::write(at("events.out.tfevents.99999999999999999999.1"), "").unwrap();
        fs::write(at("events.out.tfevents.what"), [9; 40]).unwrap();
        assert!(Events::create(folder.path(), Some(1)).unwrap().path > fourth.path);
    }

    // RFC 3720 B.4: the CRC-32C of 32 zero bytes is 8a9136aa; masking by hand gives the second number.
    #[test]
    fn checksum_is_castagnoli_and_masked() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }
}
