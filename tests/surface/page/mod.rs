//! The report page: what is in it, that it loads nothing and names no host, that nothing of its texts becomes markup, its
//! size, its speed, and how it looks in a browser.

mod browser;
mod runs;

use hueristic::report::{ReportOptions, page, write_report};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

const PAGE: ReportOptions = ReportOptions { published: false, page: Some(0) };

/// The page of the synthetic runs, and its path.
fn page_of_runs(name: &str, options: &ReportOptions) -> (String, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    runs::write(&home.path().join("paper"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let path = write_report(&[home.path().into()], &out, options).unwrap().page.unwrap();
    (fs::read_to_string(&path).unwrap(), path)
}

/// Values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    page.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn a_page_has_every_section_and_loads_nothing() {
    let (page, _) = page_of_runs("page", &PAGE);
    for id in [
        "warnings",
        "probes",
        "classes",
        "transfer",
        "colorization",
        "curves",
        "pictures",
        "specs",
        "layers",
        "runs",
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "no section {id}");
    }
    assert!(values(&page, "href").iter().all(|target| target.starts_with('#')));
    assert!(values(&page, "src").iter().all(|source| source.starts_with("data:image/jpeg;base64,")));
    for loads in
        ["<link", "<iframe", "<object", "<embed", "@import", "url(", "srcset", "xlink:", "fetch(", "import("]
    {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(page.contains(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ));
}

#[test]
fn no_text_becomes_markup_and_none_names_a_host_or_a_home() {
    let (page, _) = page_of_runs("page-hostile", &PAGE);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "the hostile name is not there");
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(
        !page.contains('\u{202e}') && page.contains("onload=x \u{fffd}שלום"),
        "names turn what follows them"
    );
    assert!(!page.contains("zoe") && page.contains("(a): "), "a path keeps its last part");
}

#[test]
fn what_is_missing_is_said_first() {
    let (page, _) = page_of_runs("page-missing", &PAGE);
    let warnings = page.split("<section id=\"probes\">").next().unwrap();
    for said in [
        "failed after 12 steps: the loss is not finite",
        "interrupted after 70 steps",
        "waiting for data 40 %",
        "1 line of its log cannot be read",
    ] {
        assert!(warnings.contains(said), "{said}");
    }
    assert!(page.contains("17 runs, 15 finished"), "{}", &page[page.find("<header>").unwrap()..][..400]);
}

#[test]
fn curves_classes_and_specs_are_as_in_the_runs() {
    let (page, _) = page_of_runs("page-contents", &PAGE);
    for text in [
        "training loss",
        "validation rmse",
        "monitor: kNN top-1 (%)",
        "monitor: RankMe",
        "top-1 accuracy (%)",
        ">mAP (%)<",
        ">mean IU (%)<",
        ">top-1 (%)<",
        "Class. all, by class: mAP in % on voc2007",
        "Top-1 accuracy in % by class",
        "color conv5: confusion matrix, 2 seeds added up",
        "labels: confusion matrix",
        "<th scope=\"row\">train.optimizer.adam.lr</th>",
        "<mark>",
        "color, seed 0",
        "conv1   conv   27×27×24",
        "6 of 9 colorized examples",
        "4 of 4 panels that runs drew",
        "2026-01-01 10:00:00",
        "1:02:03",
        "2.50",
    ] {
        assert!(page.contains(text), "no `{text}`");
    }
    assert!(!page.contains("Zhang, Isola"), "published rows were not asked for");
    let (published, _) = page_of_runs("page-published", &ReportOptions { published: true, ..PAGE });
    assert!(published.contains("<th scope=\"rowgroup\"") && published.contains("Zhang, Isola"));
    assert!(published.contains("path class=\"mark\"") && published.contains("<b>a</b> ImageNet labels"));
}

#[test]
fn the_sample_of_pictures_is_that_of_its_seed() {
    let of = |name, seed| {
        let (page, _) = page_of_runs(name, &ReportOptions { page: Some(seed), ..PAGE });
        let section = page.split("<section id=\"pictures\">").nth(1).unwrap().to_string();
        section.split("</section>").next().unwrap().replace("(seed 1)", "").replace("(seed 2)", "")
    };
    assert_eq!(of("page-seed", 1), of("page-seed", 1));
    assert_ne!(of("page-seed", 1), of("page-seed", 2));
}

#[test]
fn runs_without_results_have_a_page_and_none_have_none() {
    let home = tempfile::tempdir().unwrap();
    let run = runs::Run { home: home.path(), label: "color", seed: 0, hash: 'a', status: "running" };
    let dir = run.write("  pretext: {}\n", serde_json::json!({}));
    fs::write(dir.join("metrics.jsonl"), runs::log(100, 0.0)).unwrap();
    let paths = write_report(&[home.path().into()], &home.path().join("out"), &PAGE).unwrap();
    assert!(paths.tables.is_empty() && paths.to_string().starts_with("page "), "{paths}");
    assert!(fs::read_to_string(paths.page.unwrap()).unwrap().contains("not finished after 2000 steps"));
    assert!(
        write_report(&[home.path().into()], &home.path().join("out"), &ReportOptions::default()).is_err()
    );
    fs::remove_dir_all(dir).unwrap();
    assert!(write_report(&[home.path().into()], &home.path().join("out"), &PAGE).is_err());
}

/// 200 runs with 10,000 logged steps each: under 5 seconds, 500 MB and 5 MB of page, in a release build.
#[test]
#[ignore = "half a gigabyte of logs"]
fn two_hundred_long_runs_are_quick_and_small() {
    let home = tempfile::tempdir().unwrap();
    let log = runs::log(10_000, 0.3);
    for at in 0..200u64 {
        let label = format!("variant{}", at / 5);
        let run = runs::Run { home: home.path(), label: &label, seed: at % 5, hash: 'a', status: "finished" };
        let dir = run.write(&format!("  pretext: {{ lr: {} }}\n", at / 5), serde_json::json!({}));
        fs::write(dir.join("metrics.jsonl"), &log).unwrap();
    }
    let start = Instant::now();
    let path = write_report(&[home.path().into()], &home.path().join("out"), &PAGE).unwrap().page.unwrap();
    let (seconds, bytes) = (start.elapsed().as_secs_f64(), fs::metadata(path).unwrap().len() as usize);
    let memory = hueristic::train::manifest::peak_memory();
    println!("{seconds:.2} s, {bytes} bytes of page, peak memory {memory:?}");
    assert!(seconds < 5.0 && bytes < page::BUDGET && memory.is_none_or(|peak| peak < 500_000_000));
}
