//! TensorBoard event files: scalars and images.
//!
//! A file is a sequence of TFRecords (length, masked CRC-32C of the length, payload, masked CRC-32C of the payload),
//! each payload a protobuf `Event` (tensorflow/core/util/event.proto and framework/summary.proto). The few messages
//! needed are encoded by hand. A resumed run begins a new file whose first events say from which step on older files
//! no longer count, and TensorBoard reads the files as one. No histograms, no graphs.

use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// An open event file; what was written is on disk after `flush`.
pub struct Events {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Events {
    /// Begins a file in `folder`. `resumed` is the step that a resumed run continues after: what older files hold of
    /// later steps is void.
    pub fn create(folder: &Path, resumed: Option<usize>) -> Result<Self> {
        let (seconds, path) = new_name(folder);
        let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut events = Self { path, out: BufWriter::new(file) };
        events.write(&event(seconds, 0, |e| e.text(FILE_VERSION, "brain.Event:2")))?;
        if let Some(step) = resumed {
            events.write(&event(seconds, step + 1, |e| e.message(SESSION_LOG, &start_of_session())))?;
        }
        events.flush()?;
        Ok(events)
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
        self.write(&event(now().0, step, |e| e.message(SUMMARY, &summary)))
    }

    fn write(&mut self, event: &Message) -> Result<()> {
        write_record(&mut self.out, &event.0).with_context(|| self.trouble())
    }

    fn trouble(&self) -> String {
        format!("cannot write {}: is the disk full?", self.path.display())
    }
}

// Field numbers of Event …
const FILE_VERSION: u32 = 3;
const SUMMARY: u32 = 5;
const SESSION_LOG: u32 = 7;
// … and of Summary.Value.
const TAG: u32 = 1;
const SIMPLE_VALUE: u32 = 2;
const IMAGE: u32 = 4;

/// Seconds since 1970, as a fraction and in whole with the nanoseconds beyond.
fn now() -> (f64, u64, u32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64(), since.as_secs(), since.subsec_nanos())
}

/// TensorBoard takes files whose names hold `tfevents`, and reads them in the order of their names.
fn new_name(folder: &Path) -> (f64, PathBuf) {
    let (exact, seconds, nanos) = now();
    (exact, folder.join(format!("events.out.tfevents.{seconds:010}.{nanos:09}")))
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

fn write_record(out: &mut impl Write, payload: &[u8]) -> std::io::Result<()> {
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

    // RFC 3720 B.4: the CRC-32C of 32 zero bytes is 8a9136aa; masking by hand gives the second number.
    #[test]
    fn checksum_is_castagnoli_and_masked() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }
}
