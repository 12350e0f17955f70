//! How the page looks in headless Chromium (`scripts/page_screenshots.sh`): against references, at two widths. Fonts
//! differ between machines, so coarse pictures are compared with a tolerance.

use super::{PAGE, page_of_runs};
use crate::skipping::skipped;
use image::{GrayImage, imageops::FilterType};
use std::{fs, path::Path, process::Command};

/// Exit code of the script without a browser.
const NO_BROWSER: i32 = 3;
/// Width of the compared pictures.
const COARSE: u32 = 96;
/// Largest mean difference of gray values, 0 to 255.
const TOLERANCE: f64 = 12.0;

#[test]
fn the_page_looks_as_before_and_never_scrolls_sideways() {
    let (_, page) = page_of_runs("page-browser", &PAGE);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = page.with_file_name("screenshots");
    let script =
        Command::new("bash").arg(root.join("scripts/page_screenshots.sh")).arg(&page).arg(&out).output();
    let output = match script {
        Err(error) => return skipped("no bash", error),
        Ok(output) if output.status.code() == Some(NO_BROWSER) => {
            return skipped("no Chromium", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output) => output,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for width in [1280, 390] {
        let line = format!("{width} pixels: content {width}, requests 0, blocked 0, sortable");
        assert!(said.contains(&line), "no `{line}` in\n{said}");
        let new = coarse(&out.join(format!("{width}.png")), width);
        compare(&new, &root.join(format!("tests/fixtures/page/{width}.png")));
    }
}

/// Compares a screenshot with its reference, which HUERISTIC_PAGE_REFERENCES=write replaces.
fn compare(new: &GrayImage, reference: &Path) {
    if std::env::var_os("HUERISTIC_PAGE_REFERENCES").is_some() {
        fs::create_dir_all(reference.parent().unwrap()).unwrap();
        return new.save(reference).unwrap();
    }
    let old = image::open(reference).unwrap().into_luma8();
    assert_eq!(new.width(), old.width());
    let rows = new.height().min(old.height());
    assert!(
        rows.abs_diff(new.height().max(old.height())) * 5 < rows,
        "the page's length changed by more than a fifth"
    );
    let pixels = (0..rows).flat_map(|y| (0..COARSE).map(move |x| (x, y)));
    let difference = |(x, y)| f64::from(new.get_pixel(x, y).0[0].abs_diff(old.get_pixel(x, y).0[0]));
    let mean = pixels.map(difference).sum::<f64>() / f64::from(COARSE * rows);
    assert!(mean < TOLERANCE, "mean difference from {} {mean:.1}, of {TOLERANCE}", reference.display());
}

/// The screenshot of a page of `width` pixels in gray at the compared width.
fn coarse(path: &Path, width: u32) -> GrayImage {
    // Windows have a least width: the page is at the left.
    let window = image::open(path).unwrap();
    let image = window.crop_imm(0, 0, width, window.height());
    let height = COARSE * image.height() / image.width();
    image.resize_exact(COARSE, height, FilterType::Triangle).into_luma8()
}
