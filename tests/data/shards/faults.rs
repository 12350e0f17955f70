//! Shards that are missing, cut, changed or none; labels that cannot be used.

use super::*;
use std::{
    io,
    sync::{Mutex, PoisonError},
};

/// What `work` logs as warnings in this thread.
fn warnings<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (result, text.lines().map(String::from).collect())
}

#[test]
fn patterns_that_name_nothing_say_what_was_expected() {
    let home = Home::new();
    home.write("t-000.tar", &labeled(&[(1, 0)]));
    home.write("notes.txt", b"");
    fs::create_dir(home.at("empty")).unwrap();
    for (pattern, part) in [
        ("u-000.tar", "not found; expected WebDataset shards"),
        ("u-{000..010}.tar", "not found; expected WebDataset shards"),
        ("u-*.tar", "no file has such a name"),
        ("empty", "no file in this folder ends in .tar"),
        ("t-{000..00a}.tar", "neither a range of numbers nor a list"),
        ("t-{000..001.tar", "has a `{` without `}`"),
        ("t-{000..003}.tar", "t-001.tar is missing (3 of 4 are)"),
    ] {
        let error = home.refusal(&shards(home.at(pattern), None), Split::Train);
        assert!(error.contains(part), "{pattern}: {error}");
    }
    let none = home.refusal(&shards(home.at("t-000.tar"), None), Split::Val);
    assert!(none.contains("add `val:`"), "{none}");
    home.write("v.tar", &tar(&[("a.cls", b"1"), ("a.npy", b"")]));
    let empty = home.refusal(&shards(home.at("v.tar"), None), Split::Train);
    assert!(empty.contains("v.tar: holds no images"), "{empty}");
}

#[test]
fn what_is_no_shard_is_named() {
    let home = Home::new();
    let image = png(1);
    for (name, bytes, part) in [
        ("a.tar", b"\x1f\x8b\x08\0compressed".to_vec(), "a.tar is compressed (gzip)"),
        ("b.tar", image.repeat(20), "b.tar is no tar archive"),
        ("c.tar", tar(&[("1.png", &image), ("1.png", &image)]), "c.tar has `1.png` twice"),
        (
            "d.tar",
            tar(&[("1.png", &image), ("2.png", &image), ("1.cls", b"0")]),
            "d.tar has the key `1` at two places",
        ),
    ] {
        let path = home.write(name, &bytes);
        let error = home.refusal(&shards(&path, None), Split::Train);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn labels_that_cannot_be_used_matter_to_who_needs_them_alone() {
    let home = Home::new();
    let image = png(1);
    for (members, part) in [
        (
            &[("a.cls", &b"1"[..]), ("a.png", &image), ("b.png", &image)][..],
            "1 of 2 samples have no label, `b` is the first",
        ),
        (
            &[("a.cls", b"1"), ("a.png", &image), ("b.cls", b"cat"), ("b.png", &image)],
            "`cat` is a name, but `1`",
        ),
        (&[("a.json", b"{"), ("a.png", &image)], "the label of `a`: its JSON is damaged"),
    ] {
        let path = home.write("t.tar", &tar(members));
        let set = home.open(&shards(&path, None), Split::Train).unwrap();
        assert!(
            set.classes().is_empty()
                && values(&*set).iter().all(|(value, label)| (*value, *label) == (1, None))
        );
        assert!(set.why_unlabeled().unwrap().contains(part), "{:?}", set.why_unlabeled());
    }
    let path = home.write("t.tar", &labeled(&[(1, 0), (2, 2)]));
    home.write("classes.json", br#"["ant", "bee"]"#);
    let set = home.open(&shards(&path, None), Split::Train).unwrap();
    assert!(set.why_unlabeled().unwrap().contains("label 2 has no name in classes.json"));
    home.write("classes.json", b"ant bee");
    let error = home.refusal(&shards(&path, None), Split::Train);
    assert!(error.contains("classes.json: expected a JSON list"), "{error}");
}

#[test]
fn links_and_samples_without_pictures_are_counted_in_one_warning() {
    let home = Home::new();
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name) in [
        (tar::EntryType::Regular, "1.png"),
        (tar::EntryType::Link, "2.png"),
        (tar::EntryType::Symlink, "3.png"),
        (tar::EntryType::Directory, "folder"),
        (tar::EntryType::Regular, "4.npy"),
    ] {
        let (image, mut header) = (png(1), tar::Header::new_ustar());
        let content = if kind == tar::EntryType::Regular { &image[..] } else { &[] };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if matches!(kind, tar::EntryType::Link | tar::EntryType::Symlink) {
            header.set_link_name("1.png").unwrap();
        }
        builder.append_data(&mut header, name, content).unwrap();
    }
    let path = home.write("t.tar", &builder.into_inner().unwrap());
    for opening in 0..2 {
        let (set, lines) = warnings(|| home.open(&shards(&path, None), Split::Train).unwrap());
        assert_eq!((set.len(), lines.len()), (1, 1), "opening {opening}: {lines:?}");
        let skipped = "skipped 1 hard link, 1 symbolic link, 1 folder, 1 sample without a picture";
        assert!(lines[0].contains(skipped), "{lines:?}");
    }
}

/// One of the twelve shards cannot be used: its five pictures count as unreadable, and one warning names it.
#[test]
fn a_cut_or_missing_shard_counts_its_pictures_as_unreadable() {
    let home = Home::new();
    let pattern = twelve(&home);
    let sound = shards(&pattern, None);
    home.open(&sound, Split::Train).unwrap();
    let damaged = home.at("t-004.tar");
    let whole = fs::read(&damaged).unwrap();
    let cut = || fs::write(&damaged, &whole[..whole.len() - 1024]).unwrap();
    let remove = || fs::remove_file(&damaged).unwrap();
    for (damage, reason) in
        [(&cut as &dyn Fn(), "t-004.tar is cut: it ends at byte"), (&remove, "t-004.tar is missing")]
    {
        fs::write(&damaged, &whole).unwrap();
        home.open(&sound, Split::Train).unwrap();
        damage();
        let tolerant = DataSpec { max_bad: Fraction::of(0.1), ..sound.clone() };
        let (batches, lines) = warnings(|| {
            let set = home.open(&tolerant, Split::Train).unwrap();
            assert_eq!(set.len(), 60);
            take(&mut loader(&set, &tolerant, 10), 12)
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(reason) && lines[0].contains("its images are skipped"), "{lines:?}");
        let images: Vec<usize> = batches.into_iter().flat_map(|batch| batch.0).collect();
        assert!(images.len() == 120 && !images.iter().any(|image| (20..25).contains(image)));
        let strict = DataSpec { max_bad: Fraction::of(0.05), ..sound.clone() };
        let mut strict_loader = loader(&home.open(&strict, Split::Train).unwrap(), &strict, 10);
        let error = (0..12).find_map(|_| strict_loader.next_batch().err()).unwrap().to_string();
        assert!(error.contains("of 60 images cannot be read") && error.contains(reason), "{error}");
    }
}

/// One of the twelve shards is not there and was never: with a tolerance its share is left out, and one warning names it.
#[test]
fn a_missing_shard_that_was_never_indexed_is_left_out() {
    let home = Home::new();
    let sound = shards(twelve(&home), None);
    fs::remove_file(home.at("t-004.tar")).unwrap();
    let of = |share| DataSpec { max_bad: Fraction::of(share), ..sound.clone() };
    let (set, lines) = warnings(|| home.open(&of(0.1), Split::Train).unwrap());
    assert_eq!((set.len(), lines.len()), (55, 1), "{lines:?}");
    assert!(lines[0].contains("t-004.tar is missing (1 of 12 are) and was never indexed"), "{lines:?}");
    let error = home.refusal(&of(0.08), Split::Train);
    assert!(error.contains("t-004.tar is missing (1 of 12 are); copy what is missing"), "{error}");
}

#[test]
fn a_shard_that_changes_after_it_was_indexed_is_refused_by_name() {
    let home = Home::new();
    let path = home.write("t.tar", &labeled(&[(1, 0), (2, 1)]));
    let spec = DataSpec { cache: false, ..shards(&path, None) };
    let set = home.open(&spec, Split::Train).unwrap();
    assert_eq!(values(&*set).len(), 2);
    fs::write(&path, labeled(&[(3, 0), (4, 1), (5, 1)])).unwrap();
    let error = set.image(0).unwrap_err().to_string();
    assert!(error.contains("t.tar has changed since it was indexed"), "{error}");
    assert_eq!(values(&*home.open(&spec, Split::Train).unwrap()), [(3, Some(0)), (4, Some(1)), (5, Some(1))]);
}

#[test]
fn a_broken_picture_is_one_bad_image() {
    let home = Home::new();
    let image = png(1);
    let path = home.write("t.tar", &tar(&[("a.png", &image), ("b.png", b"none")]));
    let set = home.open(&shards(&path, None), Split::Train).unwrap();
    assert!(set.image(0).is_ok());
    let error = set.image(1).unwrap_err().to_string();
    assert!(error.contains("t.tar: b: not an image"), "{error}");
}

#[cfg(not(feature = "stores"))]
#[test]
fn without_its_feature_a_server_says_how_to_build() {
    for address in ["https://127.0.0.1/t-{0..1}.tar", "s3://bucket/t-{0..1}.tar"] {
        let error = Home::new().refusal(&shards(address, None), Split::Train);
        assert!(error.contains("--features stores") && error.contains("download the shards"), "{error}");
    }
}
