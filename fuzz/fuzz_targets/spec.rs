//! Experiments as YAML: whatever is accepted prints as YAML of the same meaning. Lines `--set KEY=VALUE` before the
//! file are applied to it.
#![no_main]
use hueristic::{
    experiment::Experiment,
    spec::{hash, resolved_yaml},
};
use hueristic_fuzz::{checked, file, seeds, start};

/// The arguments before the file, and the file.
fn parts(text: &str) -> (Vec<String>, &str) {
    let (mut sets, mut rest) = (vec![], text);
    while let Some((line, after)) = rest.split_once('\n') {
        let Some(set) = line.strip_prefix("--set ") else { break };
        sets.push(set.to_owned());
        rest = after;
    }
    (sets, rest)
}

fn made() -> Vec<Vec<u8>> {
    let mut made = seeds::files("experiments", &["yaml"]);
    let set = b"--set seeds=[0,1]\n--set colorization.train.steps=50\n".to_vec();
    made.extend(
        seeds::files("experiments/tiny", &["yaml"]).into_iter().map(|file| [set.clone(), file].concat()),
    );
    made
}

libfuzzer_sys::fuzz_target!(
    init: start(256, made),
    |data: &[u8]| {
        let text = String::from_utf8_lossy(data);
        let (sets, rest) = parts(&text);
        let bytes = if sets.is_empty() { data } else { rest.as_bytes() };
        if let Some(spec) = checked(Experiment::load(&file("spec.yaml", bytes), &sets)) {
            let yaml = resolved_yaml(&spec).expect("a spec is YAML");
            let again = Experiment::load(&file("again.yaml", yaml.as_bytes()), &[]);
            let again = again.unwrap_or_else(|error| panic!("{yaml}\nis refused: {error}"));
            assert_eq!(hash(&again).expect("JSON"), hash(&spec).expect("JSON"), "{yaml}");
        }
    }
);
