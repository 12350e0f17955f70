//! Image sources: folders, lists, parquet tables, the CIFAR binary format, the catalog. The tests write small copies
//! of each layout; real data sets are read if a copy exists.

use hueristic::{
    bounded::Count,
    data::{
        labels::require,
        open::open,
        parquet::{ColumnNames, Parquet, usual_columns},
        source::{DataError, DataSpec, Dataset, Limit, Locations, SourceSpec, Split},
        verify::verify,
    },
    spec_path::SpecPath,
};
use image::{ImageFormat, Rgb};
use parquet::{
    basic::Compression,
    column::writer::ColumnWriter,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    slice::from_ref,
    sync::Arc,
    thread,
};

/// A 5×4 PNG of one color.
fn png(value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(5, 4, Rgb([value, 2, 3]));
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn spec(source: SourceSpec) -> DataSpec {
    DataSpec::new(source, Count::of(4))
}

fn folder(root: &Path, train: &str, val: Option<&str>) -> DataSpec {
    spec(SourceSpec::folder(root.join(train), val.map(|val| root.join(val).into())))
}

fn opened(spec: &DataSpec, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
    open(spec, split, &Locations::default())
}

fn refusal(spec: &DataSpec, split: Split) -> String {
    opened(spec, split).err().unwrap().to_string()
}

/// First byte of every image and its label.
fn values(set: &dyn Dataset) -> Vec<(u8, Option<u32>)> {
    (0..set.len()).map(|i| (set.image(i).unwrap().pixels[0], set.label(i))).collect()
}

/// The folder of real data sets, if it contains this one.
fn real(path: &str) -> Option<Locations> {
    super::skipping::data(path)
        .map(|_| Locations { data: Some(super::skipping::data_folder()), ..Locations::default() })
}

#[test]
fn class_folders_are_sorted_walked_and_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train/cat/1.png", &png(1));
    write(dir.path(), "train/cat/deep/er/2.JPEG", &png(2)); // the content decides, not the ending
    write(dir.path(), "train/ant/3.png", &png(3));
    write(dir.path(), "train/ant/.hidden.png", b"");
    write(dir.path(), "train/.cache/4.png", &png(4));
    write(dir.path(), "train/ant/notes.txt", b"not an image");
    write(dir.path(), "train/empty/readme.md", b"");
    write(dir.path(), "val/cat/5.png", &png(5));
    let spec = folder(dir.path(), "train", Some("val"));

    let train = opened(&spec, Split::Train).unwrap();
    assert_eq!(train.classes(), ["ant", "cat"]);
    assert_eq!(values(train.as_ref()), [(3, Some(0)), (1, Some(1)), (2, Some(1))]);
    assert!(train.name(2).ends_with("train/cat/deep/er/2.JPEG"), "{}", train.name(2));
    // a class keeps its number although the validation split lacks the one before it
    assert_eq!(values(opened(&spec, Split::Val).unwrap().as_ref()), [(5, Some(1))]);
    let files = hueristic::data::folder::Files::open(&dir.path().join("train")).unwrap();
    assert_eq!(files.ignored(), 2);
}

#[test]
fn a_folder_of_images_is_unlabeled() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.png", &png(2));
    write(dir.path(), "a/c.png", &png(1));
    let set = opened(&folder(dir.path(), "", None), Split::Train).unwrap();
    assert!(set.classes().is_empty());
    assert_eq!(values(set.as_ref()), [(1, None), (2, None)]);
}

#[test]
fn folder_mistakes_say_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train/cat/1.png", &png(1));
    write(dir.path(), "val/dog/1.png", &png(1));
    write(dir.path(), "none/cat/readme.txt", b"");
    let missing = refusal(&folder(dir.path(), "nowhere", None), Split::Train);
    assert!(missing.contains("nowhere: not found; expected a folder with one subfolder"), "{missing}");
    let empty = refusal(&folder(dir.path(), "none", None), Split::Train);
    assert!(empty.contains("none: holds no images; expected one subfolder"), "{empty}");
    let none = refusal(&folder(dir.path(), "train", None), Split::Val);
    assert!(none.contains("add `val:`"), "{none}");
}

/// Why a split has no labels.
fn why_unlabeled(spec: &DataSpec, split: Split) -> String {
    let set = opened(spec, split).unwrap();
    assert!(set.classes().is_empty() && set.label(0).is_none());
    set.why_unlabeled().unwrap_or_default().to_owned()
}

#[test]
fn folders_that_training_lacks_matter_to_labels_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train/2021/1.png", &png(1));
    write(dir.path(), "train/2022/1.png", &png(2));
    write(dir.path(), "val/holiday/1.png", &png(3));
    let spec = folder(dir.path(), "train", Some("val"));
    assert_eq!(values(opened(&spec, Split::Val).unwrap().as_ref()), [(3, None)]);
    let why = why_unlabeled(&spec, Split::Val);
    assert!(
        why.contains("class `holiday`") && why.contains("2 classes of the training split (2021, 2022)"),
        "{why}"
    );
}

#[test]
fn a_stray_picture_is_the_reason_for_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["cat/1.png", "dog/1.png", "montage.png"] {
        write(dir.path(), path, &png(1));
    }
    let why = why_unlabeled(&folder(dir.path(), "", None), Split::Train);
    assert!(why.contains("montage.png lies beside its folders cat, dog;"), "{why}");
    fs::remove_dir_all(dir.path().join("cat")).unwrap();
    fs::remove_dir_all(dir.path().join("dog")).unwrap();
    let set = opened(&folder(dir.path(), "", None), Split::Train).unwrap();
    assert_eq!((set.why_unlabeled(), set.classes().len()), (None, 0));
}

#[test]
#[cfg(unix)]
fn a_link_that_leads_nowhere_is_no_reason_to_refuse_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "cat/1.png", &png(1));
    write(dir.path(), "dog/1.png", &png(2));
    for link in ["cat/readme.txt", "cat/9.png", "eel", "dog/.#1.png", "y.png"] {
        std::os::unix::fs::symlink("gone", dir.path().join(link)).unwrap();
    }
    std::os::unix::fs::symlink("..", dir.path().join("dog/up")).unwrap();
    let set = opened(&folder(dir.path(), "", None), Split::Train).unwrap();
    assert_eq!((set.len(), set.classes()), (3, &["cat".to_owned(), "dog".to_owned()][..]));
    assert!(set.image(1).unwrap_err().to_string().contains("9.png: cannot be read"));
    assert_eq!((set.image(0).is_ok(), set.image(2).is_ok()), (true, true));
    // without class folders, the link is a picture that cannot be read
    let flat = tempfile::tempdir().unwrap();
    write(flat.path(), "1.png", &png(1));
    std::os::unix::fs::symlink("gone", flat.path().join("y.png")).unwrap();
    let set = opened(&folder(flat.path(), "", None), Split::Train).unwrap();
    assert_eq!((set.len(), set.image(0).is_ok(), set.image(1).is_ok()), (2, true, false));
}

#[test]
fn a_fingerprint_follows_the_content_and_not_the_place() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&one, &two] {
        write(dir.path(), "a/1.png", &png(1));
        write(dir.path(), "b/2.png", &png(2));
    }
    let print = |dir: &Path| opened(&folder(dir, "", None), Split::Train).unwrap().fingerprint();
    assert_eq!(print(one.path()), print(two.path()));
    write(two.path(), "b/2.png", b"another size");
    assert_ne!(print(one.path()), print(two.path()));
    fs::rename(one.path().join("b"), one.path().join("c")).unwrap();
    write(two.path(), "b/2.png", &png(2));
    assert_ne!(print(one.path()), print(two.path()));
}

#[test]
fn lists_number_both_splits_by_the_training_list() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "images/1.png", &png(1));
    write(dir.path(), "images/2.png", &png(2));
    write(dir.path(), "lists/train.txt", b"1.png cow\n2.png ant\n");
    write(dir.path(), "lists/val.txt", b"1.png cow\n");
    let list = |name: &str| dir.path().join("lists").join(name).into();
    let source = SourceSpec::List {
        train: list("train.txt"),
        val: Some(list("val.txt")),
        root: Some(dir.path().join("images").into()),
    };
    let spec = spec(source);
    assert_eq!(values(opened(&spec, Split::Train).unwrap().as_ref()), [(1, Some(1)), (2, Some(0))]);
    assert_eq!(values(opened(&spec, Split::Val).unwrap().as_ref()), [(1, Some(1))]);
}

#[test]
fn a_list_of_names_does_not_go_with_one_of_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let spec = |train: &str, val: &str| {
        write(dir.path(), "train.txt", train.as_bytes());
        write(dir.path(), "val.txt", val.as_bytes());
        let at = |name: &str| dir.path().join(name).into();
        spec(SourceSpec::List { train: at("train.txt"), val: Some(at("val.txt")), root: None })
    };
    for (train, val, said) in [
        ("a.png cat\nb.png dog\n", "a.png 1\nb.png 0\n", "train.txt has names without numbers: cat, dog"),
        ("a.png 1\nb.png 0\n", "a.png cat\nb.png dog\n", "train.txt has numbers without names, 0 to 1"),
        ("a.png 0\nb.png 1\n", "a.png 0\nb.png 7\n", "class `7` of"),
        ("a.png cat\nb.png dog\n", "a.png cat\nb.png eel\n", "class `eel` of"),
    ] {
        let why = why_unlabeled(&spec(train, val), Split::Val);
        assert!(why.contains(said) && why.contains("val.txt"), "{why}");
    }
    let fits = opened(&spec("a.png 0\nb.png 2\n", "a.png 1\n"), Split::Val).unwrap();
    assert_eq!((fits.label(0), fits.classes().len()), (Some(1), 3));
}

#[test]
fn a_limit_takes_an_image_of_each_part_of_its_split() {
    let dir = tempfile::tempdir().unwrap();
    (0..5).for_each(|i| write(dir.path(), &format!("{i}.png"), &png(i)));
    let limit = Some(Limit { train: Some(Count::of(2)), val: None });
    let spec = DataSpec { limit, ..folder(dir.path(), "", Some("")) };
    let chosen = values(opened(&spec, Split::Train).unwrap().as_ref());
    let [(first, None), (second, None)] = chosen[..] else { panic!("{chosen:?}") };
    assert!(first < 2 && (2..5).contains(&second), "{chosen:?}");
    assert_eq!(values(opened(&spec, Split::Train).unwrap().as_ref()), chosen);
    assert_eq!(opened(&spec, Split::Val).unwrap().len(), 5);
}

/// Columns of a test table besides the images.
enum Label<'a> {
    Numbers(&'a [i64]),
    Names(&'a [&'a str]),
    None,
}

/// A parquet file of `images` (None: null), three rows a group, `image: {bytes, path}` as the hub writes it or
/// plain binary.
fn table(path: &Path, nested: bool, images: &[Option<Vec<u8>>], label: &Label, names: Option<&str>) {
    let image = if nested {
        "optional group image { optional binary bytes; optional binary path (UTF8); }"
    } else {
        "optional binary image;"
    };
    let column = match label {
        Label::Numbers(_) => "optional int64 label;",
        Label::Names(_) => "required binary label (UTF8);",
        Label::None => "",
    };
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {image} {column} }}")).unwrap());
    let described = names.map(|text| vec![KeyValue::new("huggingface".into(), text.to_owned())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(1)
        .set_write_batch_size(1)
        .set_key_value_metadata(described)
        .build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, properties.into()).unwrap();
    for (group, images) in images.chunks(3).enumerate() {
        let mut rows = writer.next_row_group().unwrap();
        let present: Vec<ByteArray> = images.iter().flatten().map(|b| b.clone().into()).collect();
        let (full, null) = if nested { (2, 1) } else { (1, 0) };
        let levels: Vec<i16> = images.iter().map(|i| if i.is_some() { full } else { null }).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&present, Some(&levels), None).unwrap();
        column.close().unwrap();
        if nested {
            let mut column = rows.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; images.len()]), None).unwrap();
            column.close().unwrap();
        }
        let range = 3 * group..3 * group + images.len();
        if let Some(mut column) = rows.next_column().unwrap() {
            match label {
                Label::Numbers(numbers) => {
                    let levels = vec![1; images.len()];
                    column.typed::<Int64Type>().write_batch(&numbers[range], Some(&levels), None).unwrap();
                }
                Label::Names(names) => {
                    let names: Vec<ByteArray> = names[range].iter().map(|&name| name.into()).collect();
                    column.typed::<ByteArrayType>().write_batch(&names, None, None).unwrap();
                }
                Label::None => unreachable!("a column without labels"),
            }
            column.close().unwrap();
        }
        rows.close().unwrap();
    }
    writer.close().unwrap();
}

fn parquet_spec(train: &[PathBuf], val: &[PathBuf], label: Option<&str>) -> DataSpec {
    spec(SourceSpec::Parquet {
        train: train.iter().map(SpecPath::from).collect(),
        val: val.iter().map(SpecPath::from).collect(),
        image: "image".into(),
        label: label.map(Into::into),
    })
}

fn pngs(values: &[u8]) -> Vec<Option<Vec<u8>>> {
    values.iter().map(|&value| Some(png(value))).collect()
}

#[test]
fn parquet_rows_keep_their_order_over_groups_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.parquet"), dir.path().join("b.parquet"));
    for nested in [true, false] {
        table(&a, nested, &pngs(&[10, 11, 12, 13, 14]), &Label::Numbers(&[0, 2, 1, 0, 2]), None);
        table(&b, nested, &pngs(&[20, 21]), &Label::Numbers(&[1, 1]), None);
        let set = opened(&parquet_spec(&[a.clone(), b.clone()], &[], Some("label")), Split::Train).unwrap();
        assert_eq!(set.classes(), ["0", "1", "2"]);
        let expected = [(10, 0), (11, 2), (12, 1), (13, 0), (14, 2), (20, 1), (21, 1)];
        assert_eq!(values(set.as_ref()), expected.map(|(v, l)| (v, Some(l))));
        assert!(set.name(4).ends_with("a.parquet row 4") && set.name(6).ends_with("b.parquet row 1"));
    }
}

#[test]
fn a_table_too_large_to_keep_is_read_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let mut images = pngs(&(0..200).collect::<Vec<u8>>());
    images[77] = None;
    for nested in [true, false] {
        table(&file, nested, &images, &Label::None, None);
        let columns = ColumnNames { image: "image", label: None };
        let set = Parquet::open(from_ref(&file), columns).unwrap().keep_up_to(0);
        // from several threads at once, backwards and forwards
        thread::scope(|scope| {
            for n in 0..4 {
                let set = &set;
                scope.spawn(move || {
                    for step in 0..200 {
                        let index = if n % 2 == 0 { step } else { 199 - step };
                        let image = set.image(index);
                        if index == 77 {
                            assert!(image.is_err());
                        } else {
                            assert_eq!(image.unwrap().pixels[0], index as u8);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn parquet_labels_may_be_names_or_described_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (train, val) = (dir.path().join("train.parquet"), dir.path().join("val.parquet"));
    table(&train, true, &pngs(&[1, 2]), &Label::Names(&["cow", "ant"]), None);
    table(&val, true, &pngs(&[3]), &Label::Names(&["cow"]), None);
    let named = parquet_spec(from_ref(&train), from_ref(&val), Some("label"));
    assert_eq!(values(opened(&named, Split::Train).unwrap().as_ref()), [(1, Some(1)), (2, Some(0))]);
    let set = opened(&named, Split::Val).unwrap();
    assert_eq!((set.classes(), set.label(0)), (&["ant".to_owned(), "cow".to_owned()][..], Some(1)));

    table(&train, true, &pngs(&[1]), &Label::Numbers(&[1]), Some(&class_label(&["zebra", "ant"])));
    assert_eq!(opened(&named, Split::Train).unwrap().classes(), ["zebra", "ant"]);

    table(&train, false, &pngs(&[1]), &Label::None, None);
    let set = opened(&parquet_spec(&[train], &[], None), Split::Train).unwrap();
    assert_eq!((set.classes().len(), set.label(0)), (0, None));
}

/// The metadata that `datasets` writes for a label column with these names.
fn class_label(names: &[&str]) -> String {
    let label = serde_json::json!({ "names": names, "_type": "ClassLabel" });
    serde_json::json!({ "info": { "features": { "label": label } } }).to_string()
}

#[test]
fn parquet_labels_meet_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let images = pngs(&[1, 2]);
    let write = |name: &str, label: &Label, names: &[&str]| {
        let described = class_label(names);
        table(&at(name), true, &images, label, (!names.is_empty()).then_some(described.as_str()));
        at(name)
    };
    let numbers = Label::Numbers(&[0, 1]);
    let cat_dog = write("cat_dog", &numbers, &["cat", "dog"]);
    let dog_cat = write("dog_cat", &numbers, &["dog", "cat"]);
    let strings = write("strings", &Label::Names(&["dog", "cat"]), &[]);
    let plain = write("plain", &numbers, &[]);
    let labels = |train: &[&PathBuf], val: &PathBuf, split| {
        let train: Vec<PathBuf> = train.iter().map(|path| path.to_path_buf()).collect();
        let set = opened(&parquet_spec(&train, from_ref(val), Some("label")), split).unwrap();
        let numbers: Option<Vec<u32>> = (0..set.len()).map(|i| set.label(i)).collect();
        numbers.ok_or(set.why_unlabeled().unwrap_or_default().to_owned())
    };
    // two splits
    assert_eq!(labels(&[&cat_dog], &cat_dog, Split::Val), Ok(vec![0, 1]));
    assert_eq!(labels(&[&cat_dog], &dog_cat, Split::Val), Ok(vec![1, 0]));
    assert_eq!(labels(&[&dog_cat], &strings, Split::Val), Ok(vec![0, 1]));
    assert_eq!(labels(&[&strings], &dog_cat, Split::Val), Ok(vec![1, 0]));
    assert_eq!(labels(&[&plain], &plain, Split::Val), Ok(vec![0, 1]));
    // parts of one split
    assert_eq!(labels(&[&cat_dog, &dog_cat, &strings], &plain, Split::Train), Ok(vec![0, 1, 1, 0, 1, 0]));
    for why in [
        labels(&[&dog_cat], &plain, Split::Val),
        labels(&[&plain], &dog_cat, Split::Val),
        labels(&[&plain, &dog_cat], &plain, Split::Train),
    ] {
        let why = why.unwrap_err();
        assert!(why.contains("dog_cat has 0 dog, 1 cat"), "{why}");
        assert!(why.contains("plain has numbers without names, 0 to 1"), "{why}");
    }
    let why = labels(&[&strings], &write("eel", &numbers, &["eel", "dog"]), Split::Val).unwrap_err();
    assert!(why.contains("class `eel`") && why.contains("(cat, dog)"), "{why}");
    // a name that no row has is no class that training lacks
    assert_eq!(
        labels(&[&cat_dog], &write("three", &numbers, &["dog", "cat", "eel"]), Split::Val),
        Ok(vec![1, 0])
    );
}

#[test]
fn paths_in_a_table_are_read_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "p/1.png", &png(1));
    write(dir.path(), "p/2.png", &png(2));
    let absolute = dir.path().join("p/2.png").display().to_string();
    let file = dir.path().join("t.parquet");
    let paths = ["p/1.png", absolute.as_str(), "p/3.png"];
    for schema in [
        "optional group image { optional binary bytes; optional binary path (UTF8); }",
        "optional binary image (UTF8);",
        "optional group image { optional binary path (UTF8); }",
    ] {
        path_table(&file, schema, &paths);
        let spec = parquet_spec(from_ref(&file), &[], None);
        let set = opened(&spec, Split::Train).unwrap();
        let first = |i: usize| set.image(i).unwrap().pixels[0];
        assert_eq!((set.len(), first(0), first(1)), (3, 1, 2), "{schema}");
        let said = set.image(2).unwrap_err().to_string();
        for part in
            ["t.parquet row 2", "the path `p/3.png`", "p/3.png is not there", "with the pictures in it"]
        {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        let before = set.fingerprint();
        write(dir.path(), "p/1.png", &[png(1), vec![0]].concat());
        assert_ne!(opened(&spec, Split::Train).unwrap().fingerprint(), before, "{schema}");
        write(dir.path(), "p/1.png", &png(1));
    }
}

/// A table whose image column has type `schema`, with these paths and null bytes.
fn path_table(file: &Path, schema: &str, paths: &[&str]) {
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {schema} }}")).unwrap());
    let properties = WriterProperties::builder().build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(file).unwrap(), schema, properties.into()).unwrap();
    let mut rows = writer.next_row_group().unwrap();
    while let Some(mut column) = rows.next_column().unwrap() {
        let typed = column.typed::<ByteArrayType>();
        let (full, holds_paths) = {
            let about = typed.get_descriptor();
            (about.max_def_level(), about.name() != "bytes")
        };
        let values: Vec<ByteArray> = paths.iter().filter(|_| holds_paths).map(|&path| path.into()).collect();
        let levels = vec![if holds_paths { full } else { full - 1 }; paths.len()];
        typed.write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    rows.close().unwrap();
    writer.close().unwrap();
}

/// Opens a damaged table, reads all of it and returns the error messages.
fn read_all(file: &Path, keep: i64) -> Vec<String> {
    let set = match Parquet::open(&[file.to_owned()], ColumnNames { image: "image", label: Some("label") }) {
        Ok(set) => set.keep_up_to(keep),
        Err(error) => return vec![error.to_string()],
    };
    set.fingerprint();
    let unlabeled = set.why_unlabeled().map(str::to_owned);
    (0..set.len()).filter_map(|i| Some(set.image(i).err()?.to_string())).chain(unlabeled).collect()
}

#[test]
fn one_damaged_byte_of_a_table_is_an_error_that_names_it_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let described = class_label(&["cat", "dog"]);
    table(&file, true, &pngs(&[1, 2, 3, 4]), &Label::Numbers(&[0, 1, 1, 0]), Some(&described));
    let whole = fs::read(&file).unwrap();
    assert!(read_all(&file, 0).is_empty() && read_all(&file, i64::MAX).is_empty());
    // every byte of the footer, and a sample of the pages
    let length = u32::from_le_bytes(whole[whole.len() - 8..][..4].try_into().unwrap()) as usize;
    let footer = whole.len() - 8 - length;
    let pages = (0..footer).filter(|at| at * 2654435761 % 7 == 0);
    let mut refused = 0;
    for at in pages.chain(footer..whole.len()) {
        for flip in [0xff, 1 << (at % 8), 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            fs::write(&file, &damaged).unwrap();
            for keep in [0, i64::MAX] {
                let faults = read_all(&file, keep);
                assert!(faults.iter().all(|fault| fault.contains("t.parquet")), "byte {at}: {faults:?}");
                refused += usize::from(!faults.is_empty());
            }
        }
    }
    assert!(refused > 100, "only {refused} of the damages were noticed");
}

/// A table of images with a label column, null for a missing label.
fn label_table(file: &Path, column: &str, present: &[bool]) {
    let schema = format!("message schema {{ required binary image; {column} }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder().build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(file).unwrap(), schema, properties.into()).unwrap();
    let mut rows = writer.next_row_group().unwrap();
    let pictures: Vec<ByteArray> = present.iter().map(|_| png(1).into()).collect();
    let mut images = rows.next_column().unwrap().unwrap();
    images.typed::<ByteArrayType>().write_batch(&pictures, None, None).unwrap();
    images.close().unwrap();
    let mut labels = rows.next_column().unwrap().unwrap();
    let levels: Vec<i16> = present.iter().map(|&there| i16::from(there)).collect();
    let count = present.iter().filter(|there| **there).count();
    let levels = Some(&levels[..]);
    match labels.untyped() {
        ColumnWriter::BoolColumnWriter(w) => {
            w.write_batch(&(0..count).map(|i| i % 2 == 0).collect::<Vec<_>>(), levels, None)
        }
        ColumnWriter::Int32ColumnWriter(w) => w.write_batch(&vec![1; count], levels, None),
        ColumnWriter::Int64ColumnWriter(w) => w.write_batch(&vec![1; count], levels, None),
        ColumnWriter::FloatColumnWriter(w) => w.write_batch(&vec![1.0; count], levels, None),
        ColumnWriter::DoubleColumnWriter(w) => w.write_batch(&vec![1.0; count], levels, None),
        ColumnWriter::ByteArrayColumnWriter(w) => {
            w.write_batch(&vec![ByteArray::from("cat"); count], levels, None)
        }
        _ => unreachable!("a column of another type"),
    }
    .unwrap();
    labels.close().unwrap();
    rows.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn labels_that_cannot_be_used_matter_to_who_needs_them_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let spec = |label: &str| parquet_spec(from_ref(&file), from_ref(&file), Some(label));
    for (column, present, said) in [
        ("optional int64 labels;", [true, true], "no column `label`"),
        ("optional int64 fine_label;", [true, true], "`fine_label` (INT64)"),
        ("optional double label;", [true, false], "`label` (DOUBLE)"),
        ("optional float label;", [true, true], "`label` (FLOAT)"),
        ("optional group label { optional int64 id; }", [false, false], "`label.id` (INT64)"),
        ("optional int64 label;", [true, false], "1 of 2 rows have no label, row 1 is the first"),
        ("optional int32 label;", [false, false], "2 of 2 rows have no label, row 0 is the first"),
        ("optional binary label (UTF8);", [false, true], "1 of 2 rows have no label, row 0 is the first"),
    ] {
        label_table(&file, column, &present);
        let spec = spec("label");
        for split in [Split::Train, Split::Val] {
            let why = why_unlabeled(&spec, split);
            assert!(["t.parquet: ", said, "`label: null`"].iter().all(|part| why.contains(part)), "{why}");
        }
        let set = opened(&spec, Split::Train).unwrap();
        assert!(set.image(0).is_ok() && set.image(1).is_ok());
        let needed = require(&*set, "birds", "train").unwrap_err().to_string();
        assert!(needed.contains("it needs labels") && needed.contains(said), "{needed}");
        let report = verify(&spec, &Locations::default()).unwrap();
        assert!(report.is_sound() && !report.has_sound_labels() && report.to_string().contains(said));
        assert_eq!(usual_columns(&file).unwrap(), ("image".into(), "label".into()));
    }
    // a column that the spec names has to be there, of whatever type
    label_table(&file, "optional double score;", &[true, true]);
    assert!(refusal(&spec("kind"), Split::Train).contains("no column `kind`"));
    assert!(why_unlabeled(&spec("score"), Split::Train).contains("no column `score` of class numbers"));
    label_table(&file, "optional boolean kind;", &[true, true, true]);
    let set = opened(&spec("kind"), Split::Train).unwrap();
    assert_eq!(values(&*set), [(1, Some(1)), (1, Some(0)), (1, Some(1))]);
}

#[test]
fn one_part_of_a_table_without_labels_leaves_all_without() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.parquet"), dir.path().join("b.parquet"));
    table(&a, true, &pngs(&[1, 2]), &Label::Numbers(&[0, 1]), None);
    table(&b, true, &pngs(&[3, 4]), &Label::Numbers(&[-1, -1]), None);
    let spec = parquet_spec(&[a.clone(), b.clone()], from_ref(&b), Some("label"));
    for split in [Split::Train, Split::Val] {
        let why = why_unlabeled(&spec, split);
        assert!(why.contains("b.parquet: label -1 in row 0 is not a class number"), "{why}");
    }
    assert_eq!(opened(&spec, Split::Train).unwrap().len(), 4);
    // a test split without labels takes none from training
    let set = opened(&parquet_spec(&[a], &[b], Some("label")), Split::Train).unwrap();
    assert_eq!(values(&*set), [(1, Some(0)), (2, Some(1))]);
}

#[test]
fn numbers_that_are_no_classes_are_named_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let spec = parquet_spec(from_ref(&file), &[], Some("label"));
    let two = class_label(&["cat", "dog"]);
    for (label, names, part) in [
        (i64::from(u32::MAX), None, "label 4294967295 in row 1 is too large"),
        (1 << 20, None, "label 1048576 in row 1 is too large"),
        (i64::MAX, None, "label 9223372036854775807 in row 1 is too large"),
        (i64::MIN, None, "label -9223372036854775808 in row 1 is not a class number"),
        (2, Some(two.as_str()), "label 2 in row 1 is none of the 2 classes that the file names"),
    ] {
        table(&file, true, &pngs(&[1, 2]), &Label::Numbers(&[0, label]), names);
        let why = why_unlabeled(&spec, Split::Train);
        assert!(why.contains(part) && why.contains("t.parquet") && why.contains("`label: null`"), "{why}");
    }
}

#[test]
fn parquet_mistakes_name_the_file_and_the_columns() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let told = |spec: &DataSpec, parts: &[&str]| {
        let error = refusal(spec, Split::Train);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let spec = parquet_spec(from_ref(&file), &[], Some("label"));
    told(&spec, &["t.parquet: not found", "a parquet file"]);
    fs::write(&file, b"PAR1 but not really").unwrap();
    told(&spec, &["t.parquet: not a readable parquet file"]);
    table(&file, true, &pngs(&[1]), &Label::None, None);
    let named = parquet_spec(from_ref(&file), &[], Some("kind"));
    told(&named, &["no column `kind`", "`image.bytes` (BYTE_ARRAY)", "`label: null`"]);
    let mut other = spec.clone();
    other.source = SourceSpec::Parquet {
        train: vec![file.clone().into()],
        val: vec![],
        image: "img".into(),
        label: None,
    };
    told(&other, &["no column `img` of encoded images", "`image.bytes`"]);
    assert!(refusal(&spec, Split::Val).contains("add `val:`"));
}

#[test]
fn a_null_or_broken_row_is_one_bad_image() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.parquet");
    let images = [Some(png(1)), None, Some(b"text".to_vec()), Some(png(4))];
    for nested in [true, false] {
        table(&file, nested, &images, &Label::None, None);
        let set = opened(&parquet_spec(from_ref(&file), &[], None), Split::Train).unwrap();
        assert_eq!((set.image(0).unwrap().pixels[0], set.image(3).unwrap().pixels[0]), (1, 4));
        assert!(set.image(1).unwrap_err().to_string().contains("t.parquet row 1: the row holds no image"));
        assert!(set.image(2).unwrap_err().to_string().contains("t.parquet row 2: not an image"));
    }
}

#[test]
fn a_report_counts_classes_gray_images_and_faults() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train/ant/1.png", &png(9));
    write(dir.path(), "train/ant/2.png", &{
        let mut bytes = Cursor::new(Vec::new());
        image::GrayImage::new(7, 9).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    });
    write(dir.path(), "train/bee/3.jpg", b"");
    let mut report = verify(&folder(dir.path(), "train", None), &Locations::default()).unwrap();
    assert!(!report.is_sound());
    report.splits[0].fingerprint = "(here)".into();
    let text = report.to_string().replace(dir.path().to_str().unwrap(), "ROOT");
    insta::assert_snapshot!(text, @r"
    folder

    train: 3 images, 1 unreadable
      width   5 to 7, median 5
      height  4 to 9, median 4
      gray    1 (50.0 %)
      sha256  (here) (fingerprint)
      2 classes
        ant  2
        bee  1
      unreadable ROOT/train/bee/3.jpg: the file is empty
    ");
}

#[cfg(not(feature = "cifar"))]
#[test]
fn without_its_feature_the_binary_format_says_how_to_build() {
    let error = refusal(&spec(SourceSpec::CifarBinary { dir: "cifar-10-batches-bin".into() }), Split::Train);
    for part in ["the CIFAR binary format", "--features cifar", "parquet"] {
        assert!(error.contains(part), "{error}");
    }
}

#[cfg(not(feature = "hub"))]
#[test]
fn without_its_feature_the_hub_says_how_to_build() {
    let (repo, train) = ("a/b".into(), vec!["c.parquet".into()]);
    let source =
        SourceSpec::Hub { repo, revision: None, train, val: vec![], image: "image".into(), label: None };
    let error = refusal(&spec(source), Split::Train);
    for part in ["a source on the hub", "--features hub", "`parquet:`"] {
        assert!(error.contains(part), "{error}");
    }
}

#[cfg(feature = "cifar")]
mod cifar {
    use super::*;

    const IMAGE: usize = 3 * 32 * 32;

    /// A file of 10,000 zeroed images, the first of them labeled `label` with `planes`.
    fn batch(path: &Path, label: u8, planes: &[u8]) {
        let mut bytes = vec![label];
        bytes.extend(planes);
        fs::write(path, bytes).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_len(10_000 * (1 + IMAGE as u64)).unwrap();
    }

    #[test]
    fn planes_become_rows_of_rgb_bytes_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let source = SourceSpec::CifarBinary { dir: dir.path().into() };
        let spec = spec(source);
        assert!(refusal(&spec, Split::Train).contains("data_batch_1.bin: not found"));
        // every byte value in every plane, each plane shifted by one
        let planes: Vec<u8> = (0..IMAGE).map(|i| (i % 1024 + i / 1024) as u8).collect();
        for n in 1..=5 {
            batch(&dir.path().join(format!("data_batch_{n}.bin")), n, &planes);
        }
        fs::write(dir.path().join("test_batch.bin"), b"short").unwrap();
        assert!(refusal(&spec, Split::Train).contains("5 bytes where the format has 30730000"));
        batch(&dir.path().join("test_batch.bin"), 7, &planes);

        let train = opened(&spec, Split::Train).unwrap();
        assert_eq!((train.len(), train.classes().len()), (50_000, 10));
        assert_eq!((train.label(0), train.label(10_000), train.label(40_001)), (Some(1), Some(2), Some(0)));
        let image = train.image(20_000).unwrap();
        assert_eq!((image.width, image.height), (32, 32));
        let expected: Vec<u8> = (0..1024).flat_map(|i| [i as u8, (i + 1) as u8, (i + 2) as u8]).collect();
        assert_eq!(image.pixels, expected);
        let val = opened(&spec, Split::Val).unwrap();
        assert_eq!((val.len(), val.label(0)), (10_000, Some(7)));
        batch(&dir.path().join("test_batch.bin"), 200, &planes);
        assert!(refusal(&spec, Split::Val).contains("image 0 of val has label 200, above 9"));
    }
}

#[test]
fn catalog_names_are_given_only_to_the_folders_they_belong_to() {
    let dir = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        write(dir.path(), &format!("imagenette2-160/{split}/n01440764/1.png"), &png(1));
        write(dir.path(), &format!("imagenette2-160/{split}/n03888257/1.png"), &png(1));
    }
    let at = Locations { data: Some(dir.path().into()), ..Locations::default() };
    let set = open(&spec(SourceSpec::Catalog("imagenette160".into())), Split::Val, &at).unwrap();
    // two of the ten: calling the second one "English springer" would be wrong
    assert_eq!(set.classes(), ["n01440764", "n03888257"]);
}

#[test]
fn the_catalogs_cifar10_is_whole() {
    let Some(at) = real("cifar10_parquet") else { return };
    let report = verify(&spec(SourceSpec::Catalog("cifar10".into())), &at).unwrap();
    assert!(report.is_sound() && report.checksums.len() == 2 && report.checksums.iter().all(|sum| sum.same));
    for (split, images) in report.splits.iter().zip([50_000, 10_000]) {
        assert_eq!((split.images, split.width, split.height), (images, [32; 3], [32; 3]));
        assert_eq!(split.classes.len(), 10);
        assert!(split.classes.iter().all(|(_, count)| *count == images / 10));
    }
    assert_eq!(report.splits[0].classes[9].0, "truck");
}

#[test]
fn cifar10_labels_are_those_of_the_file_names() {
    // the rows carry their original file names (`truck_4971.jpg`), an oracle for labels and row order
    let Some(at) = real("cifar10_parquet") else { return };
    let set = open(&spec(SourceSpec::Catalog("cifar10".into())), Split::Val, &at).unwrap();
    let path = at.data.unwrap().join("cifar10_parquet/test-00000-of-00001.parquet");
    let reader = parquet::file::reader::SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    for (index, row) in reader.into_iter().enumerate().step_by(97) {
        let text = row.unwrap().to_string();
        let class = &set.classes()[set.label(index).unwrap() as usize];
        assert!(
            text.contains(&format!("\"{class}_")),
            "row {index} is labeled {class}: {}",
            &text[text.len() - 60..]
        );
    }
}

#[test]
fn the_catalogs_imagenette_is_whole() {
    let Some(at) = real("imagenette160_5k") else { return };
    let report = verify(&spec(SourceSpec::Catalog("imagenette160".into())), &at).unwrap();
    assert!(report.is_sound());
    let images: Vec<usize> = report.splits.iter().map(|split| split.images).collect();
    assert_eq!(images, [3500, 1500]);
    for split in &report.splits {
        assert!(split.classes.iter().all(|(_, count)| *count == split.images / 10));
        assert_eq!(split.classes[1].0, "English springer");
    }
    let short = report.splits.iter().map(|split| split.width[0].min(split.height[0])).min();
    assert_eq!(short, Some(160));
    // 94 files are stored as gray; of those stored as color, some show nothing but gray
    assert!(report.splits.iter().map(|split| split.gray).sum::<usize>() >= 94);
}
