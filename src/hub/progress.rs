//! A progress bar on stderr; hidden if stderr is not a terminal or nothing is transferred.

use crate::progress;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler, UploadEvent};
use indicatif::ProgressBar;
use std::path::Path;

pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar labeled with the file name of `file`.
    pub fn new(file: &str) -> Self {
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self(progress::byte_bar(&name))
    }

    fn down(&self, event: &DownloadEvent) {
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.0.set_length(*total_bytes),
            DownloadEvent::Progress { files } => {
                files.iter().for_each(|file| self.0.set_position(file.bytes_completed));
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => self.0.set_position(*bytes_completed),
            DownloadEvent::Complete => self.0.finish_and_clear(),
        }
    }

    fn up(&self, event: &UploadEvent) {
        match event {
            UploadEvent::Start { total_bytes, .. } => self.0.set_length(*total_bytes),
            UploadEvent::Progress { bytes_completed, .. } => self.0.set_position(*bytes_completed),
            UploadEvent::Committing => self.0.set_message("committing"),
            UploadEvent::Complete => self.0.finish_and_clear(),
        }
    }
}

impl ProgressHandler for Bar {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(event) => self.down(event),
            ProgressEvent::Upload(event) => self.up(event),
        }
    }
}
