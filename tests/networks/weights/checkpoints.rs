//! State dicts among other things: the network is found, what lies beside it is passed over, and where there are several
//! a key chooses.

use super::pickles::{
    call, dict, file, file_called, floats, global, long, state_dict, storage, tensor, text, tuple, two,
};
use hueristic::nn::weights::{self, Contents, SeveralNetworks};

fn read_as(bytes: &[u8], suffix: &str) -> anyhow::Result<Contents> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("w.pth");
    std::fs::write(&path, bytes)?;
    weights::contents(format!("{}{suffix}", path.display()).as_ref())
}

fn read(bytes: &[u8]) -> Contents {
    read_as(bytes, "").unwrap_or_else(|error| panic!("{error:#}"))
}

fn refused(bytes: &[u8]) -> String {
    format!("{:#}", read_as(bytes, "").expect_err("no network"))
}

fn names(contents: &Contents) -> Vec<&str> {
    contents.tensors.keys().map(String::as_str).collect()
}

fn values(contents: &Contents, name: &str) -> Vec<f32> {
    let tensor = contents.tensors[name].to_dtype(candle_core::DType::F32).expect("numbers");
    tensor.flatten_all().and_then(|t| t.to_vec1()).expect("floats")
}

const BOTH: [&str; 2] = ["conv1.bias", "conv1.weight"];

/// One number, as scripts keep their best accuracy.
fn single() -> Vec<u8> {
    tensor("FloatStorage", 2, &[], &[])
}

fn storages() -> Vec<Vec<u8>> {
    [two(), vec![floats(&[55.0])]].concat()
}

#[test]
fn a_state_dict_wins_over_single_tensors() {
    for key in [
        "state_dict",
        "model_state_dict",
        "model",
        "net",
        "network",
        "params",
        "generator",
        "netG",
        "weights",
        "teacher",
        "student",
        "ema",
        "model_ema",
        "module",
        "backbone",
        "encoder",
        "state_dict_ema",
        "my own key",
    ] {
        let whole = dict(&[("best_acc1", single()), (key, state_dict("", 0)), ("epoch", long(3))]);
        let contents = read(&file(&whole, &storages()));
        assert_eq!(names(&contents), BOTH, "{key}");
        assert!(contents.notes.concat().contains(key), "{key}: {:?}", contents.notes);
    }
}

#[test]
fn wrappers_come_off_at_any_depth() {
    let inner = |prefix| dict(&[("ema_decay", single()), ("state_dict", state_dict(prefix, 0))]);
    let state = dict(&[("model", state_dict("module._orig_mod.", 0)), ("step", single())]);
    let listed = [b"](".to_vec(), state_dict("", 0), long(3), b"e".to_vec()].concat();
    for (what, value) in [
        ("nested", dict(&[("model", inner("")), ("optimizer", dict(&[("exp_avg", single())]))])),
        ("compiled, then parallel", dict(&[("state", state)])),
        ("parallel, then compiled", dict(&[("model", inner("_orig_mod.module."))])),
        ("in a list", listed),
        ("a subclass of dict", dict(&[("model", dict_subclass())])),
    ] {
        let contents = read(&file(&value, &storages()));
        assert_eq!(names(&contents), BOTH, "{what}");
        assert_eq!(values(&contents, "conv1.bias"), [3.0, 4.0], "{what}");
    }
}

/// `collections.OrderedDict` by another name: made empty, then filled.
fn dict_subclass() -> Vec<u8> {
    let filled = state_dict("", 0);
    let made = [global("my.code", "Dict"), b")\x81".to_vec()].concat();
    [made, filled[1..].to_vec(), b"}(".to_vec(), text("x"), long(1), b"ub".to_vec()].concat()
}

#[test]
fn several_networks_are_listed_and_chosen_by_key() {
    let both = dict(&[("teacher", state_dict("", 0)), ("student", state_dict("", 2)), ("epoch", long(1))]);
    let bytes = file(&both, &[two(), vec![floats(&[5.0, 6.0]), floats(&[7.0, 8.0])]].concat());
    let error = read_as(&bytes, "").expect_err("two networks");
    let several = error.downcast_ref::<SeveralNetworks>().expect("the list").to_string();
    for part in ["`teacher` (2 tensors, 4 parameters)", "`student` (2 tensors, 4 parameters)", "FILE#KEY"] {
        assert!(several.contains(part), "{several}");
    }
    let student = read_as(&bytes, "#student").expect("one of them");
    assert_eq!(values(&student, "conv1.weight"), [5.0, 6.0]);
    let error = format!("{:#}", read_as(&bytes, "#nobody").expect_err("no such key"));
    assert!(error.contains("nothing under `nobody`") && error.contains("`teacher`"), "{error}");
}

#[test]
fn keys_lead_down_and_into_names() {
    let deep = dict(&[("a", dict(&[("b.c", state_dict("", 0))])), ("model", state_dict("module.q.", 0))]);
    let bytes = file(&deep, &two());
    for key in ["#a", "#a.b.c", "#a/b.c", "#model.module.q", "#q"] {
        let contents = read_as(&bytes, key).unwrap_or_else(|error| panic!("{key}: {error:#}"));
        assert_eq!(names(&contents), BOTH, "{key}");
    }
}

/// Each of these stopped a file that held a good state dict.
#[test]
fn what_lies_beside_the_weights_is_passed_over() {
    let bytes = b"C\x02\xff\xfe".to_vec();
    let array =
        call("numpy.core.multiarray", "_reconstruct", &[global("numpy", "ndarray"), tuple(&[0]), bytes]);
    let beside = [
        ("counter", call("collections", "Counter", &[dict(&[("1", long(2))])])),
        (
            "an object",
            [global("argparse", "Namespace"), b")\x81}(".to_vec(), text("lr"), long(1), b"ub".to_vec()]
                .concat(),
        ),
        (
            "numpy scalar",
            call("numpy.core.multiarray", "scalar", &[global("numpy", "dtype"), b"C\x01a".to_vec()]),
        ),
        ("numpy array", [array, b"(K\x01K\x02tb".to_vec()].concat()),
        ("a size", call("torch", "Size", &[tuple(&[1, 2])])),
        ("device", call("torch", "device", &[text("cuda"), long(0)])),
        ("type", global("torch", "float16")),
        ("class", global("__main__", "Net")),
        ("rng", tensor("ByteStorage", 2, &[16], &[])),
        ("flags", tensor("BoolStorage", 2, &[16], &[])),
        ("ints", tensor("IntStorage", 2, &[4], &[])),
        ("complex", tensor("ComplexFloatStorage", 2, &[2], &[])),
        ("quantized", call("torch._utils", "_rebuild_qtensor", &[storage("QInt8Storage", 2, 16)])),
        ("meta", call("torch._utils", "_rebuild_meta_tensor_no_storage", &[global("torch", "float32")])),
        (
            "sparse",
            call("torch._utils", "_rebuild_sparse_tensor", &[global("torch.serialization", "_get_layout")]),
        ),
        ("another storage", storage("UntypedStorage", 2, 16)),
        ("a set", b"\x8f(K\x01K\x02\x90".to_vec()),
        ("a frozen set", b"(K\x01\x91".to_vec()),
        ("a long number", b"\x8b\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01".to_vec()),
        ("numbers as text", b"I12\nL34L\nF5.5\n0".to_vec().into_iter().chain(*b"0").collect()),
        ("text of Python 2", b"S'a\\n'\n".to_vec()),
        ("bytes that are no text", b"U\x02\xff\xfe".to_vec()),
        ("a reduced object with names", b"ca\nb\n)}\x92".to_vec()),
        ("an old instance", b"(K\x01ia\nb\n".to_vec()),
        ("another old instance", b"(ca\nb\nK\x01o".to_vec()),
        ("an extension", b"\x82\x07".to_vec()),
        ("twice", b"K\x012\x86".to_vec()),
    ];
    let storages = [two(), vec![vec![1; 16]]].concat();
    for (what, value) in &beside {
        let whole = dict(&[("state_dict", state_dict("", 0)), (what, value.clone())]);
        let contents = read(&file(&whole, &storages));
        assert_eq!(names(&contents), BOTH, "{what}");
        assert_eq!(values(&contents, "conv1.weight"), [1.0, 2.0], "{what}");
    }
}

/// Tensors of such types in the state dict itself: converted where that is exact, named where they are not read.
#[test]
fn types_of_numbers_are_converted_or_named() {
    let typed =
        |name: &str, kind: &str, key: usize, shape: &[i64]| (name.to_string(), tensor(kind, key, shape, &[]));
    let whole = dict(&[
        ("conv1.weight".into(), tensor("FloatStorage", 0, &[2, 1], &[])),
        typed("a.bool", "BoolStorage", 1, &[2]),
        typed("a.char", "CharStorage", 2, &[2]),
        typed("a.short", "ShortStorage", 3, &[2]),
        typed("a.int", "IntStorage", 4, &[1]),
        typed("a.complex", "ComplexDoubleStorage", 5, &[1]),
    ]);
    let storages = [
        floats(&[1.0, 2.0]),
        vec![0, 1],
        vec![0xff, 2],
        vec![0xfe, 0xff, 3, 0],
        vec![7, 0, 0, 0],
        vec![0; 16],
    ];
    let contents = read(&file(&whole, &storages));
    for (name, wanted) in [
        ("a.bool", vec![0.0, 1.0]),
        ("a.char", vec![-1.0, 2.0]),
        ("a.short", vec![-2.0, 3.0]),
        ("a.int", vec![7.0]),
    ] {
        assert_eq!(values(&contents, name), wanted, "{name}");
    }
    assert!(contents.unread["a.complex"].contains("complex"), "{:?}", contents.unread);
    let alone = dict(&[("conv1.weight", tensor("ComplexFloatStorage", 0, &[1], &[]))]);
    let error = refused(&file(&alone, &[vec![0; 8]]));
    assert!(error.contains("`conv1.weight`") && error.contains("complex"), "{error}");
}

#[test]
fn the_bits_of_views_are_heeded() {
    let bit = |name: &str| dict(&[(name, b"\x88".to_vec())]);
    let whole = dict(&[
        ("a.neg", tensor("FloatStorage", 0, &[2], &[bit("neg")])),
        ("a.plain", tensor("FloatStorage", 0, &[2], &[dict(&[("neg", b"\x89".to_vec())])])),
        ("a.conj", tensor("ComplexFloatStorage", 1, &[1], &[bit("conj")])),
    ]);
    let contents = read(&file(&whole, &[floats(&[1.0, -2.0]), vec![0; 8]]));
    assert_eq!(values(&contents, "a.neg"), [-1.0, 2.0]);
    assert_eq!(values(&contents, "a.plain"), [1.0, -2.0]);
    assert!(contents.unread.contains_key("a.conj"));
    // As the argument of a parameter, of a subclass, and with its element type beside an untyped storage.
    let inner = tensor("FloatStorage", 0, &[2], &[bit("neg")]);
    let untyped =
        [storage("UntypedStorage", 0, 8), long(0), tuple(&[2]), tuple(&[1]), b"\x89N".to_vec()].concat();
    let of_type = [global("torch", "float32"), bit("neg")].concat();
    let arguments =
        [storage("FloatStorage", 0, 2), long(0), tuple(&[2]), tuple(&[1]), b"\x89N".to_vec(), bit("neg")];
    let arguments = [b"(".to_vec(), arguments.concat(), b"t".to_vec()].concat();
    let (function, class) = (global("torch._utils", "_rebuild_tensor_v2"), global("my.code", "Tensor"));
    let nested = call("torch._tensor", "_rebuild_from_type_v2", &[function, class, arguments, b"}".to_vec()]);
    let whole = dict(&[
        ("a.parameter", call("torch._utils", "_rebuild_parameter", &[inner.clone(), b"\x88N".to_vec()])),
        ("a.state", call("torch._utils", "_rebuild_parameter_with_state", &[inner, b"\x88N}".to_vec()])),
        ("a.typed", call("torch._utils", "_rebuild_tensor_v3", &[untyped, of_type])),
        ("a.subclass", nested),
    ]);
    let contents = read(&file(&whole, &[floats(&[1.0, -2.0])]));
    assert_eq!(contents.tensors.len(), 4);
    for name in contents.tensors.keys() {
        assert_eq!(values(&contents, name), [-1.0, 2.0], "{name}");
    }
}

/// A number repeated along an axis by a stride of 0, as `expand` does.
#[test]
fn expanded_tensors_are_whole_but_no_bombs() {
    let expanded = |shape: &[i64], strides: &[i64]| {
        let arguments =
            [storage("FloatStorage", 0, 2), long(0), tuple(shape), tuple(strides), b"\x89N".to_vec()];
        file(
            &dict(&[("a.b", call("torch._utils", "_rebuild_tensor_v2", &arguments))]),
            &[floats(&[1.0, 2.0])],
        )
    };
    let contents = read(&expanded(&[3, 2], &[0, 1]));
    assert_eq!(values(&contents, "a.b"), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    assert_eq!(read(&expanded(&[100_000], &[0])).tensors["a.b"].elem_count(), 100_000);
    assert!(refused(&expanded(&[1 << 40], &[0])).contains("far more memory than the file"));
    assert!(refused(&expanded(&[1 << 40, 1 << 40], &[0, 0])).contains("corrupt"));
}

#[test]
fn files_without_a_state_dict_say_what_they_hold() {
    let module = [
        global("torchvision.models", "AlexNet"),
        b")\x81}(".to_vec(),
        text("_parameters"),
        state_dict("", 0),
        b"ub".to_vec(),
    ]
    .concat();
    for (value, parts) in [
        (module.clone(), ["`torchvision.models.AlexNet`", "model.state_dict()"]),
        (
            dict(&[("model", module)]),
            ["`model`, an object of `torchvision.models.AlexNet`", "model.state_dict()"],
        ),
        (tensor("FloatStorage", 0, &[2], &[]), ["one tensor without a name", "model.state_dict()"]),
        (
            [b"](".to_vec(), tensor("FloatStorage", 0, &[2], &[]), b"e".to_vec()].concat(),
            ["1 tensors", "without names"],
        ),
        (dict(&[("epoch", long(1))]), ["no tensors", "model.state_dict()"]),
    ] {
        let error = refused(&file(&value, &two()));
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
}

/// A seed beside the weights may need all of its 64 bits.
#[test]
fn whole_numbers_of_any_size_may_lie_beside() {
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"seed":{"dtype":"U64","shape":[1],"data_offsets":[4,12]}}"#;
    let data = [floats(&[1.5]), vec![0xff; 8]].concat();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    let contents = read(&bytes);
    assert_eq!(values(&contents, "a"), [1.5]);
    assert!(contents.unread["seed"].contains("63 bits"), "{:?}", contents.unread);
}

/// An archive by PyTorch's own writer has its records for large files always, and names of any length.
#[test]
fn archives_are_read_whatever_their_name() {
    for length in 1..=40 {
        let bytes = file_called(&"s".repeat(length), &state_dict("", 0), &two());
        assert_eq!(names(&read(&with_zip64_records(&bytes))), BOTH, "{length}");
        assert_eq!(names(&read(&bytes)), BOTH, "{length}");
    }
}

/// As PyTorch's writer (miniz) ends its archives: the end record of large archives and its locator before the usual one.
fn with_zip64_records(zip: &[u8]) -> Vec<u8> {
    let end = zip.windows(4).rposition(|bytes| bytes == b"PK\x05\x06").expect("an end");
    let number = |at: usize, width: usize| {
        zip[end + at..][..width].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let (count, size, start) = (number(10, 2), number(12, 4), number(16, 4));
    let mut record = [b"PK\x06\x06".as_slice(), &44u64.to_le_bytes(), &[30, 3, 45, 0], &[0; 8]].concat();
    [count, count, size, start].iter().for_each(|value| record.extend(value.to_le_bytes()));
    let locator = [b"PK\x06\x07".as_slice(), &[0; 4], &(end as u64).to_le_bytes(), &[1, 0, 0, 0]].concat();
    [&zip[..end], &record, &locator, &zip[end..]].concat()
}
