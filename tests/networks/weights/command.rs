//! `weights inspect` and `weights convert` as a user meets them.

use super::{
    FILES, fixture,
    pickles::{dict, file, state_dict, two},
};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::exchange,
    nn::weights::{self, Named, pth},
};
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
        "not recognized",
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
    assert!(refuses(&[&copy, &folder.path().join("out.onnx")]).contains("use .safetensors, .pth"));
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

/// The message of a failure.
fn fails(verb: &str, arguments: &[&Path]) -> String {
    let output = hueristic(verb, arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    message
}

/// A fixture's tensors, changed, as a state dict.
fn changed(name: &str, out: &Path, change: impl FnOnce(&mut Named)) {
    let (mut tensors, _) = weights::read(&fixture(name)).expect("the oracle");
    change(&mut tensors);
    let list: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    pth::write(&list, &Default::default(), out).expect("a folder to write to");
}

#[test]
fn keys_choose_one_network_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both.pth");
    let both = dict(&[("teacher", state_dict("", 0)), ("student", state_dict("", 2))]);
    std::fs::write(&path, file(&both, &[two(), two()].concat())).expect("a file");
    let text = says("inspect", &[&path]);
    assert!(text.contains("`teacher` (2 tensors, 4 parameters)") && text.contains("`student`"), "{text}");
    let keyed = |path: &Path, key: &str| std::path::PathBuf::from(format!("{}#{key}", path.display()));
    assert!(says("inspect", &[&keyed(&path, "student")]).contains("2 tensors, 4 numbers"));
    let odd = folder.path().join("odd#student.pth");
    std::fs::copy(&path, &odd).expect("a copy");
    assert!(says("inspect", &[&odd]).contains("`teacher`"));
    assert!(says("inspect", &[&keyed(&odd, "teacher")]).contains("2 tensors, 4 numbers"));
    let error = fails("convert", &[&path, &folder.path().join("out.safetensors")]);
    assert!(error.contains("choose one as FILE#KEY") && error.contains("`student`"), "{error}");
}

/// Two encoders in one dict differ by the beginning of their names; the whole network is under neither.
#[test]
fn prefixes_are_recognized_and_chosen_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("one.pth"), folder.path().join("two.pth"));
    let renamed = |prefixes: &[&str]| {
        let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        move |tensors: &mut Named| {
            let before = std::mem::take(tensors);
            for (prefix, (name, tensor)) in
                prefixes.iter().flat_map(|p| before.iter().map(move |pair| (p, pair)))
            {
                tensors.insert(format!("{prefix}{name}"), tensor.clone());
            }
        }
    };
    changed("alexnet.pth", &one, renamed(&["model.net."]));
    changed("alexnet.pth", &two, renamed(&["m.q.", "m.k."]));
    assert!(says("inspect", &[&one]).contains("layout: torchvision (AlexNet)"));
    let text = says("inspect", &[&two]);
    assert!(text.contains("not usable") && text.contains("`m.k` (16 tensors"), "{text}");
    let out = folder.path().join("out.safetensors");
    assert!(fails("convert", &[&two, &out]).contains("`m.q` (16 tensors"));
    let key = std::path::PathBuf::from(format!("{}#m.q", two.display()));
    assert!(says("convert", &[&key, &out]).contains("layout torchvision"));
}

#[test]
fn missing_numbers_are_damage_unless_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, out) = (folder.path().join("cut.pth"), folder.path().join("out.safetensors"));
    for (name, lost, ours) in [
        ("eccv16.pth", "model3.2.bias", "conv3_2.bias"),
        ("eccv16.pth", "model8.0.bias", "conv8_1.bias"),
        ("eccv16.pth", "model2.4.running_var", "conv2_2norm.running_var"),
        ("eccv16.pth", "model5.2.weight", "conv5_2.weight"),
        ("alexnet.pth", "features.3.bias", "conv2.bias"),
        ("alexnet.pth", "classifier.6.bias", "fc8.bias"),
        ("vgg16_legacy.pth", "features.10.bias", "conv3_1.bias"),
    ] {
        changed(name, &path, |tensors| drop(tensors.remove(lost).expect("it was there")));
        let error = fails("convert", &[&path, &out, Path::new("--overwrite")]);
        assert!(error.contains(ours) && error.contains("--allow-missing"), "{lost}: {error}");
        let text = says("convert", &[&path, &out, Path::new("--overwrite"), Path::new("--allow-missing")]);
        assert!(text.contains(&format!("{ours} is not in the file")), "{lost}: {text}");
        let file = exchange::open(&out).expect("what was written");
        assert_eq!(file.tensors.contains_key(ours), ours.ends_with(".bias"), "{lost}");
    }
    // All of them.
    changed("eccv16.pth", &path, |tensors| tensors.retain(|name, _| !name.ends_with("bias")));
    let replace = Path::new("--overwrite");
    assert!(fails("convert", &[&path, &out, replace]).contains("and "));
}

/// A Caffe layer of one blob was defined without a bias: nothing is missing.
#[test]
fn networks_without_biases_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, out) = (folder.path().join("bare.safetensors"), folder.path().join("out.pth"));
    let (mut tensors, _) = weights::read(&fixture("vgg_colorizer.caffemodel")).expect("the oracle");
    tensors.remove("conv1_2.bias").expect("it was there");
    let list: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    weights::write(&list, &Default::default(), &path).expect("a file");
    assert!(says("convert", &[&path, &out]).contains("conv1_2.bias is not in the file: zeros"));
}

/// candle's conversion of float8 to f64 does not end.
#[test]
fn small_floats_are_inspected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.safetensors");
    for (kind, bytes, part) in [
        ("F8_E4M3", 8, "float8 (E4M3)"),
        ("F8_E5M2", 8, "float8 (E5M2)"),
        ("F8_E8M0", 8, "float8 (E8M0)"),
        ("BOOL", 8, "bool"),
        ("I8", 8, "i8"),
        ("U16", 16, "u16"),
        ("U64", 64, "u64"),
        ("F4", 4, "element type F4 is not supported"),
        ("F6_E2M3", 6, "element type F6_E2M3 is not supported"),
        ("C64", 64, "element type C64 is not supported"),
    ] {
        let end = bytes + 8;
        let header = format!(
            r#"{{"a":{{"dtype":"{kind}","shape":[8],"data_offsets":[0,{bytes}]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":[{bytes},{end}]}}}}"#
        );
        let data = vec![1; end];
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        std::fs::write(&path, file).expect("a file");
        let text = says("inspect", &[&path]);
        assert!(text.contains(part), "{kind}: {text}");
    }
}

#[test]
fn quantized_weights_are_not_taken_for_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("whole.pth");
    changed("eccv16.pth", &path, |tensors| {
        let whole = tensors["model1.2.weight"].to_dtype(DType::I64).expect("whole numbers");
        tensors.insert("model1.2.weight".into(), whole);
    });
    let error = fails("convert", &[&path, &folder.path().join("out.safetensors")]);
    assert!(error.contains("conv1_2.weight") && error.contains("whole numbers"), "{error}");
}

/// Many people have it set, for panics.
#[test]
fn no_stack_is_in_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("page.pth"), "<html>").expect("a file");
    std::fs::write(at("cut.pth"), &std::fs::read(fixture("alexnet.pth")).expect("the oracle")[..500])
        .expect("a file");
    changed("alexnet.pth", &at("shape.pth"), |tensors| {
        let other = Tensor::zeros((3, 5), DType::F32, &Device::Cpu).expect("a tensor");
        tensors.insert("classifier.1.weight".into(), other);
    });
    let name = |name: &str| at(name).display().to_string();
    let commands: [Vec<String>; 5] = [
        ["weights", "inspect", &name("page.pth")].map(String::from).into(),
        ["weights", "inspect", &name("cut.pth")].map(String::from).into(),
        ["weights", "convert", &name("shape.pth"), &name("out.safetensors")].map(String::from).into(),
        ["colorize", &name("page.pth"), "--weights", &name("shape.pth"), "--out", &name("o")]
            .map(String::from)
            .into(),
        ["weights", "absorb", &name("shape.pth"), &name("out.safetensors")].map(String::from).into(),
    ];
    for arguments in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
        command.args(&arguments).env("RUST_BACKTRACE", "1").env_remove("RUST_LIB_BACKTRACE");
        let output = command.output().expect("it runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !message.is_empty(), "{arguments:?}");
        assert!(!message.contains("candle_core::") && !message.contains("  0: "), "{arguments:?}: {message}");
    }
}
