//! `weights inspect` and `weights convert` as a user meets them.

use super::{FILES, fixture};
use std::{
    path::Path,
    process::{Command, Output},
};

fn hueristic(verb: &str, arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.args(["weights", verb]).args(arguments).env_remove("RUST_LOG").output().expect("it runs")
}

fn says(verb: &str, arguments: &[&Path]) -> String {
    let output = hueristic(verb, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The message of a bad usage.
fn refuses(arguments: &[&Path]) -> String {
    let output = hueristic("convert", arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    message
}

#[test]
fn inspect_names_format_and_layout() {
    let layouts = [
        "eccv16 (VGG colorizer)",
        "caffe (VGG colorizer)",
        "caffe (AlexNet)",
        "caffe (AlexNet)",
        "caffe (VGG-16)",
        "torchvision (VGG-16)",
        "torchvision (AlexNet)",
        "not recognised",
    ];
    for (file, layout) in FILES.iter().zip(layouts) {
        let text = says("inspect", &[&fixture(file)]);
        let format = if file.ends_with(".pth") { "PyTorch state dict" } else { "Caffe model" };
        assert!(text.contains(&format!("format: {format}\nlayout: {layout}\n")), "{file}: {text}");
    }
    let text = says("inspect", &[&fixture("eccv16.pth")]);
    assert!(text.contains("model8.0.weight") && text.contains("8×8×4×4"), "{text}");
}

#[test]
fn convert_says_what_it_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("colorizer.safetensors");
    let text = says("convert", &[&fixture("eccv16.pth"), &out]);
    for part in
        ["layout eccv16", "layout ours", "model1.0.bias → conv1_1.bias", "divided by 100", "temperature: 1.0"]
    {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let back = folder.path().join("back.pth");
    assert!(says("convert", &[&out, &back]).contains("layout eccv16"));
    let caffe = folder.path().join("back.caffemodel");
    assert!(says("convert", &[&out, &caffe]).contains("Scale layers"));
    assert!(says("inspect", &[&caffe]).contains("bw_conv1_1.weight"));
}

#[test]
fn convert_refuses_what_it_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("in.pth");
    std::fs::copy(fixture("eccv16.pth"), &copy).expect("a copy");
    let kept = std::fs::read(&copy).expect("the copy");
    assert!(refuses(&[&copy, &copy]).contains("both input and output"));
    assert!(refuses(&[&copy, &folder.path().join("out.onnx")]).contains("call it .safetensors, .pth"));
    let other = folder.path().join("out.pth");
    std::fs::write(&other, b"mine").expect("a file");
    assert!(refuses(&[&copy, &other]).contains("--overwrite"));
    assert_eq!(std::fs::read(&other).expect("still there"), b"mine");
    says("convert", &[&copy, &other, Path::new("--overwrite")]);
    assert_eq!(std::fs::read(&copy).expect("the input"), kept);
    let output =
        hueristic("convert", &[&copy, &folder.path().join("x.caffemodel"), "--layout=ours".as_ref()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--layout caffe"));
    assert!(!folder.path().join("x.caffemodel").exists());
}
