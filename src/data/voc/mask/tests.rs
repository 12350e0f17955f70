//! Masks of various writers: reordered palettes, few bits, RGB; and files that are not masks.

use super::*;

#[test]
fn what_is_written_is_read_and_shows_in_colors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let mask = Mask { width: 3, height: 2, labels: vec![0, 1, 255, 20, 15, 7] };
    write_indices(&path, &Mask { labels: vec![9; 6], ..mask.clone() }).unwrap();
    write_indices(&path, &mask).unwrap();
    assert_eq!(read_indices(&path).unwrap(), mask);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a partial file was left behind");
    let shown = image::open(&path).unwrap().into_rgb8();
    assert_eq!(shown.get_pixel(2, 0).0, [224, 224, 192]);
    assert_eq!(shown.get_pixel(0, 1).0, [0, 64, 128]);
}

/// A PNG of any kind; `colors` is the palette of an indexed one.
fn png(
    color: ColorType,
    depth: BitDepth,
    (width, height): (u32, u32),
    data: &[u8],
    colors: &[Color],
) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(colors.as_flattened().to_vec());
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

fn write_png(path: &Path, color: ColorType, depth: BitDepth, size: (u32, u32), data: &[u8]) {
    std::fs::write(path, png(color, depth, size, data, &color_map()[..1 << (depth as u8).min(8)])).unwrap();
}

/// What is read of a file in memory.
fn found(bytes: &[u8], palette: &Palette) -> Result<DecodedMask, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    std::fs::write(&path, bytes).unwrap();
    read(&path, palette).map_err(|e| e.to_string())
}

fn labels(bytes: &[u8], palette: &Palette) -> Result<Vec<u8>, String> {
    found(bytes, palette).map(|found| found.mask.labels)
}

/// One row of indices, eight bits each.
fn row(indices: &[u8], colors: &[Color]) -> Vec<u8> {
    png(ColorType::Indexed, BitDepth::Eight, (indices.len() as u32, 1), indices, colors)
}

#[test]
fn packed_palettes_and_gray_masks_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let read = || read_indices(&path).unwrap().labels;
    write_png(&path, ColorType::Indexed, BitDepth::Two, (5, 2), &[0b00_01_10_11, 0b01 << 6, 0, 0b11 << 6]);
    assert_eq!(read(), [0, 1, 2, 3, 1, 0, 0, 0, 0, 3]);
    write_png(&path, ColorType::Indexed, BitDepth::One, (9, 1), &[0b1010_0001, 0b1000_0000]);
    assert_eq!(read(), [1, 0, 1, 0, 0, 0, 0, 1, 1]);
    write_png(&path, ColorType::Indexed, BitDepth::Four, (3, 1), &[0x0f, 0x20]);
    assert_eq!(read(), [0, 15, 2]);
    write_png(&path, ColorType::Grayscale, BitDepth::Eight, (3, 1), &[0, 20, 255]);
    assert_eq!(read(), [0, 20, 255]);
}

#[test]
fn what_is_no_mask_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let refused = |part: &str| {
        let error = read_indices(&path).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains(part), "{error}");
    };
    refused("No such file");
    write_png(&path, ColorType::Rgb, BitDepth::Eight, (1, 1), &[1, 2, 3]);
    refused("the color [1, 2, 3] is not the color of any class; save the mask with VOC's colors");
    write_png(&path, ColorType::Grayscale, BitDepth::One, (1, 1), &[0]);
    refused("of 1 bits");
    std::fs::write(&path, "no picture").unwrap();
    refused("not a PNG");
    write_indices(
        &path,
        &Mask { width: 64, height: 64, labels: (0..64 * 64).map(|i| (i * i) as u8).collect() },
    )
    .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2 + 400]).unwrap();
    refused("cannot be decoded");
    let short = Mask { width: 3, height: 2, labels: vec![0; 5] };
    assert!(write_indices(&path, &short).unwrap_err().to_string().contains("3×2 pixels with 5 labels"));
}

/// Backgrounds, dogs and void, as programs leave them that sort palettes or keep only what is used.
#[test]
fn palettes_in_other_orders_are_read_by_their_colors() {
    let map = color_map();
    let [black, dog, border] = [map[0], map[12], map[255]];
    let voc = |indices: &[u8], colors: &[Color]| labels(&row(indices, colors), &Palette::Voc);
    assert_eq!(voc(&[0, 1, 2, 1], &[dog, border, black]).unwrap(), [12, 255, 0, 255]);
    assert_eq!(voc(&[0, 1], &[black, border]).unwrap(), [0, 255]);
    let mut reversed = map;
    reversed.reverse();
    assert_eq!(voc(&[255, 243, 0], &reversed).unwrap(), [0, 12, 255]);
    assert_eq!(voc(&[0, 1], &[dog, black, [1, 2, 3]]).unwrap(), [12, 0], "what is not used means nothing");
    let narrow = png(ColorType::Indexed, BitDepth::Two, (3, 1), &[0b00_01_10_00], &[border, black, dog]);
    assert_eq!(labels(&narrow, &Palette::Voc).unwrap(), [255, 0, 12]);
    let interchanged = png(ColorType::Indexed, BitDepth::One, (2, 1), &[0b0100_0000], &[dog, black]);
    assert_eq!(labels(&interchanged, &Palette::Voc).unwrap(), [12, 0]);
}

#[test]
fn void_needs_no_color() {
    let map = color_map();
    assert_eq!(labels(&row(&[0, 12, 255], &map[..21]), &Palette::Voc).unwrap(), [0, 12, 255]);
    let mut white = map;
    white[255] = [255; 3];
    assert_eq!(labels(&row(&[0, 12, 255], &white), &Palette::Voc).unwrap(), [0, 12, 255]);
    let mut dog = map;
    dog.swap(255, 12);
    assert_eq!(labels(&row(&[255; 4], &dog), &Palette::Voc).unwrap(), [12; 4]);
}

#[test]
fn colors_of_other_palettes_are_refused_until_they_are_named() {
    let colors: [Color; 3] = [[255; 3], [255, 0, 0], [128; 3]];
    let file = row(&[0, 1, 2], &colors);
    let fault = labels(&file, &Palette::Voc).unwrap_err();
    assert!(
        fault.contains("a.png: the color [255, 255, 255] is not the color of any class")
            && fault.contains("`palette:`")
    );
    let named = |named: &[(&str, Color)]| {
        Palette::Named(named.iter().map(|(name, color)| (name.to_string(), *color)).collect())
    };
    let all = named(&[("background", colors[0]), ("cat", colors[1]), ("void", colors[2])]);
    assert_eq!(labels(&file, &all).unwrap(), [0, 8, 255]);
    let some = labels(&file, &named(&[("background", colors[0]), ("cat", colors[1])])).unwrap_err();
    assert!(some.contains("[128, 128, 128]"), "{some}");
    assert_eq!(labels(&file, &Palette::Indices).unwrap(), [0, 1, 2]);
    let gray: Vec<Color> = (0..=255).map(|level| [level; 3]).collect();
    assert_eq!(
        labels(&row(&[0, 12, 255], &gray), &Palette::Voc).unwrap(),
        [0, 12, 255],
        "level and index agree"
    );
    let sorted: Vec<Color> = [0, 12, 255].map(|level| [level; 3]).to_vec();
    assert!(labels(&row(&[0, 1, 2], &sorted), &Palette::Voc).is_err(), "level or index?");
}

#[test]
fn masks_without_a_palette_are_read_by_their_colors() {
    let map = color_map();
    let pixels = [map[0], map[15], map[255], map[20]];
    let rgb = png(ColorType::Rgb, BitDepth::Eight, (2, 2), pixels.as_flattened(), &[]);
    assert_eq!(labels(&rgb, &Palette::Voc).unwrap(), [0, 15, 255, 20]);
    let with_alpha = |alpha: u8| {
        let pixels: Vec<u8> = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, alpha]).collect();
        labels(&png(ColorType::Rgba, BitDepth::Eight, (4, 1), &pixels, &[]), &Palette::Voc)
    };
    assert_eq!(with_alpha(255).unwrap(), [0, 15, 255, 20]);
    assert!(with_alpha(254).unwrap_err().contains("transparent"));
    let palette = Palette::Named([("dog".to_owned(), [38; 3])].into());
    let gray = png(ColorType::Grayscale, BitDepth::Eight, (2, 1), &[38, 0], &[]);
    assert_eq!(labels(&gray, &palette).unwrap(), [12, 0]);
    assert!(labels(&gray, &Palette::Voc).is_ok_and(|labels| labels == [38, 0]), "levels are labels");
}

/// A dog on a rim of void, as Pillow 13 writes it with a palette of 16 colors and of 5: the last four bits of every label.
#[test]
fn void_that_was_cut_is_suspected() {
    let map = color_map();
    let narrow = |rows: &[[u8; 4]], colors: usize| {
        let packed: Vec<u8> = rows.iter().flat_map(|[a, b, c, d]| [a << 4 | b, c << 4 | d]).collect();
        let size = (4, rows.len() as u32);
        found(&png(ColorType::Indexed, BitDepth::Four, size, &packed, &map[..colors]), &Palette::Voc)
    };
    let rim = narrow(&[[0, 15, 12, 15], [0, 0, 15, 0]], 16).unwrap();
    assert_eq!((&rim.mask.labels[..4], rim.narrow), (&[0, 15, 12, 15][..], Some(15)));
    let why = |found: &DecodedMask, shown: Option<&[u8]>| found.suspicion(shown).unwrap_or_default();
    assert!(why(&rim, None).contains("label 15 is suspected to be void (255)"), "{}", why(&rim, None));
    assert!(why(&rim, Some(&[12, 15])).contains("parts all objects"));
    let people = narrow(&[[0, 15, 12, 15], [0, 0, 12, 0]], 16).unwrap();
    assert_eq!((why(&people, None), why(&people, Some(&[12, 15]))), (String::new(), String::new()));
    assert!(why(&people, Some(&[12])).contains("no such object is annotated"));
    let person = narrow(&[[0, 15, 15, 0]], 16).unwrap();
    assert_eq!(why(&person, None), "", "nothing is parted by the only object");
    let none = narrow(&[[0, 12, 0, 7]], 16).unwrap();
    assert_eq!((none.narrow, why(&none, Some(&[12]))), (None, String::new()));
    let cut = narrow(&[[0, 15, 4, 15]], 5).unwrap_err();
    assert!(
        cut.contains("index 15, but a palette of 5 colors") && cut.contains("has probably cut 255"),
        "{cut}"
    );
    let wide = found(&row(&[0, 15, 12, 15], &map), &Palette::Voc).unwrap();
    assert_eq!((wide.narrow, why(&wide, Some(&[12]))), (None, String::new()), "eight bits can say 255");
}

/// Black and white: the object's pixels read as void, which counts in no measure.
#[test]
fn gray_masks_of_two_levels_are_suspected() {
    let gray = |levels: &[u8], palette: &Palette| {
        let size = (levels.len() as u32, 1);
        let found = found(&png(ColorType::Grayscale, BitDepth::Eight, size, levels, &[]), palette).unwrap();
        found.suspicion(Some(&[12])).unwrap_or_default()
    };
    for palette in [Palette::Voc, Palette::Indices] {
        for levels in [&[0, 255, 255, 0][..], &[255, 255]] {
            let why = gray(levels, &palette);
            assert!(why.contains("nothing but background and void (255): a mask of two levels"), "{why}");
        }
        for levels in [&[0, 255, 12, 0][..], &[0, 0], &[12, 255], &[0, 12]] {
            assert_eq!(gray(levels, &palette), "", "{levels:?}");
        }
    }
    let known = Palette::Named([("dog".to_owned(), [255; 3])].into());
    assert_eq!(gray(&[0, 255], &known), "", "a level that the source names is a class");
    let colored = found(&row(&[0, 255, 0], &color_map()), &Palette::Voc).unwrap();
    assert_eq!(colored.suspicion(None), None, "a palette says void");
}

#[test]
fn damage_is_said_in_few_words() {
    let whole = row(&[0, 1, 2, 3, 4, 5, 6, 7, 8], &color_map());
    for at in 0..whole.len() {
        for bits in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= bits;
            if let Err(fault) = labels(&bytes, &Palette::Voc) {
                assert!(!fault.contains('{') && fault.chars().count() < 400, "byte {at}: {fault}");
            }
        }
    }
    // 65,535 × 65,535 pixels of one bit: 512 MiB as they are packed, eight times that as labels
    let mut vast = png(ColorType::Indexed, BitDepth::One, (8, 1), &[0], &color_map()[..2]);
    vast[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    let sum = crc(&vast[12..29]).to_be_bytes();
    vast[29..33].copy_from_slice(&sum);
    assert!(labels(&vast, &Palette::Voc).unwrap_err().contains("too large"));
}

/// PNG's check of a chunk.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
