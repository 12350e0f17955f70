//! TIFF: the kinds of samples, colors, layouts and compressions that writers produce, built by hand or by the `tiff` crate.

use super::{HEIGHT, WIDTH, assert_quadrants, color_at, jpeg, quadrants};
use hueristic::data::decode::decode;
use std::io::Cursor;
use tiff::encoder::{Compression, DeflateLevel, TiffEncoder, colortype};

const SHORT: u16 = 3;
const LONG: u16 = 4;
const BYTES: u16 = 7;

/// A tag: its number, type and values.
type Entry = (u16, u16, Vec<u32>);

/// A little-endian TIFF with one directory and these strips or tiles, whose offsets are added under the tag
/// `offsets`.
fn file(mut entries: Vec<Entry>, offsets: u16, chunks: &[Vec<u8>]) -> Vec<u8> {
    let lengths = if offsets == 273 { 279 } else { 325 };
    entries.push((lengths, LONG, chunks.iter().map(|c| c.len() as u32).collect()));
    entries.push((offsets, LONG, vec![0; chunks.len()]));
    entries.sort_by_key(|entry| entry.0);
    let packed = |kind: u16, numbers: &[u32]| -> Vec<u8> {
        let size = match kind {
            SHORT => 2,
            LONG => 4,
            _ => 1,
        };
        numbers.iter().flat_map(|n| n.to_le_bytes()[..size].to_vec()).collect()
    };
    let after = 8 + 2 + 12 * entries.len() + 4;
    let long: usize = entries.iter().map(|(_, kind, n)| packed(*kind, n).len()).filter(|n| *n > 4).sum();
    let mut at = (after + long) as u32;
    for entry in entries.iter_mut().filter(|entry| entry.0 == offsets) {
        for (number, chunk) in entry.2.iter_mut().zip(chunks) {
            *number = at;
            at += chunk.len() as u32;
        }
    }
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend((entries.len() as u16).to_le_bytes());
    let mut beyond = vec![];
    for (tag, kind, numbers) in &entries {
        let mut value = packed(*kind, numbers);
        out.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        out.extend((numbers.len() as u32).to_le_bytes());
        if value.len() > 4 {
            let place = (after + beyond.len()) as u32;
            beyond.extend(std::mem::replace(&mut value, place.to_le_bytes().to_vec()));
        }
        value.resize(4, 0);
        out.extend(value);
    }
    out.extend([0; 4]);
    out.extend(beyond);
    chunks.iter().for_each(|chunk| out.extend(chunk));
    out
}

/// An image in one strip.
fn strip(
    size: (u32, u32),
    bits: u32,
    photometric: u32,
    samples: u32,
    more: &[Entry],
    data: Vec<u8>,
) -> Vec<u8> {
    let short = |tag, value| (tag, SHORT, vec![value]);
    let entries = [
        (256, LONG, vec![size.0]),
        (257, LONG, vec![size.1]),
        (258, SHORT, vec![bits; samples as usize]),
        short(262, photometric),
        short(277, samples),
        (278, LONG, vec![size.1]),
    ];
    let kept = entries.into_iter().filter(|(tag, ..)| more.iter().all(|(other, ..)| other != tag));
    file(kept.chain(more.iter().cloned()).collect(), 273, &[data])
}

fn pixels(file: &[u8]) -> Vec<u8> {
    decode(file).unwrap().pixels
}

fn reason(file: &[u8]) -> String {
    decode(file).unwrap_err().to_string()
}

fn short(tag: u16, value: u32) -> Entry {
    (tag, SHORT, vec![value])
}

fn encoded<C: colortype::ColorType>(samples: &[C::Inner]) -> Vec<u8>
where
    [C::Inner]: tiff::encoder::TiffValue,
{
    let mut out = Cursor::new(vec![]);
    TiffEncoder::new(&mut out).unwrap().write_image::<C>(WIDTH, HEIGHT, samples).unwrap();
    out.into_inner()
}

#[test]
fn unsigned_samples_of_any_width_run_from_black_to_white() {
    let wide = quadrants().into_raw().into_iter().map(|v| u32::from(v) * 0x0101_0101).collect::<Vec<_>>();
    let file = encoded::<colortype::RGB32>(&wide);
    assert_eq!(pixels(&file), quadrants().into_raw());
    let wide: Vec<u64> = wide.iter().map(|v| u64::from(*v) << 32 | u64::from(*v)).collect();
    let file = encoded::<colortype::RGB64>(&wide);
    assert_eq!(pixels(&file), quadrants().into_raw());
    // the first sample in the highest bits, rows byte-aligned
    assert_eq!(
        pixels(&strip((3, 2), 1, 1, 1, &[], vec![0b1010_0000, 0b0100_0000]))
            .iter()
            .step_by(3)
            .copied()
            .collect::<Vec<_>>(),
        [255, 0, 255, 0, 255, 0]
    );
    assert_eq!(pixels(&strip((3, 1), 2, 1, 1, &[], vec![0b0001_1000]))[3..], [85, 85, 85, 170, 170, 170]);
    assert_eq!(pixels(&strip((2, 1), 4, 1, 1, &[], vec![0x3f])), [51, 51, 51, 255, 255, 255]);
    assert_eq!(pixels(&strip((1, 1), 4, 2, 3, &[], vec![0x3f, 0x00])), [51, 255, 0]);
}

#[test]
fn floats_run_from_zero_to_one_and_another_scale_is_refused() {
    let gray = |values: &[f32]| {
        let mut out = Cursor::new(vec![]);
        let mut encoder = TiffEncoder::new(&mut out).unwrap();
        encoder.write_image::<colortype::Gray32Float>(values.len() as u32, 1, values).unwrap();
        out.into_inner()
    };
    let levels: Vec<u8> = pixels(&gray(&[0.0, 0.2, 1.0, 1.25, -0.5])).iter().step_by(3).copied().collect();
    assert_eq!(levels, [0, 51, 255, 255, 0]);
    assert!(reason(&gray(&[0.0, 128.0])).contains("float samples reach 128: black is 0 and white is 1"));
    assert!(reason(&gray(&[f32::NAN])).contains("NaN"));
    let double: Vec<u8> = [0.2f64, 0.4, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(pixels(&strip((1, 1), 64, 2, 3, &[(339, SHORT, vec![3; 3])], double)), [51, 102, 255]);
    // half precision: 1.0 and 0.25
    let half = vec![0x00, 0x3c, 0x00, 0x34];
    assert_eq!(pixels(&strip((2, 1), 16, 1, 1, &[short(339, 3)], half))[2..4], [255, 64]);
}

#[test]
fn alpha_is_blended_once() {
    // half of (200, 100, 0) over white; 51 of 255 is a fifth
    let straight = vec![200, 100, 0, 51];
    let with = |kind: &[u32], data: Vec<u8>| strip((1, 1), 8, 2, 4, &[(338, SHORT, kind.to_vec())], data);
    assert_eq!(pixels(&with(&[2], straight.clone())), [244, 224, 204]);
    assert_eq!(pixels(&with(&[1], vec![40, 20, 0, 51])), [244, 224, 204], "premultiplied");
    assert_eq!(pixels(&with(&[0], straight.clone())), [200, 100, 0], "not said to be alpha");
    assert_eq!(pixels(&strip((1, 1), 8, 2, 4, &[], straight)), [244, 224, 204], "unexplained");
    let gray = |kind, data| strip((1, 1), 8, 1, 2, &[short(338, kind)], data);
    assert_eq!((pixels(&gray(2, vec![0, 51])), pixels(&gray(1, vec![0, 51]))), (vec![204; 3], vec![204; 3]));
    assert_eq!(pixels(&gray(1, vec![40, 51])), [244; 3]);
    // further channels after it
    let five = strip((1, 1), 8, 2, 5, &[(338, SHORT, vec![2, 0])], vec![200, 100, 0, 51, 9]);
    assert_eq!(pixels(&five), [244, 224, 204]);
}

#[test]
fn palettes_give_their_colors() {
    let map = |size: usize, scale: u32| -> Entry {
        let channel = |shift: usize| (0..size).map(move |i| ((i * 40 + shift) % 256) as u32 * scale);
        (320, SHORT, [0, 10, 20].into_iter().flat_map(channel).collect())
    };
    // 16 bits filled as v·257 and as v·256, and 8 bits alone
    for scale in [257, 256, 1] {
        assert_eq!(
            pixels(&strip((2, 1), 8, 3, 1, &[map(256, scale)], vec![1, 6])),
            [40, 50, 60, 240, 250, 4]
        );
    }
    assert_eq!(pixels(&strip((2, 1), 4, 3, 1, &[map(16, 257)], vec![0x16])), [40, 50, 60, 240, 250, 4]);
    assert_eq!(pixels(&strip((2, 1), 2, 3, 1, &[map(4, 257)], vec![0b0110_0000])), [40, 50, 60, 80, 90, 100]);
    assert_eq!(pixels(&strip((2, 1), 1, 3, 1, &[map(2, 257)], vec![0b0100_0000])), [0, 10, 20, 40, 50, 60]);
    let wide = strip((1, 1), 16, 3, 1, &[map(65536, 257)], vec![6, 0]);
    assert_eq!(pixels(&wide), [240, 250, 4]);
    assert!(reason(&strip((1, 1), 8, 3, 1, &[map(16, 257)], vec![1])).contains("palette has fewer colors"));
    let alpha = strip((1, 1), 8, 3, 2, &[map(256, 257), short(338, 2)], vec![5, 51]);
    assert_eq!(pixels(&alpha), [244, 246, 248]); // a fifth of (200, 210, 220)
}

#[test]
fn other_colors_are_converted() {
    assert_eq!(pixels(&strip((2, 1), 8, 0, 1, &[], vec![0, 55])), [255, 255, 255, 200, 200, 200]);
    assert_eq!(pixels(&strip((1, 1), 8, 5, 4, &[], vec![0, 51, 255, 51])), [204, 163, 0]);
    let ycbcr = strip((2, 1), 8, 6, 3, &[(530, SHORT, vec![1, 1])], vec![100, 128, 128, 76, 85, 255]);
    assert_eq!(pixels(&ycbcr), [100, 100, 100, 254, 0, 0]);
}

/// The planes of the quadrants in tiles of 16 × 16, padded at the edges.
fn tiles(channels: &[usize]) -> Vec<Vec<u8>> {
    let picture = quadrants();
    let value = |x: u32, y: u32, c: usize| picture.get_pixel(x.min(WIDTH - 1), y.min(HEIGHT - 1)).0[c];
    let tile = |left: u32| {
        (0..256).flat_map(move |i| channels.iter().map(move |c| value(left + i % 16, i / 16, *c))).collect()
    };
    vec![tile(0), tile(16)]
}

#[test]
fn tiles_planes_and_strips_are_put_together() {
    let base = |more: Vec<Entry>| -> Vec<Entry> {
        let size = [(256, LONG, vec![WIDTH]), (257, LONG, vec![HEIGHT]), (258, SHORT, vec![8; 3])];
        size.into_iter().chain([short(262, 2), short(277, 3)]).chain(more).collect()
    };
    let tiled = vec![short(322, 16), short(323, 16)];
    assert_eq!(pixels(&file(base(tiled.clone()), 324, &tiles(&[0, 1, 2]))), quadrants().into_raw());
    let planes: Vec<Vec<u8>> = [0, 1, 2].iter().flat_map(|c| tiles(&[*c])).collect();
    let tiled = [tiled, vec![short(284, 2)]].concat();
    assert_eq!(pixels(&file(base(tiled), 324, &planes)), quadrants().into_raw());
    // strips of 7 rows in planes
    let plane = |c: usize| quadrants().pixels().map(|p| p.0[c]).collect::<Vec<u8>>();
    let strips: Vec<Vec<u8>> = (0..3)
        .flat_map(|c| plane(c).chunks(7 * WIDTH as usize).map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    let stripped = base(vec![short(278, 7), short(284, 2)]);
    assert_eq!(pixels(&file(stripped.clone(), 273, &strips)), quadrants().into_raw());
    // a byte's lowest bit first
    let turned: Vec<Vec<u8>> = strips.iter().map(|s| s.iter().map(|b| b.reverse_bits()).collect()).collect();
    let turned = file([stripped.clone(), vec![short(266, 2)]].concat(), 273, &turned);
    assert_eq!(pixels(&turned), quadrants().into_raw());
    // a strip that was never written
    let mut sparse = strips;
    sparse[4].clear();
    assert!(reason(&file(stripped, 273, &sparse)).contains("a strip or tile is missing"));
}

#[test]
fn compressions_big_files_and_predictors() {
    let compressions = [
        Compression::Uncompressed,
        Compression::Lzw,
        Compression::Deflate(DeflateLevel::Balanced),
        Compression::Packbits,
    ];
    let picture = quadrants();
    for compression in compressions {
        for predictor in [tiff::tags::Predictor::None, tiff::tags::Predictor::Horizontal] {
            let mut out = [Cursor::new(vec![]), Cursor::new(vec![])];
            let [classic, big] = &mut out;
            let mut encoder = TiffEncoder::new(classic).unwrap();
            encoder = encoder.with_compression(compression).with_predictor(predictor);
            encoder.write_image::<colortype::RGB8>(WIDTH, HEIGHT, &picture).unwrap();
            let mut encoder = TiffEncoder::new_big(big).unwrap();
            encoder = encoder.with_compression(compression).with_predictor(predictor);
            encoder.write_image::<colortype::RGB8>(WIDTH, HEIGHT, &picture).unwrap();
            for file in out.map(Cursor::into_inner) {
                assert_eq!(pixels(&file), picture.as_raw().as_slice());
            }
        }
    }
    // Zstandard: a frame of one block that is stored as it is
    let raw = picture.into_raw();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x60];
    frame.extend((raw.len() as u16 - 256).to_le_bytes());
    frame.extend(&((raw.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    frame.extend(&raw);
    assert_eq!(pixels(&strip((WIDTH, HEIGHT), 8, 2, 3, &[short(259, 50000)], frame)), raw);
}

/// The tables of a JPEG as a stream of their own, and the JPEG without them.
fn apart(jpeg: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut rest, mut at) = (vec![0xff, 0xd8], vec![0xff, 0xd8], 2);
    while jpeg[at + 1] != 0xda {
        let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        let to = if matches!(jpeg[at + 1], 0xdb | 0xc4) { &mut tables } else { &mut rest };
        to.extend(&jpeg[at..at + length]);
        at += length;
    }
    tables.extend([0xff, 0xd9]);
    rest.extend(&jpeg[at..]);
    (tables, rest)
}

#[test]
fn jpeg_in_strips_with_and_without_shared_tables() {
    let whole = jpeg();
    let compressed = short(259, 7);
    let plain =
        strip((WIDTH, HEIGHT), 8, 6, 3, &[compressed.clone(), (530, SHORT, vec![2, 2])], whole.clone());
    assert_eq!(pixels(&plain), pixels(&whole));
    let (tables, rest) = apart(&whole);
    let tables: Entry = (347, BYTES, tables.into_iter().map(u32::from).collect());
    let shared = strip((WIDTH, HEIGHT), 8, 6, 3, &[compressed.clone(), tables], rest);
    assert_eq!(pixels(&shared), pixels(&whole));
    // three channels that the file calls RGB are not converted: what was written as YCbCr comes back as such
    let raw = pixels(&strip((WIDTH, HEIGHT), 8, 2, 3, std::slice::from_ref(&compressed), whole.clone()));
    let [r, g, b] = color_at(6, 4).map(f64::from);
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    assert!((f64::from(raw[3 * (4 * WIDTH as usize + 6)]) - luma).abs() < 4.0, "{raw:?}");
    let small = strip((WIDTH + 9, HEIGHT), 8, 6, 3, &[compressed], whole);
    assert!(reason(&small).contains("truncated"), "{}", reason(&small));
    assert_quadrants(&decode(&plain).unwrap(), 6, "JPEG in TIFF");
}

/// A 1-bit sample takes eight bytes once its row is read, so a small file could exhaust the memory.
#[test]
fn samples_without_end_are_refused_before_they_are_unfolded() {
    let many = strip((60_000, 1), 1, 1, 6000, &[], vec![0; 10]);
    assert!(reason(&many).contains("too large"), "{}", reason(&many));
}

/// Identical tiles may share their bytes; strips that each claim the whole file would be read many times over.
#[test]
fn strips_claim_no_more_than_they_could_hold() {
    let base = |rows: u32| -> Vec<Entry> {
        let long = |tag, value| (tag, LONG, vec![value]);
        [
            vec![long(256, 16), long(257, 4), short(258, 8), short(262, 1), short(277, 1)],
            vec![long(278, rows)],
        ]
        .concat()
    };
    let mut greedy = file(base(1), 273, &vec![vec![9; 1000]; 4]);
    assert_eq!(decode(&greedy).unwrap().pixels, [9; 3 * 64]);
    greedy.truncate(greedy.len() - 2900);
    assert!(reason(&greedy).contains("claim more bytes than they could hold"), "{}", reason(&greedy));
}

#[test]
fn the_first_page_counts() {
    let mut out = Cursor::new(vec![]);
    let mut encoder = TiffEncoder::new(&mut out).unwrap();
    encoder.write_image::<colortype::RGB8>(WIDTH, HEIGHT, &quadrants()).unwrap();
    encoder.write_image::<colortype::Gray8>(2, 1, &[1, 2]).unwrap();
    assert_eq!(pixels(&out.into_inner()), quadrants().into_raw());
}

#[test]
fn what_is_not_read_is_named_in_plain_words() {
    let gray = |bits, more: &[Entry]| strip((1, 1), bits, 1, 1, more, vec![7; 8]);
    for (file, part) in [
        (gray(8, &[short(339, 2)]), "signed samples"),
        (gray(12, &[]), "samples of 12 bits"),
        (strip((8, 1), 4, 1, 2, &[short(317, 2)], vec![7; 8]), "horizontal predictor"),
        (gray(8, &[short(259, 3)]), "compression CCITT group 3 fax"),
        (gray(8, &[short(259, 6)]), "compression old-style JPEG"),
        (gray(8, &[short(259, 34925)]), "compression LZMA"),
        (gray(8, &[short(259, 999)]), "compression number 999"),
        (strip((1, 1), 8, 8, 3, &[], vec![7; 3]), "Lab colors"),
        (strip((1, 1), 8, 6, 3, &[], vec![7; 3]), "subsampled YCbCr"),
        (strip((1, 1), 8, 5, 4, &[short(332, 2)], vec![7; 4]), "inks other than CMYK"),
        (strip((1, 1), 8, 2, 1, &[], vec![7; 4]), "1 samples a pixel, where its colors need 3"),
        (strip((60_000, 60_000), 8, 1, 1, &[], vec![7; 4]), "too large"),
    ] {
        let said = reason(&file);
        assert!(said.contains(part) && !said.contains(['{', '(']) || part.contains("JPEG"), "{part}: {said}");
    }
}
