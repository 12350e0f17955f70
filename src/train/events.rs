//! TensorBoard event files: scalars and images.
//!
//! A file is a sequence of TFRecords (length, masked CRC-32C of the length, payload, masked CRC-32C of the payload).
//! Each payload is a protobuf `Event` (the needed subset of tensorflow/core/util/event.proto and
//! framework/summary.proto). A resumed run starts a new file. Its first events invalidate later steps of older files,
//! and TensorBoard merges the files. No histograms, no graphs.

use anyhow::{Context, Result};
use prost::Message;
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An open event file. Events are on disk after `flush`.
pub struct Events {
    path: PathBuf,
    out: BufWriter<File>,
    /// Lower bound of the next event's time, in seconds since 1970.
    earliest: f64,
}

impl Events {
    /// Creates a file in `folder` that sorts after all existing ones, whatever the clock says. `resumed` is the step
    /// after which a resumed run continues, None for a new run; later steps in older files are invalidated.
    pub fn create(folder: &Path, resumed: Option<usize>) -> Result<Self> {
        let before = earliest_start(folder)
            .with_context(|| format!("cannot read the events in {}", folder.display()))?;
        let since = now().max(Duration::from_secs_f64(before));
        let path =
            folder.join(format!("events.out.tfevents.{:010}.{:09}", since.as_secs(), since.subsec_nanos()));
        let file = File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut events = Self { path, out: BufWriter::new(file), earliest: since.as_secs_f64() };
        events.write(0, EventPayload::FileVersion("brain.Event:2".into()))?;
        events.write(
            resumed.map_or(0, |step| step + 1),
            EventPayload::SessionLog(SessionLog { status: START }),
        )?;
        events.flush()?;
        Ok(events)
    }

    /// Time of the next event; never earlier than the previous one.
    fn seconds(&mut self) -> f64 {
        self.earliest = self.earliest.max(now().as_secs_f64());
        self.earliest
    }

    /// Adds one scalar under `tag` at `step`.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<()> {
        self.summary(tag, step, ValuePayload::SimpleValue(value as f32))
    }

    /// Adds a PNG of `width` × `height` RGB pixels under `tag` at `step`.
    pub fn image(
        &mut self,
        tag: &str,
        step: usize,
        (width, height): (usize, usize),
        png: &[u8],
    ) -> Result<()> {
        let (width, height) = (i32::try_from(width)?, i32::try_from(height)?);
        self.summary(
            tag,
            step,
            ValuePayload::Image(Image { height, width, colorspace: RGB, png: png.into() }),
        )
    }

    /// Flushes the buffer to the operating system.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().with_context(|| self.write_error())
    }

    fn summary(&mut self, tag: &str, step: usize, value: ValuePayload) -> Result<()> {
        let value = SummaryValue { tag: tag.into(), value: Some(value) };
        self.write(step, EventPayload::EventSummary(EventSummary { value: vec![value] }))
    }

    fn write(&mut self, step: usize, what: EventPayload) -> Result<()> {
        let event = Event { wall_time: Some(self.seconds()), step: Some(step as i64), what: Some(what) };
        write_record(&mut self.out, &event.encode_to_vec()).with_context(|| self.write_error())
    }

    fn write_error(&self) -> String {
        format!("cannot write {}: is the disk full?", self.path.display())
    }
}

/// Upper bound on plausible timestamps, in seconds since 1970: above it, file names no longer sort numerically.
const MAX_TIME: u64 = 9_000_000_000;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Earliest time for a new file's name and events, in seconds since 1970: after the names of the event files in
/// `folder` (TensorBoard reads them in that order) and after the last event of the newest.
fn earliest_start(folder: &Path) -> io::Result<f64> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.split_once("tfevents.").map(|(_, stamp)| stamp);
        let seconds = stamp.and_then(|stamp| stamp.split('.').next()?.parse().ok()).filter(|s| *s < MAX_TIME);
        newest = newest.max(seconds.map(|seconds| (seconds, entry.path())));
    }
    let Some((seconds, path)) = newest else { return Ok(0.0) };
    // A truncated or damaged record ends the file, as in TensorBoard.
    Ok(last_time(&path).unwrap_or(0.0).max((seconds + 1) as f64))
}

/// Time of the last event in a file.
fn last_time(path: &Path) -> Option<f64> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut last = None;
    // Record: length (8 bytes), checksum (4), event, checksum (4). An event starts with the key 9 and its time.
    let mut start = [0; 21];
    while file.read_exact(&mut start).is_ok() {
        let length = u64::from_le_bytes(std::array::from_fn(|i| start[i]));
        let rest = length.checked_sub(9).and_then(|rest| i64::try_from(rest).ok()?.checked_add(4));
        let (Some(rest), 9) = (rest, start[12]) else { break };
        let time = f64::from_le_bytes(std::array::from_fn(|i| start[13 + i]));
        if !(0.0..MAX_TIME as f64).contains(&time) || file.seek_relative(rest).is_err() {
            break;
        }
        last = Some(time);
    }
    last
}

fn write_record(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(payload)?;
    out.write_all(&masked_crc(payload).to_le_bytes())
}

/// TFRecord's checksum: CRC-32C, rotated and offset, so that the checksum of data which contains checksums stays
/// sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `Event`. Time and step are written even when they are 0.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, optional, tag = "1")]
    wall_time: Option<f64>,
    #[prost(int64, optional, tag = "2")]
    step: Option<i64>,
    #[prost(oneof = "EventPayload", tags = "3, 5, 7")]
    what: Option<EventPayload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum EventPayload {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    EventSummary(EventSummary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `SessionLog.SessionStatus.START`: readers discard this step and later ones.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct EventSummary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

/// `EventSummary.SummaryValue`
#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "ValuePayload", tags = "2, 4")]
    value: Option<ValuePayload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ValuePayload {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

/// `EventSummary.Image.colorspace`
const RGB: i32 = 3;

/// `EventSummary.Image`
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    png: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked byte by byte against the protobuf encoding guide: a zero in a oneof and step 0 are written too.
    #[test]
    fn events_are_made_of_these_bytes() {
        let bytes = |step: i64, what| {
            Event { wall_time: Some(1.5), step: Some(step), what: Some(what) }.encode_to_vec()
        };
        let (start, summary) =
            (bytes(0, EventPayload::SessionLog(SessionLog { status: START })), |step, shown| {
                let value = SummaryValue { tag: "a/b".into(), value: Some(shown) };
                bytes(step, EventPayload::EventSummary(EventSummary { value: vec![value] }))
            });
        let head = [9, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10];
        assert_eq!(start, [&head[..], &[0, 0x3a, 2, 8, 1]].concat());
        let scalar = [0x96, 1, 0x2a, 12, 10, 10, 10, 3, b'a', b'/', b'b', 0x15, 0, 0, 0, 0];
        assert_eq!(summary(150, ValuePayload::SimpleValue(0.0)), [&head[..], &scalar].concat());
        let image = Image { height: 2, width: 300, colorspace: RGB, png: vec![7, 8] };
        let shown = [
            1, 0x2a, 20, 10, 18, 10, 3, b'a', b'/', b'b', 0x22, 11, 8, 2, 0x10, 0xac, 2, 0x18, 3, 0x22, 2, 7,
            8,
        ];
        assert_eq!(summary(1, ValuePayload::Image(image)), [&head[..], &shown].concat());
    }

    #[test]
    fn a_clock_set_back_changes_neither_the_order_of_files_nor_of_times() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(earliest_start(folder.path()).unwrap(), 0.0);
        let far = now().as_secs_f64() + 5e6;
        let mut first = Events::create(folder.path(), None).unwrap();
        first.earliest = far + 0.5; // as if the clock had been ahead
        first.scalar("a", 1, 1.0).unwrap();
        first.flush().unwrap();
        assert_eq!(last_time(&first.path), Some(far + 0.5));
        let second = Events::create(folder.path(), Some(1)).unwrap();
        assert!(second.path > first.path && second.earliest >= far + 0.5);
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
