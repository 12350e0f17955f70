//! `results.json` of a finished stage, up to the whole report.
#![no_main]
use hueristic::{
    report::{ReportOptions, write_report},
    train::manifest::{Manifest, Status},
};
use hueristic_fuzz::{checked, folder, seeds, start};
use std::fs;

libfuzzer_sys::fuzz_target!(
    init: start(256, seeds::results::results),
    |data: &[u8]| {
        let (run, out) = (folder().join("run"), folder().join("report"));
        fs::create_dir_all(&run).expect("a run directory");
        fs::write(run.join("results.json"), data).expect("results");
        let mut manifest = Manifest { status: Status::Finished, ..Manifest::begin() };
        manifest.set_outputs(&run).and_then(|()| manifest.write(&run)).expect("a manifest");
        checked(write_report(&[run], &out, &ReportOptions { published: true, page: Some(0) }));
    }
);
