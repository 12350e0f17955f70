//! Files that are broken or meant to harm: an error that says what is wrong, no code run, no memory taken on the word of
//! a file.

use super::{
    FILES, fixture,
    pickles::{long, text, tuple},
};
use hueristic::{
    backbones::exchange,
    nn::weights::{self, Named},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Cursor, Write},
    path::Path,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// Remembers the largest request of each thread.
struct Watched;

// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// More than any of these small files needs at a time.
const MODEST: usize = 4 << 20;

fn read(name: &str, bytes: &[u8]) -> Result<Named, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    LARGEST.with(|largest| largest.set(0));
    let read = weights::read(&path).map(|(tensors, _)| tensors).map_err(|error| format!("{error:#}"));
    let largest = LARGEST.with(Cell::get);
    assert!(largest <= MODEST, "{name}: {largest} bytes were asked for at once");
    read
}

/// The message, which names the file.
fn refused(bytes: &[u8]) -> String {
    let error = read("w.pth", bytes).expect_err("a broken file");
    assert!(error.contains("w.pth"), "{error}");
    error
}

/// An archive as torch.save makes it around a pickle and one storage.
fn archive(pickle: &[u8], storage: &[u8], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("w/data.pkl", pickle), ("w/data/0", storage)] {
        zip.start_file(name, options).expect("a new entry");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

fn pickled(pickle: &[u8]) -> Vec<u8> {
    archive(pickle, &[0; 64], CompressionMethod::Stored)
}

/// `{'a': _rebuild_tensor_v2(storage of `count` floats, offset, shape, strides, …)}`
fn dict(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"\x80\x02}(".to_vec(),
        text("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        long(count),
        b"tQ".to_vec(),
        long(offset),
        tuple(shape),
        tuple(strides),
        b"\x89NtRu.".to_vec(),
    ]
    .concat()
}

#[test]
fn the_dictionary_of_these_tests_is_sound() {
    let tensors = read("w.pth", &pickled(&dict(16, 1, &[2, 3], &[3, 1]))).expect("a state dict");
    assert_eq!(tensors["a"].dims(), [2, 3]);
}

#[test]
fn no_code_is_run() {
    let proof = std::env::temp_dir().join(format!("hueristic-run-{}", std::process::id()));
    let command = text(&format!("touch {}", proof.display()));
    let system = [b"\x80\x02cposix\nsystem\n".to_vec(), command.clone(), b"\x85R.".to_vec()].concat();
    assert!(refused(&pickled(&system)).contains("`posix.system`"));
    let stacked =
        [b"\x80\x04".to_vec(), text("os"), text("system"), b"\x93".to_vec(), command, b"\x85R.".to_vec()];
    assert!(refused(&pickled(&stacked.concat())).contains("`os.system`, which was not run"));
    // As an attribute, as a class, in the oldest form, behind a good state dict.
    for stolen in [
        b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00ao.".as_slice(),
        b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.",
        b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00at\x81.",
        b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00at}\x92.",
    ] {
        assert!(refused(&pickled(stolen)).contains("an object of"), "{stolen:?}");
    }
    assert!(refused(&pickled(&[0x80, 2, 0xff, b'.'])).contains("0xff"));
    assert!(refused(&pickled(b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.")).contains("not a list"));
    assert!(!proof.exists());
}

#[test]
fn tensors_stay_inside_their_storages() {
    let outside = "reaches outside its storage";
    let cases: [(Vec<u8>, &str); 10] = [
        (dict(16, 0, &[-1], &[1]), "shape of a tensor is negative"),
        (dict(16, 0, &[2, 2], &[-2, 1]), "stride of a tensor is negative"),
        (dict(16, -4, &[2], &[1]), "offset of a tensor is negative"),
        (dict(16, 10, &[7], &[1]), outside),
        (dict(16, 0, &[2, 2], &[i64::MAX, i64::MAX]), outside),
        (dict(16, i64::MAX, &[2], &[1]), outside),
        (dict(16, 0, &[1 << 40, 1 << 40], &[0, 0]), outside),
        (dict(1 << 40, 0, &[1 << 40], &[1]), "longer than the file"),
        (dict(16, 0, &[1 << 40], &[0]), "far more memory"),
        (dict(17, 0, &[17], &[1]), "but its pickle says 68"),
    ];
    for (pickle, message) in cases {
        let error = refused(&pickled(&pickle));
        assert!(error.contains(message), "{message}: {error}");
    }
    assert!(refused(&pickled(&dict(i64::MAX, 0, &[1], &[1]))).contains("it is corrupt"));
}

/// The message for a pickle that is long itself, so that much memory is rightly taken.
fn unwatched(pickle: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.pth");
    std::fs::write(&path, pickled(pickle)).expect("a file");
    format!("{:#}", weights::read(&path).expect_err("a bad pickle"))
}

/// Nesting, references in circles, and values without end.
#[test]
fn pickles_do_not_exhaust_the_reader() {
    let nested = [b"\x80\x02)".as_slice(), &[0x85; 500_000], b"."].concat();
    assert!(unwatched(&nested).contains("no state dict"));
    let circle = b"\x80\x02}q\x00(X\x0a\x00\x00\x00state_dicth\x00u.";
    assert!(refused(&pickled(circle)).contains("no tensors"));
    let many = [b"\x80\x02".as_slice(), &[b'N'; 1_100_000], b"."].concat();
    assert!(unwatched(&many).contains("values"));
    for (pickle, message) in [
        (b"\x80\x02.".as_slice(), "stack is empty"),
        (b"\x80\x02}u.", "closes a mark that is not open"),
        (b"\x80\x02h\x07.", "recalls a value that it did not memoize"),
        (b"\x80\x02}X\xff\xff\xff\xffa.", "longer than the pickle"),
        (b"\x80\x02}(K\x01u.", "half a pair"),
        (b"\x80\x02K\x01(K\x01K\x01u.", "not a list or dict"),
        (b"\x80\x02}", "in the middle"),
        (b"", "in the middle"),
        (b"\x80\x02}.", "no tensors"),
        (b"\x80\x02K\x01.", "no state dict"),
    ] {
        let error = refused(&pickled(pickle));
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn archives_are_what_they_claim() {
    let good = archive(&dict(16, 0, &[16], &[1]), &[0; 64], CompressionMethod::Stored);
    assert!(read("w.pth", &good).is_ok());
    // The sizes in the central directory, compressed and not, of the storage: 20 and 24 bytes behind its mark.
    let entry = good.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").expect("a directory");
    for huge in [0xffff_fff0u32, 0x7fff_ffff] {
        let mut bytes = good.clone();
        for field in [20, 24] {
            bytes[entry + field..][..4].copy_from_slice(&huge.to_le_bytes());
        }
        let error = refused(&bytes);
        assert!(error.contains("claims") || error.contains("archive"), "{error}");
    }
    let mut packed = good.clone();
    for at in [entry + 10, good.windows(4).rposition(|b| b == b"PK\x03\x04").expect("an entry") + 8] {
        packed[at] = 8; // deflated
    }
    let error = refused(&packed);
    assert!(error.contains("compressed") || error.contains("no readable"), "{error}");
    for length in [good.len() - 1, good.len() / 2, 30] {
        assert!(refused(&good[..length]).contains("truncated"));
    }
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    zip.start_file("readme.txt", SimpleFileOptions::default()).expect("a new entry");
    let other = zip.finish().expect("memory").into_inner();
    assert!(refused(&other).contains("not written by torch.save"));
}

#[test]
fn other_files_are_told_apart() {
    assert!(refused(b"").contains("has 0 bytes"));
    let picture = [b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01".as_slice(), &[0; 100]].concat();
    let error = refused(&picture);
    assert!(error.contains("it is not a safetensors file") && error.contains("a JPEG picture"), "{error}");
    let unknown = refused(&[0xfe; 40]);
    assert!(unknown.contains("it is not a safetensors file") && unknown.contains("fe fe fe fe"), "{unknown}");
    assert!(refused(b"<!DOCTYPE html><html>").contains("a web page"));
    assert!(refused(b"\n\n\n\nplain text, not a model").contains(".caffemodel"));
    let missing = weights::read(Path::new("nowhere.pth")).expect_err("no file");
    assert!(format!("{missing:#}").contains("nowhere.pth"));
}

/// Protocol buffers: a field of bytes.
fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let varint = |mut value: u64| {
        let mut out = vec![];
        while value > 127 {
            out.push(value as u8 & 127 | 128);
            value >>= 7;
        }
        out.push(value as u8);
        out
    };
    [varint(u64::from(tag << 3 | 2)), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A layer of one blob with this `BlobShape.dim`, packed, and so many floats.
fn layer(name: &str, dims: &[u8], floats: usize) -> Vec<u8> {
    let blob = [field(7, &field(1, dims)), field(5, &vec![0; 4 * floats])].concat();
    field(100, &[field(1, name.as_bytes()), field(2, b"Convolution"), field(7, &blob)].concat())
}

#[test]
fn models_of_caffe_are_what_they_claim() {
    let net = |layers: &[Vec<u8>]| [field(1, b"a network"), layers.concat()].concat();
    let good = net(&[layer("a", &[2, 3], 6)]);
    assert_eq!(read("w", &good).expect("a model")["a.weight"].dims(), [2, 3]);
    let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let huge = [[0xff; 8].as_slice(), &[0x7f], &[0xff; 8], &[0x7f]].concat();
    let cases: [(Vec<u8>, &str); 9] = [
        (net(&[layer("a", &[2, 3], 5)]), "does not fit its 5 numbers"),
        (net(&[layer("a", &[], 0)]), "does not fit its 0 numbers"),
        (net(&[layer("a", &minus_one, 1)]), "negative"),
        (net(&[layer("a", &huge, 1)]), "does not fit"),
        (net(&[layer("a", &[1; 40], 1)]), "40 axes"),
        (net(&[layer("a", &[1], 1), layer("a", &[1], 1)]), "two layers with weights are called `a`"),
        (net(&[field(3, &[0xff; 4])]), "no layer with weights"),
        (good[..good.len() - 1].to_vec(), "truncated"),
        (
            net(&[field(100, &[field(1, b"n"), field(2, b"BatchNorm"), field(7, b"")].concat())]),
            "has 1 blobs",
        ),
    ];
    for (bytes, message) in cases {
        let error = refused(&bytes);
        assert!(error.contains(message), "{message}: {error}");
    }
}

/// Bytes changed and ends cut off, everywhere: an error or other weights, never a panic, never much memory.
#[test]
fn damage_anywhere_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut errors, mut survivors) = (0, 0);
    for name in FILES {
        let good = std::fs::read(fixture(name)).expect("the oracle");
        let path = folder.path().join(name);
        for case in 0..300 {
            let mut bytes = good.clone();
            if case % 5 == 0 {
                bytes.truncate(random(good.len()));
            } else {
                // Headers, pickles and directories lie at both ends.
                let near = [4096, good.len()][case % 2].min(good.len());
                for _ in 0..=random(3) {
                    let at = if case % 3 == 0 { good.len() - 1 - random(near) } else { random(near) };
                    bytes[at] = random(256) as u8;
                }
            }
            std::fs::write(&path, &bytes).expect("a file");
            LARGEST.with(|largest| largest.set(0));
            match exchange::open(&path) {
                Ok(_) => survivors += 1,
                Err(_) => errors += 1,
            }
            let largest = LARGEST.with(Cell::get);
            assert!(largest <= MODEST, "{name}, case {case}: {largest} bytes were asked for at once");
        }
    }
    assert!(
        errors > 500 && survivors > 100,
        "{errors} errors, {survivors} survivors: the damage is of one kind"
    );
}
