//! Data sets as shards, and back.

use super::*;
use hueristic::data::shards::pack::{PackOptions, ShardLimit, pack};
use image::ImageFormat;

const OPTIONS: PackOptions =
    PackOptions { size: None, quality: 90, limit: ShardLimit::Pictures(4), shuffle: None };

/// Class folders with pictures in every format: of each two have other keys up to the first dot than in their class.
fn folder(home: &Home) -> DataSpec {
    let formats = [
        ("png", ImageFormat::Png),
        ("JPEG", ImageFormat::Jpeg),
        ("webp", ImageFormat::WebP),
        ("bmp", ImageFormat::Bmp),
    ];
    for number in 0..23u8 {
        let (ending, format) = formats[usize::from(number) % 4];
        let class = ["zebra", "an ant", "7"][usize::from(number) % 3];
        home.write(
            &format!("photos/train/{class}/frame.{number}.{ending}"),
            &picture(10 * number, 12, format),
        );
    }
    for (number, class) in ["zebra", "7"].into_iter().enumerate() {
        home.write(&format!("photos/val/{class}/{number}.png"), &png(number as u8));
    }
    spec(SourceSpec::folder(home.at("photos/train"), Some(home.at("photos/val").into())))
}

fn packed(home: &Home, name: &str) -> DataSpec {
    shards(home.at(&format!("{name}/train-*.tar")), Some(home.at(&format!("{name}/val-*.tar")).into()))
}

/// Names and contents of the files in a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn packed_shards_give_the_same_pictures_labels_and_batches_as_the_folder() {
    let home = Home::new();
    let from = folder(&home);
    let report = pack(&from, &home.locations(), &home.at("out"), &OPTIONS).unwrap().to_string();
    assert!(
        report.contains("train: 23 pictures in 6 shards") && report.contains("val: 2 pictures in 1 shard"),
        "{report}"
    );
    assert!(
        report.contains("train-{000000..000005}.tar\"") && report.contains("val-000000.tar\""),
        "{report}"
    );
    let to = packed(&home, "out");
    for split in [Split::Train, Split::Val] {
        let (folder, shards) = (home.open(&from, split).unwrap(), home.open(&to, split).unwrap());
        assert_eq!((folder.len(), folder.classes()), (shards.len(), shards.classes()));
        for index in 0..folder.len() {
            assert_eq!(folder.image(index).unwrap(), shards.image(index).unwrap());
            assert_eq!(folder.label(index), shards.label(index));
            let is_kept = !folder.name(index).ends_with(".bmp");
            assert_eq!(
                folder.encoded(index).unwrap() == shards.encoded(index).unwrap(),
                is_kept,
                "{}",
                folder.name(index)
            );
        }
    }
    let (folder, shards) = (home.open(&from, Split::Train).unwrap(), home.open(&to, Split::Train).unwrap());
    assert_eq!(take(&mut loader(&shards, &to, 5), 9), take(&mut loader(&folder, &from, 5), 9));
}

#[test]
fn packing_twice_gives_the_same_bytes_and_members_that_any_reader_takes() {
    let home = Home::new();
    let from = folder(&home);
    for name in ["a", "b"] {
        pack(&from, &home.locations(), &home.at(name), &OPTIONS).unwrap();
    }
    assert_eq!(files(&home.at("a")), files(&home.at("b")));
    let mut archive = tar::Archive::new(fs::File::open(home.at("a/train-000001.tar")).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (header.mode().unwrap(), header.mtime().unwrap(), header.uid().unwrap()),
                (0o444, 0, 0)
            );
            entry.path().unwrap().display().to_string()
        })
        .collect();
    // sorted by folder and name: 7/frame.11.webp, 7/frame.14.png and so on
    assert_eq!(names.len(), 8);
    assert!(
        names.chunks(2).zip(4..).all(|(pair, number)| {
            pair[0] == format!("{number:08}.cls")
                && pair[1].starts_with(&format!("{number:08}."))
                && pair[1].matches('.').count() == 1
        }),
        "{names:?}"
    );
}

#[test]
fn pictures_are_resized_once_and_shards_filled_to_a_size() {
    let home = Home::new();
    let from = folder(&home);
    let options = PackOptions { size: Some(8), limit: ShardLimit::Bytes(6000), ..OPTIONS };
    pack(&from, &home.locations(), &home.at("small"), &options).unwrap();
    let (from, to) =
        (home.open(&from, Split::Train).unwrap(), home.open(&packed(&home, "small"), Split::Train).unwrap());
    for index in 0..to.len() {
        let (was, is) = (from.image(index).unwrap(), to.image(index).unwrap());
        assert_eq!((was.width, was.height, is.width, is.height), (12, 14, 8, 9));
        assert!(is.pixels[0].abs_diff(was.pixels[0]) < 8, "{} became {}", was.pixels[0], is.pixels[0]);
        assert!(to.encoded(index).unwrap().unwrap().starts_with(b"\xff\xd8\xff"));
    }
    // the validation pictures have that size: they are copied
    let val = home.open(&packed(&home, "small"), Split::Val).unwrap();
    assert_eq!(val.encoded(0).unwrap().unwrap(), png(1));
    let sizes: Vec<usize> = files(&home.at("small"))
        .iter()
        .filter(|(name, _)| name.contains("train"))
        .map(|(_, b)| b.len())
        .collect();
    assert!(sizes.len() > 3 && sizes.iter().all(|size| *size <= 6000 + 1024), "{sizes:?}");
}

#[test]
fn an_interrupted_run_goes_on_behind_the_last_shard() {
    let home = Home::new();
    let mut from = folder(&home);
    home.write("photos/train/zebra/broken.png", b"none");
    from.max_bad = Fraction::of(0.05);
    let pack = |options: &PackOptions| {
        pack(&from, &home.locations(), &home.at("out"), options).map(|p| p.to_string())
    };
    let report = pack(&OPTIONS).unwrap();
    assert!(report.contains("left out") && report.contains("broken.png: not an image"), "{report}");
    let whole = files(&home.at("out"));
    for kept in [0, 2, 5, 6] {
        (kept..6).for_each(|shard| fs::remove_file(home.at(&format!("out/train-{shard:06}.tar"))).unwrap());
        home.write("out/train-000009.tar.x.partial", b"half");
        let report = pack(&OPTIONS).unwrap();
        assert_eq!(files(&home.at("out")), whole, "{kept} shards kept");
        assert!(kept == 0 || report.contains(&format!("({kept} from an earlier run)")), "{report}");
    }
    for options in [PackOptions { size: Some(8), ..OPTIONS }, PackOptions { shuffle: Some(0), ..OPTIONS }] {
        let error = pack(&options).unwrap_err().to_string();
        assert!(error.contains("other options; give another --out"), "{error}");
    }
    assert_eq!(files(&home.at("out")), whole);
}

#[test]
fn unreadable_pictures_and_foreign_folders_are_refused() {
    let home = Home::new();
    let from = folder(&home);
    home.write("photos/train/zebra/broken.png", b"none");
    let error = pack(&from, &home.locations(), &home.at("out"), &OPTIONS).unwrap_err().to_string();
    assert!(error.contains("1 of 24 images cannot be read") && error.contains("broken.png"), "{error}");
    assert!(!files(&home.at("out")).iter().any(|(name, _)| name.contains("partial")));
    home.write("mine/holiday.txt", b"");
    let error = pack(&from, &home.locations(), &home.at("mine"), &OPTIONS).unwrap_err().to_string();
    assert!(error.contains("mine is not empty"), "{error}");
}

#[test]
fn training_pictures_are_shuffled_by_the_seed() {
    let home = Home::new();
    let from = folder(&home);
    let labels = |name: &str, shuffle| {
        pack(&from, &home.locations(), &home.at(name), &PackOptions { shuffle, ..OPTIONS }).unwrap();
        let set = home.open(&packed(&home, name), Split::Train).unwrap();
        values(&*set)
    };
    let (plain, first, again, second) =
        (labels("a", None), labels("b", Some(1)), labels("c", Some(1)), labels("d", Some(2)));
    assert!(first == again && first != second && first != plain);
    let sorted = |mut all: Vec<_>| {
        all.sort_unstable();
        all
    };
    assert_eq!(sorted(first), sorted(plain));
}

#[test]
fn the_command_packs_what_verify_takes_and_verify_reads_it() {
    let home = Home::new();
    folder(&home);
    let run = |arguments: &[&str]| {
        let output = home.command(arguments).output().unwrap();
        (output.status.code(), told(&output))
    };
    let text = |path: PathBuf| path.display().to_string();
    let (photos, out) = (text(home.at("photos")), text(home.at("out")));
    let (code, report) = run(&["data", "pack", &photos, "--out", &out, "--per-shard", "10", "--shuffle"]);
    assert!(code == Some(0) && report.contains("23 pictures in 3 shards"), "{report}");
    for what in [&out, &text(home.at("out/train-{000000..000002}.tar"))] {
        let (code, report) = run(&["data", "verify", what]);
        assert!(code == Some(0) && report.contains("train: 23 images, 0 unreadable"), "{report}");
        assert!(report.contains("an ant  8"), "{report}");
    }
    let (code, report) = run(&["data", "pack", &photos, "--out", &out, "--per-shard", "9"]);
    assert!(code == Some(1) && report.contains("give another --out"), "{report}");
    for wrong in [
        &["--size", "0"][..],
        &["--quality", "101"],
        &["--shard-size", "1T"],
        &["--per-shard", "0"],
        &["--quality", "80"],
    ] {
        let (code, report) = run(&[&["data", "pack", &photos, "--out", &text(home.at("x"))], wrong].concat());
        assert_eq!(code, Some(2), "{wrong:?}: {report}");
    }
}
