//! Weight files by hub address.

use super::{
    hueristic,
    stand_in::{Answer, COMMIT, StandIn},
};
use candle_core::{DType, Device, Tensor};
use hueristic::nn::weights;
use std::{collections::BTreeMap, fs, path::Path};

const ADDRESS: &str = "hf://somebody/colors/seeds/0.safetensors";

fn weight_file() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let tensor = Tensor::ones(&[4, 3, 3, 1], DType::F32, &Device::Cpu).unwrap();
    weights::write(&[("conv1.weight", &tensor)], &BTreeMap::new(), &path).unwrap();
    fs::read(path).unwrap()
}

/// Serves the file on `main`, at the tag `v1.0` and at the commit; `secret/…` is gated.
fn stand_in() -> StandIn {
    let file = weight_file();
    StandIn::answering(move |asked| {
        let (_, path) = asked.line.split_once(' ')?;
        if path.starts_with("/secret/") && asked.token.is_none() {
            return Some(Answer::json(
                "401 Unauthorized",
                "{\"error\":\"Access to model secret is restricted\"}",
            ));
        }
        let (repo, rest) = path.split_once("/resolve/")?;
        let (revision, name) = rest.split_once('/')?;
        let known = matches!(repo, "/somebody/colors" | "/secret/colors") && name == "seeds/0.safetensors";
        (known && ["main", "v1.0", COMMIT].contains(&revision)).then(|| Answer::file(&file))
    })
}

fn inspect(
    home: &Path,
    server: &StandIn,
    address: &str,
    more: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    hueristic(home, &server.endpoint, &["weights", "inspect", address], more)
}

#[test]
fn a_file_arrives_once_is_kept_and_found_offline() {
    let (home, server) = (tempfile::tempdir().unwrap(), stand_in());
    let url = "/somebody/colors/resolve/main/seeds/0.safetensors";
    let (code, out, err) = inspect(home.path(), &server, ADDRESS, &[]);
    assert!(code == Some(0) && out.contains("1 tensor, 36 numbers") && out.contains("4×1×3×3"), "{out}{err}");
    assert_eq!(server.asked(), [format!("HEAD {url}"), format!("GET {url}")]);
    let cached =
        home.path().join("hub/models--somebody--colors/snapshots").join(COMMIT).join("seeds/0.safetensors");
    assert_eq!(fs::read(&cached).unwrap(), weight_file());

    let (code, ..) = inspect(home.path(), &server, ADDRESS, &[]);
    assert_eq!((code, server.asked()), (Some(0), vec![format!("HEAD {url}")]), "the file was fetched twice");

    let (code, out, _) = inspect(home.path(), &server, ADDRESS, &[("HF_HUB_OFFLINE", "1")]);
    assert!(code == Some(0) && out.contains("36 numbers"), "{out}");
    // A commit is immutable, so its cached copy needs no request.
    let (code, ..) = inspect(home.path(), &server, &format!("{ADDRESS}@{COMMIT}"), &[]);
    assert_eq!((code, server.asked()), (Some(0), vec![]), "a request was made");
}

#[test]
fn a_revision_is_asked_for() {
    let (home, server) = (tempfile::tempdir().unwrap(), stand_in());
    let (code, ..) = inspect(home.path(), &server, &format!("{ADDRESS}@v1.0"), &[]);
    assert_eq!(
        (code, &server.asked()[0][..]),
        (Some(0), "HEAD /somebody/colors/resolve/v1.0/seeds/0.safetensors")
    );
}

#[test]
fn what_cannot_be_fetched_says_what_to_do() {
    let (home, server) = (tempfile::tempdir().unwrap(), stand_in());
    for (address, more, parts) in [
        (
            "hf://somebody/colors/none",
            None,
            ["hf://somebody/colors: none", "Entry not found", "check the names"],
        ),
        (
            "hf://somebody/colors/seeds/0.safetensors@v2",
            None,
            ["hf://somebody/colors@v2", "not found", "revision"],
        ),
        (
            "hf://secret/colors/seeds/0.safetensors",
            None,
            ["Authentication required", "accept its terms", "HF_TOKEN"],
        ),
        (
            ADDRESS,
            Some(("HF_HUB_OFFLINE", "1")),
            ["not in the cache", "HF_HUB_OFFLINE forbids", "local copy"],
        ),
    ] {
        let (code, out, err) = inspect(home.path(), &server, address, more.as_slice());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{address}");
        assert!(parts.iter().all(|part| err.contains(part)), "{address}: {err}");
    }
    let (code, _, err) = inspect(home.path(), &server, "hf://somebody/colors", &[]);
    assert!(code == Some(2) && err.contains("no file in the repository"), "{err}");
}

#[test]
fn a_token_opens_a_gated_repository() {
    let (home, server) = (tempfile::tempdir().unwrap(), stand_in());
    let address = "hf://secret/colors/seeds/0.safetensors";
    let (code, _, err) = inspect(home.path(), &server, address, &[("HF_TOKEN", "hf_key")]);
    assert_eq!(code, Some(0), "{err}");
    let asked = server.requests();
    assert!(asked.iter().all(|a| a.token.as_deref() == Some("Bearer hf_key")), "{asked:?}");
}
