//! Hostile and damaged files; the values themselves are compared in `tests/data/proposals.rs` with what SciPy reads.

use super::*;
use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;
use std::io::Write;

/// The header of a little-endian file, and `elements`.
fn file(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
    bytes.resize(HEADER - 4, b' ');
    bytes.extend([0, 1, b'I', b'M']);
    bytes.extend(elements.concat());
    bytes
}

fn element(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [code.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A matrix of a class, with dimensions, a name, and the elements that are its items.
fn matrix(class: u8, dims: &[i32], name: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let flags = element(6, &[class, 0, 0, 0, 0, 0, 0, 0]);
    let dims = element(5, &dims.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
    element(14, &[flags, dims, element(1, name.as_bytes()), items.concat()].concat())
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::best());
    encoder.write_all(plain).unwrap();
    let data = encoder.finish().unwrap();
    [&15u32.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), &data].concat()
}

fn refusal(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err()
}

#[test]
fn a_matrix_is_read_in_columns() {
    let bytes = file(&[matrix(6, &[2, 2], "a", &[element(2, &[1, 2, 3, 255])])]);
    let expected = MatValue::Numeric { dims: vec![2, 2], values: vec![1., 2., 3., 255.] };
    assert_eq!(parse(&bytes).unwrap().0, BTreeMap::from([("a".to_owned(), expected)]));
}

#[test]
fn other_versions_say_what_to_do() {
    assert!(refusal(b"").contains("no MAT-file"));
    assert!(refusal(&[0; 200]).contains("not a MAT-file of version 5"));
    let mut hdf5 = file(&[]);
    hdf5.resize(512, 0);
    hdf5.extend(SIGNATURE_OF_HDF5);
    assert!(refusal(&hdf5).contains("-v7"), "{}", refusal(&hdf5));
    let mut newer = file(&[]);
    newer[HEADER - 3] = 2;
    assert!(refusal(&newer).contains("version 2"));
}

#[test]
fn what_is_not_read_is_passed_over_by_name() {
    let sparse = matrix(5, &[2, 2], "s", &[]);
    let within = matrix(1, &[1, 1], "c", &[matrix(3, &[1, 1], "", &[])]);
    let plain = matrix(9, &[1, 1], "a", &[element(2, &[7])]);
    let (variables, passed_over) = parse(&file(&[sparse, within, plain])).unwrap();
    assert_eq!(variables.keys().collect::<Vec<_>>(), ["a"]);
    let names: Vec<&str> = passed_over.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["s", "c"]);
}

#[test]
fn absurd_sizes_are_refused_without_reserving_them() {
    let huge = i32::MAX;
    let numbers = matrix(6, &[huge, huge], "a", &[element(9, &[])]);
    assert!(refusal(&file(&[numbers])).contains("variable `a`: 0 numbers"));
    assert!(refusal(&file(&[matrix(6, &[huge; 3], "a", &[])])).contains("dimensions"));
    assert!(refusal(&file(&[matrix(6, &[-1, 1], "a", &[])])).contains("dimensions"));
    assert!(refusal(&file(&[matrix(1, &[huge, huge], "a", &[])])).contains("item of a cell is missing"));
    let no_fields = [element(5, &[8, 0, 0, 0]), element(1, &[])];
    assert!(parse(&file(&[matrix(2, &[huge, huge], "a", &no_fields)])).is_ok(), "as many structs of nothing");
    let no_text = matrix(4, &[huge, 0], "a", &[element(4, &[])]);
    assert_eq!(parse(&file(&[no_text])).unwrap().0["a"], MatValue::Text(String::new()));
    let mut claimed = file(&[element(14, &[0; 8])]);
    claimed[HEADER + 4..HEADER + 8].fill(0xff);
    assert!(refusal(&claimed).contains("not copied whole"));
}

#[test]
fn refusals_quote_no_more_than_a_line() {
    let name = "n".repeat(100_000);
    for file in [
        file(&[matrix(6, &[-1; 10_000], "a", &[])]),
        file(&[matrix(6, &[1; 10_000], "a", &[element(2, &[])])]),
        file(&[matrix(6, &[2, 2], &name, &[element(2, &[1])])]),
    ] {
        let refusal = refusal(&file);
        assert!(refusal.chars().count() < 500, "{} characters", refusal.chars().count());
    }
}

#[test]
fn many_empty_arrays_from_few_bytes_are_refused() {
    let items = element(14, &[]).repeat(1000);
    let plain = matrix(1, &[1000, 1], "a", &[items]);
    let matrix = Elements::new(&plain, ByteOrder::Little).required("the cell").unwrap();
    assert!(array::read(&matrix, &mut Budget::default(), 0).is_ok());
    let refused = array::read(&matrix, &mut Budget(10_000), 0).err();
    assert!(
        refused.is_some_and(|e| e.contains("2 GiB of numbers")),
        "an item that takes no bytes still counts"
    );
}

#[test]
fn what_is_compressed_unfolds_to_so_much_and_no_more() {
    let data = &compressed(&[0; 100_000])[8..];
    let mut allowed = 100_000;
    assert_eq!(inflate(data, &mut allowed).map(|plain| plain.len()), Ok(100_000));
    assert_eq!(allowed, 0);
    assert!(inflate(data, &mut 99_999).is_err_and(|e| e.contains("unfolds to more than 2 GiB")));
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth| {
        (0..depth)
            .fold(matrix(6, &[0, 0], "", &[element(9, &[])]), |inner, _| matrix(1, &[1, 1], "", &[inner]))
    };
    assert!(parse(&file(&[nested(50)])).is_ok());
    assert!(refusal(&file(&[nested(5000)])).contains("deep"));
}

#[test]
fn compressed_elements_within_elements_are_no_bomb() {
    let inner = compressed(&matrix(6, &[1, 1], "a", &[element(2, &[1])]));
    assert!(parse(&file(std::slice::from_ref(&inner))).is_ok());
    assert!(refusal(&file(&[compressed(&inner)])).contains("got Compressed data"));
}

/// A file with every kind of array, plain or compressed.
fn sample(compress: bool) -> Vec<u8> {
    let number = |name| matrix(6, &[1, 3], name, &[element(4, &[1, 0, 2, 0, 3, 0])]);
    let text = matrix(4, &[2, 3], "t", &[element(16, b"adbecf")]);
    let names = [element(5, &[4, 0, 0, 0]), element(1, b"x\0\0\0y\0\0\0")];
    let structs = matrix(2, &[1, 1], "s", &[names.concat(), number(""), number("")]);
    let elements = [number("n"), text, structs, matrix(1, &[1, 2], "c", &[number(""), number("")])];
    file(&elements.map(|plain| if compress { compressed(&plain) } else { plain }))
}

#[test]
fn every_cut_is_an_error_or_fewer_variables() {
    for compress in [false, true] {
        let whole = sample(compress);
        assert_eq!(parse(&whole).unwrap().0.len(), 4);
        for end in HEADER..whole.len() {
            if let Ok((variables, _)) = parse(&whole[..end]) {
                assert!(variables.len() < 4 || end + 8 > whole.len(), "cut at {end} of {}", whole.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn damage_never_panics(compress: bool, spots in prop::collection::vec((0usize..2000, any::<u8>()), 1..8)) {
        let mut bytes = sample(compress);
        let len = bytes.len();
        for (at, value) in spots {
            bytes[at % len] = value;
        }
        let _ = parse(&bytes);
    }
}
