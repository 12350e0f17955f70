//! Identifies files that are not weights in a supported format by their first and last bytes, and says what to do.

use crate::text;
use std::path::Path;

/// Bytes read from the beginning of a file to identify it.
pub(super) const START: u64 = 512;
/// Bytes read from the end.
pub(super) const END: u64 = 8;

/// First bytes, the file type, and what to do.
const KINDS: [(&[u8], &str); 36] = [
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"version https://git-lfs", LFS),
    (b"version https://hawser", LFS),
    (b"\x1f\x8b", "compressed by gzip: unpack it with `gunzip` (or `tar xzf`) and give the file inside"),
    (b"\x1f\x9d", "compressed by compress: unpack it with `uncompress` and give the file inside"),
    (b"\xfd7zXZ\x00", "compressed by xz: unpack it with `unxz` (or `tar xJf`) and give the file inside"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it with `unzstd` and give the file inside"),
    (b"BZh", "compressed by bzip2: unpack it with `bunzip2` and give the file inside"),
    (b"\x04\x22\x4d\x18", "compressed by lz4: unpack it with `unlz4` and give the file inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it and give the file inside"),
    (b"Rar!", "a RAR archive: unpack it and give the file inside"),
    (b"PK\x05\x06", "an empty zip archive: copy or download the file again"),
    (
        b"\x93NUMPY",
        "a NumPy array (.npy), which has no tensor names: write the weights with `safetensors.numpy.save_file`",
    ),
    (b"GGUF", "a GGUF file of llama.cpp: give the safetensors file that it was converted from"),
    (b"lmgg", GGML),
    (b"tjgg", GGML),
    (b"fmgg", GGML),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file (as of MatConvNet): convert it to safetensors"),
    (b"%PDF", "a PDF document, not weights: give the weight file"),
    (b"\xff\xd8\xff", "a JPEG picture: give the weights' path"),
    (b"\x89PNG", "a PNG picture: give the weights' path"),
    (b"GIF8", "a GIF picture: give the weights' path"),
    (b"II*\x00", "a TIFF picture: give the weights' path"),
    (b"MM\x00*", "a TIFF picture: give the weights' path"),
    (b"SQLite format 3", "an SQLite database: give the weights' path"),
    (b"\x7fELF", "a program: give the weights' path"),
    (b"PAR1", "a parquet table: give the weights' path"),
    (b"ARROW1", "an Arrow table: give the weights' path"),
    (b"\xef\xbb\xbf<", PAGE),
    (b"\xff\xfe", "text in UTF-16, not weights: open it; a download may have failed"),
    (b"\x03\x00\x00\x00\x01\x00\x00\x00", TORCH7),
    (b"\x04\x00\x00\x00\x01\x00\x00\x00", TORCH7),
    (b"4\n1\n", TORCH7),
    (b"\x08\x01\x12", ONNX_OR_TF),
    (b"\x81\xa6params", "a MessagePack file (Flax): write its arrays with `safetensors.flax.save_file`"),
    (b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", ZEROS),
];
const HDF5: &str = "an HDF5 file (Keras, h5py, or Caffe's .caffemodel.h5): not supported; write the weights as \
                    safetensors, or the Caffe model as .caffemodel (`snapshot_format: BINARYPROTO`)";
const LFS: &str = "a Git LFS pointer instead of the file: fetch the file itself with `git lfs pull`, or download it \
                   from the repository's page";
const GGML: &str = "a GGML file of llama.cpp: give the safetensors file that it was converted from";
const PAGE: &str = "a web page (HTML or XML), not weights: the download returned a page or an error; use the \
                    download link of the file itself";
const TORCH7: &str = "a Lua Torch file (.t7): convert it to PyTorch and save its state dict";
const ONNX: &str = "an ONNX model: give the original PyTorch or Caffe weights, or write its initializers with \
                    `safetensors.numpy.save_file`";
const ONNX_OR_TF: &str =
    "an ONNX model or a TensorFlow SavedModel: write its weights with `safetensors.numpy.save_file`";
const TF: &str = "a part of a TensorFlow checkpoint: read its variables there and write them with \
                  `safetensors.numpy.save_file`";
const ZEROS: &str = "a file that begins with zeros: a broken download; download it again";
/// Last bytes of the table file with the index of a TensorFlow checkpoint.
const TABLE: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// The file type and what to do; None if the file may contain weights.
pub(super) fn kind(path: &Path, start: &[u8], end: &[u8]) -> Option<String> {
    if matches!(start, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
        return None; // safetensors, whose header may have any length
    }
    let known = KINDS.iter().find(|(first, _)| start.starts_with(first)).map(|(_, kind)| *kind);
    known.or_else(|| by_structure(path, start, end)).map(String::from).or_else(|| written(start))
}

fn by_structure(path: &Path, start: &[u8], end: &[u8]) -> Option<&'static str> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if end == TABLE || name.contains(".data-0000") {
        return Some(TF);
    }
    match start {
        [0x08, 2..=32, 0x12 | 0x1a | 0x22 | 0x32 | 0x3a | 0x42, ..] => Some(ONNX),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => {
            Some("a TensorFlow Lite model: give the original weights as safetensors")
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            Some("a WebP picture: give the weights' path")
        }
        _ if start.get(257..262) == Some(b"ustar") => {
            Some("a tar archive: unpack it with `tar xf` and give the file inside")
        }
        _ => None,
    }
}

/// Text; no weight file begins with text.
fn written(start: &[u8]) -> Option<String> {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    if start.len() < 4 || !start.iter().all(printable) {
        return None;
    }
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The window may end inside a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    let line = text::excerpt(text.lines().next().unwrap_or_default());
    Some(match text.chars().next() {
        Some('<') => PAGE.into(),
        Some('{' | '[') if text.contains("weight_map") => {
            "the index of weights in several files (JSON): give a single file with all weights".into()
        }
        Some('{' | '[') => {
            format!(
                "JSON, not weights: {line}; perhaps a server error instead of the file; download it again"
            )
        }
        _ => {
            format!("text, not weights: {line}; perhaps an error or a network definition; give the weights")
        }
    })
}

/// Type of an archive with these entries, if torch.save did not write it.
pub(super) fn archive(names: &[String]) -> Option<String> {
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    let inside = |part: &str| names.iter().any(|name| name.contains(part));
    if has("constants.pkl") || inside("/code/") {
        return Some(
            "a TorchScript archive (torch.jit.save): in PyTorch `torch.save(torch.jit.load(FILE).state_dict(), OUT)`"
                .into(),
        );
    }
    if has("data.pkl") {
        return None;
    }
    if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return Some(
            "NumPy arrays (.npz): write them with `safetensors.numpy.save_file(dict(np.load(FILE)), OUT)`"
                .into(),
        );
    }
    if has("model.weights.h5") {
        return Some("a Keras model (.keras): write its weights as safetensors".into());
    }
    if has("models/model.json") || has("archive_format") {
        return Some("an exported program of PyTorch (.pt2): save the model's `state_dict()` instead".into());
    }
    let weights = [".pth", ".pt", ".safetensors", ".caffemodel", ".bin", ".ckpt", ".tar"];
    let file = names.iter().find(|name| weights.iter().any(|end| name.to_lowercase().ends_with(end)));
    file.map(|file| format!("a zip archive of other files: unpack it and give {}", text::excerpt(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, start: &[u8], end: &[u8]) -> String {
        kind(Path::new(name), start, end).unwrap_or_else(|| panic!("{name} may be weights"))
    }

    #[test]
    fn files_of_others_are_named() {
        let tar = [[b'a'; 257].as_slice(), b"ustar\x0000"].concat();
        let cases: [(&str, &[u8], &str); 18] = [
            ("w.h5", b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
            ("w.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
            ("w.pth", b"<!DOCTYPE html><html>", "web page"),
            ("w.pth", b"\n  <?xml version=\"1.0\"?><Error>", "web page"),
            ("w.pth", b"\xef\xbb\xbf<html>", "web page"),
            ("w.pth", b"{\"error\":\"Repository not found\"}", "JSON, not weights: {\"error\":\"Repository"),
            ("w.json", b"{\"metadata\": {}, \"weight_map\": {}}", "several files"),
            ("w.pth", b"Entry not found", "text, not weights: Entry not found"),
            ("w.pth", "Fehler: nicht verf\u{fc}gbar".as_bytes(), "text, not weights"),
            ("w.gz", b"\x1f\x8b\x08\0", "gunzip"),
            ("w.xz", b"\xfd7zXZ\x00\0", "unxz"),
            ("w.zst", b"\x28\xb5\x2f\xfd\0", "unzstd"),
            ("w.tar", &tar, "tar xf"),
            ("w.npy", b"\x93NUMPY\x01\0", "numpy"),
            ("w.gguf", b"GGUF\x03\0\0\0", "GGUF"),
            ("w.onnx", b"\x08\x08\x12\x07pytorch", "ONNX"),
            ("w.ckpt.data-00000-of-00001", b"\x01\x02\x03", "TensorFlow checkpoint"),
            ("w.t7", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "Lua Torch"),
        ];
        for (name, start, part) in cases {
            let said = said(name, start, b"");
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said("model.ckpt.index", b"\0\0\x01", &TABLE).contains("TensorFlow"));
    }

    #[test]
    fn weights_are_none_of_them() {
        for start in [
            b"PK\x03\x04\0\0\0\0".as_slice(),
            b"\x80\x02\x8a\x0a\x6c\xfc",
            b"\x40\0\0\0\0\0\0\0{\"a\":",
            b"\x1f\x8b\0\0\0\0\0\0{\"a\":",
            b"\x0a\x08CaffeNet\xa2\x06",
            b"\x0a\x29a network whose name is of printable length\xa2\x06\xff",
        ] {
            assert_eq!(kind(Path::new("w.pth"), start, b"\0\0"), None, "{start:?}");
        }
    }

    #[test]
    fn archives_of_others_are_named() {
        let archive = |names: &[&str]| archive(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(archive(&["w/data.pkl", "w/data/0", "w/version"]), None);
        for (names, part) in [
            (["m/data.pkl", "m/constants.pkl"], "TorchScript"),
            (["a.npy", "b.npy"], ".npz"),
            (["config.json", "model.weights.h5"], "Keras"),
            (["readme.txt", "weights/w.pth"], "weights/w.pth"),
        ] {
            assert!(archive(&names).is_some_and(|said| said.contains(part)), "{names:?}");
        }
    }
}
