//! Panels as PNG files: `pictures/NAME-STEP.png`, with the newest also at `pictures/latest.png`.

use super::task::ImagePanel;
use crate::atomic_write;
use anyhow::{Context, Result, ensure};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use std::{fs, path::Path};

/// Encodes the panel as PNG.
pub fn encode(panel: &ImagePanel) -> Result<Vec<u8>> {
    let (width, height) = (panel.width, panel.height);
    ensure!(
        panel.rgb.len() == 3 * width * height,
        "the picture `{}` of {width} × {height} pixels has {} bytes, not {}",
        panel.name,
        panel.rgb.len(),
        3 * width * height
    );
    let mut png = vec![];
    PngEncoder::new(&mut png)
        .write_image(&panel.rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
        .with_context(|| format!("cannot encode the picture `{}` of {width} × {height} pixels", panel.name))?;
    Ok(png)
}

/// Writes an encoded panel into the run directory `run`.
pub fn store(run: &Path, name: &str, step: usize, png: &[u8]) -> Result<()> {
    let folder = run.join("pictures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for file in [format!("{}-{step:06}.png", portable_name(name)), "latest.png".into()] {
        let path = folder.join(file);
        atomic_write::write(&path, png)
            .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
    }
    Ok(())
}

/// Replaces characters that are not portable in file names.
fn portable_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_back_from_both_files() {
        let run = tempfile::tempdir().unwrap();
        let rgb = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7, 1, 2, 3, 250, 251, 252];
        let panel = ImagePanel { name: "gray/truth".into(), width: 3, height: 2, rgb: rgb.clone() };
        store(run.path(), &panel.name, 40, &encode(&panel).unwrap()).unwrap();
        for file in ["gray-truth-000040.png", "latest.png"] {
            let read = image::open(run.path().join("pictures").join(file)).unwrap().into_rgb8();
            assert_eq!((read.dimensions(), read.into_raw()), ((3, 2), rgb.clone()));
        }
    }

    #[test]
    fn a_panel_of_the_wrong_size_is_refused() {
        let panel = ImagePanel { name: "p".into(), width: 2, height: 2, rgb: vec![0; 11] };
        let error = encode(&panel).unwrap_err().to_string();
        assert_eq!(error, "the picture `p` of 2 × 2 pixels has 11 bytes, not 12");
    }
}
