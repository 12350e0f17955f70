//! The proposal file format: safetensors with `boxes` f32 `(N, 4)`, 0-based x1 y1 x2 y2, and `offsets` u64 `(images +
//! 1)`: image i has the boxes from `offsets[i]` up to `offsets[i + 1]`. The metadata entry `proposals` is JSON:
//! format version, image identifiers, provenance, and a checksum over everything. Equal proposals give equal bytes.

use super::Proposals;
use crate::{
    atomic_write, boxes::Rect, checksum, data::error::DataError, nn::weights::safetensors::start,
    text::excerpt,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::Path};

/// Version written; version 1, without a checksum, is read too.
const VERSION: u32 = 2;
/// The metadata entry.
const ENTRY: &str = "proposals";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposalHeader {
    version: u32,
    made_by: String,
    ids: Vec<String>,
    #[serde(default)]
    crc32c: Option<String>,
}

impl ProposalHeader {
    /// Checksum over the strings and the two tensors.
    fn checksum(&self, boxes: &[u8], offsets: &[u8]) -> String {
        let texts = std::iter::once(&self.made_by).chain(&self.ids);
        let text = |crc, text: &String| {
            let length = (text.len() as u64).to_le_bytes();
            crc32c::crc32c_append(crc32c::crc32c_append(crc, &length), text.as_bytes())
        };
        let crc = texts.fold(0, text);
        checksum::digits(crc32c::crc32c_append(crc32c::crc32c_append(crc, boxes), offsets))
    }

    /// Why the checksum or version is not valid.
    fn objection(&self, boxes: &[u8], offsets: &[u8]) -> Option<String> {
        let found = self.checksum(boxes, offsets);
        match (self.version, &self.crc32c) {
            (1, None) => None,
            (VERSION, Some(stated)) if *stated == found => None,
            (VERSION, Some(stated)) => {
                Some(format!("it is damaged: its checksum is {found}, and it says {}", excerpt(stated)))
            }
            (VERSION, None) => Some("it is damaged: its checksum is gone".into()),
            (version, _) => Some(format!("version {version} is not {VERSION}")),
        }
    }
}

impl Proposals {
    /// Writes the file atomically; `made_by` is a human-readable provenance.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk.
    pub fn write(&self, path: &Path, made_by: &str) -> Result<(), DataError> {
        let bytes = self.bytes(made_by).map_err(|reason| DataError::Table { path: path.into(), reason })?;
        atomic_write::write(path, &bytes).map_err(|e| DataError::Table {
            path: path.into(),
            reason: format!("cannot be written: {e}; does its folder exist, and may you write there?"),
        })
    }

    fn bytes(&self, made_by: &str) -> Result<Vec<u8>, String> {
        let (boxes, offsets) = self.tensors();
        let mut header =
            ProposalHeader { version: VERSION, made_by: made_by.into(), ids: self.ids.clone(), crc32c: None };
        header.crc32c = Some(header.checksum(&boxes, &offsets));
        self.file(&header, &boxes, &offsets)
    }

    fn file(&self, header: &ProposalHeader, boxes: &[u8], offsets: &[u8]) -> Result<Vec<u8>, String> {
        let header = serde_json::to_string(header).map_err(|e| e.to_string())?;
        // The wider numbers first, so that both are aligned for who maps the file.
        let tensors =
            [("offsets", Dtype::U64, vec![self.len() + 1]), ("boxes", Dtype::F32, vec![self.total(), 4])];
        let start = start(&BTreeMap::from([(ENTRY, header)]), tensors).map_err(|e| e.to_string())?;
        Ok([&start, offsets, boxes].concat())
    }

    /// The bytes of `boxes` and `offsets`.
    fn tensors(&self) -> (Vec<u8>, Vec<u8>) {
        let coordinates = self.boxes.iter().flatten().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]);
        let mut end = 0u64;
        let ends = self.boxes.iter().map(|boxes| {
            end += boxes.len() as u64;
            end
        });
        let offsets = std::iter::once(0).chain(ends).flat_map(u64::to_le_bytes).collect();
        (coordinates.flat_map(f32::to_le_bytes).collect(), offsets)
    }

    /// Reads a file that [`Proposals::write`] wrote.
    ///
    /// # Errors
    /// An unreadable file, another format or version, inconsistent content.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        parse(&bytes).map_err(|reason| DataError::Table {
            path: path.into(),
            reason: format!("no file of proposals: {reason}; `hueristic proposals` writes one"),
        })
    }
}

fn parse(bytes: &[u8]) -> Result<Proposals, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(why)?;
    let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
    let header = entry.ok_or_else(|| format!("its metadata has no entry `{ENTRY}`"))?;
    let header: ProposalHeader = serde_json::from_str(header).map_err(why)?;
    let file = SafeTensors::deserialize(bytes).map_err(why)?;
    let boxes = tensor(&file, "boxes", Dtype::F32)?;
    let offsets = tensor(&file, "offsets", Dtype::U64)?;
    if let Some(objection) = header.objection(boxes.data(), offsets.data()) {
        return Err(objection);
    }
    let &[count, 4] = boxes.shape() else { return Err("`boxes` has not four columns".into()) };
    let (coordinates, _) = boxes.data().as_chunks::<4>();
    let (coordinates, _) = coordinates.as_chunks::<4>();
    let rects: Vec<Rect> = coordinates.iter().map(|b| b.map(f32::from_le_bytes)).map(rect).collect();
    let (offsets, _) = offsets.data().as_chunks::<8>();
    let offsets: Vec<usize> = offsets.iter().map(|&b| u64::from_le_bytes(b) as usize).collect();
    let ends = (offsets.first(), offsets.last());
    if offsets.len() != header.ids.len() + 1 || ends != (Some(&0), Some(&count)) {
        return Err(format!("{} offsets for {} pictures of {count} boxes", offsets.len(), header.ids.len()));
    }
    let pictures = header.ids.into_iter().zip(offsets.windows(2)).map(|(id, range)| {
        let boxes = rects
            .get(range[0]..range[1])
            .ok_or_else(|| format!("offsets go astray at `{}`", excerpt(&id)))?;
        Ok((id, boxes.to_vec()))
    });
    Proposals::new(pictures.collect::<Result<_, String>>()?)
}

/// The reader's error, shortened since it may quote the file.
fn why(error: impl std::fmt::Display) -> String {
    excerpt(&error.to_string())
}

fn rect([x1, y1, x2, y2]: [f32; 4]) -> Rect {
    Rect::new(x1, y1, x2, y2)
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<TensorView<'a>, String> {
    let tensor = file.tensor(name).map_err(why)?;
    if tensor.dtype() != dtype {
        return Err(format!("`{name}` is {}, not {dtype}", tensor.dtype()));
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Proposals {
        let boxes = vec![Rect::new(0., 1., 30.5, 40.), Rect::new(2., 2., 2., 2.)];
        Proposals::new(vec![("z".into(), boxes), ("a".into(), vec![]), ("é".into(), vec![rect([1.; 4])])])
            .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.safetensors");
        example().write(&path, "a test").unwrap();
        assert_eq!(Proposals::read(&path).unwrap(), example());
        let none = Proposals::new(vec![]).unwrap();
        none.write(&path, "a test").unwrap();
        assert_eq!(Proposals::read(&path).unwrap(), none);
        assert_eq!(example().bytes("x").unwrap(), example().bytes("x").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let nowhere = example().write(&folder.path().join("no/p.safetensors"), "a test").unwrap_err();
        assert!(nowhere.to_string().contains("does its folder exist"), "{nowhere}");
    }

    #[test]
    fn other_files_are_refused() {
        let whole = example().bytes("a test").unwrap();
        assert!(parse(b"").is_err());
        assert!(parse(&whole[..whole.len() - 1]).is_err());
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let foreign = safetensors::serialize([("a", view)], None).unwrap();
        assert!(parse(&foreign).unwrap_err().contains("no entry `proposals`"));
        // The offsets are 0, 2, 2, 3: the second one is changed.
        let tensors = SafeTensors::deserialize(&whole).unwrap();
        let start = tensors.tensor("offsets").unwrap().data().as_ptr() as usize - whole.as_ptr() as usize;
        let mut astray = whole.clone();
        astray[start + 8] = 9;
        assert!(parse(&astray).unwrap_err().contains("its checksum is"));
    }

    #[test]
    fn files_without_a_checksum_are_read() {
        let (boxes, mut offsets) = example().tensors();
        let header =
            |version| ProposalHeader { version, made_by: "a test".into(), ids: example().ids, crc32c: None };
        let file = |version, offsets: &[u8]| example().file(&header(version), &boxes, offsets).unwrap();
        assert_eq!(parse(&file(1, &offsets)).unwrap(), example());
        assert!(parse(&file(2, &offsets)).unwrap_err().contains("its checksum is gone"));
        assert!(parse(&file(3, &offsets)).unwrap_err().contains("version 3"));
        offsets[8] = 9;
        assert!(parse(&file(1, &offsets)).unwrap_err().contains("astray"));
    }

    #[test]
    fn every_flipped_bit_is_seen_or_changes_nothing() {
        let whole = example().bytes("a test").unwrap();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes).is_err() || parse(&bytes).unwrap() == example(), "bit {bit}");
        }
        (0..whole.len()).for_each(|length| assert!(parse(&whole[..length]).is_err(), "{length} bytes"));
    }
}
