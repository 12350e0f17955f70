//! Our own file of proposals: what is read is written and read again.
#![no_main]
use hueristic::{boxes::Rect, data::proposals::Proposals};
use hueristic_fuzz::{checked, file, folder, seeds, start};

fn made() -> Vec<Vec<u8>> {
    let boxes = vec![Rect::new(0., 1., 30.5, 40.), Rect::new(2., 2., 2., 2.)];
    let proposals = Proposals::new(vec![("z".into(), boxes), ("a".into(), vec![])]).expect("sound boxes");
    vec![seeds::written("p.safetensors", |path| proposals.write(path, "a seed"))]
}

libfuzzer_sys::fuzz_target!(
    init: start(64, made),
    |data: &[u8]| {
        if let Some(read) = checked(Proposals::read(&file("p.safetensors", data))) {
            let again = folder().join("again.safetensors");
            read.write(&again, "a target").expect("proposals that were read can be written");
            assert!(Proposals::read(&again).expect("our own file") == read);
        }
    }
);
