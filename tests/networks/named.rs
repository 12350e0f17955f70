//! Weight files: order of axes against a file that PyTorch wrote and against the safetensors crate as a second
//! reader; reports; and files that are broken in every way that was met.

use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::{BackboneSpec, Build},
    nn::{
        init::Filler,
        params::{ParamKind, Params},
        weights,
    },
    rng::Rng,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, path::Path};

type Named = BTreeMap<String, Tensor>;

fn from_torch() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/weights_torch.safetensors")
}
fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("a CPU tensor")
}
fn params(shapes: &[(&str, &[usize])]) -> Params {
    let mut params = Params::new(&Device::Cpu);
    for (name, shape) in shapes {
        params.add(name, &zeros(shape), ParamKind::Weight).expect("names differ");
    }
    params
}
fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("a float tensor")
}

/// The element at (o, i, y, x) of PyTorch's file is 1000 o + 100 i + 10 y + x; memory is (o, y, x, i).
#[test]
fn a_file_from_pytorch_arrives_in_memory_layout() -> anyhow::Result<()> {
    let (tensors, metadata) = weights::read(&from_torch())?;
    assert_eq!(metadata["made_by"], "scripts/oracles/weights.py");
    let weight = &tensors["conv1.weight"];
    assert_eq!(weight.dims(), [4, 3, 5, 2]);
    let mut wanted = vec![];
    for (o, y, x, i) in (0..4).flat_map(|o| (0..30).map(move |n| (o, n / 10, n / 2 % 5, n % 2))) {
        wanted.push((1000 * o + 100 * i + 10 * y + x) as f32);
    }
    assert_eq!(flat(weight), wanted);
    assert_eq!(flat(&tensors["fc8.weight"]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    Ok(())
}

#[test]
fn loading_reports_what_it_did_and_converts_the_element_type() -> anyhow::Result<()> {
    let shapes: [(&str, &[usize]); 4] =
        [("conv1.weight", &[4, 3, 5, 2]), ("conv1.bias", &[3]), ("fc8.weight", &[2, 3]), ("fc8.bias", &[2])];
    let params = params(&shapes);
    let (tensors, _) = weights::read(&from_torch())?;
    let mut more = tensors.clone();
    more.insert("fc9.weight".into(), zeros(&[1]));
    let report = weights::load_into(&params, &more)?;
    assert_eq!(report.loaded, ["conv1.weight", "fc8.weight"]);
    assert!(!report.is_complete());
    assert_eq!(
        report.to_string(),
        "2 tensors loaded; 1 missing in the file: fc8.bias; 1 in the file alone: fc9.weight; \
         1 of another shape: conv1.bias ([3] here, [4] in the file)"
    );
    let fc8 = params.get("fc8.weight").expect("added above");
    assert_eq!((fc8.dtype(), flat(fc8)[5]), (DType::F32, 5.0));
    Ok(())
}

/// Convolution, normalization and head of a small network, created in `params`.
fn network(params: &mut Params) -> anyhow::Result<()> {
    let spec: BackboneSpec = serde_json::from_str(r#"{"resnet": {"stem": "small", "width": 0.125}}"#)?;
    let build = Build { batch_norm: true, outputs: Some(3), ..spec.plain() };
    Ok(spec.with_init(Filler::Msra).build(&build, params, &Rng::new(3)).map(drop)?)
}

/// A network that takes its values from a file equals one that is drawn and then overwritten: in the values, in those
/// that are still drawn, and in the report.
#[test]
fn values_that_are_loaded_instead_of_drawn_change_nothing_else() -> anyhow::Result<()> {
    let mut drawn = Params::new(&Device::Cpu);
    network(&mut drawn)?;
    let mut tensors: Named =
        drawn.state().into_iter().map(|(name, t)| Ok((name, (t + 1.0)?))).collect::<anyhow::Result<_>>()?;
    tensors.retain(|name, _| !name.starts_with("layer2.0"));
    tensors.insert("conv1.weight".into(), zeros(&[1]));
    tensors.insert("fc9.weight".into(), zeros(&[1]));
    let mut loaded = Params::with_values(&Device::Cpu, tensors.clone());
    network(&mut loaded)?;
    let report = weights::finish_load(&mut loaded)?;
    assert_eq!(report, weights::load_into(&drawn, &tensors)?);
    assert!(report.loaded.len() > 30 && report.missing.len() > 5, "{report}");
    assert_eq!(report.mismatched.len() + report.unexpected.len(), 2, "{report}");
    for (name, var) in loaded.all() {
        assert_eq!(flat(var), flat(drawn.named(name).expect("the same network")), "{name}");
    }
    Ok(())
}

#[test]
fn whole_numbers_and_strange_names_are_no_weights() -> anyhow::Result<()> {
    let finish = |name: &str, dtype: DType| -> anyhow::Result<String> {
        let values = Named::from([(name.to_string(), zeros(&[2]).to_dtype(dtype)?)]);
        let mut params = Params::with_values(&Device::Cpu, values);
        params.add("a.weight", &zeros(&[2]), ParamKind::Weight)?;
        Ok(weights::finish_load(&mut params).map_or_else(|e| format!("{e:#}"), |report| report.to_string()))
    };
    assert_eq!(finish("a.weight", DType::F16)?, "1 tensor loaded");
    assert!(finish("a.weight", DType::I64)?.contains("`a.weight` holds whole numbers"));
    assert!(finish("b.weight", DType::F32)?.contains("another architecture"));
    Ok(())
}

#[test]
fn nothing_loaded_is_an_error() {
    let (tensors, _) = weights::read(&from_torch()).expect("a good file");
    let error = weights::load_into(&params(&[("features.0", &[2])]), &tensors).expect_err("other names");
    let error = error.to_string();
    assert!(
        error.contains("another architecture") && error.contains("missing in the file: features.0"),
        "{error}"
    );
}

/// The safetensors crate reads what was written: names, OIHW shapes, bytes.
#[test]
fn others_read_our_files() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("w.safetensors");
    let (tensors, _) = weights::read(&from_torch())?;
    let list: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    weights::write(&list, &BTreeMap::from([("a".into(), "b".into())]), &path)?;
    let (ours, torch) = (std::fs::read(&path)?, std::fs::read(from_torch())?);
    let (ours, torch) =
        (safetensors::SafeTensors::deserialize(&ours)?, safetensors::SafeTensors::deserialize(&torch)?);
    assert_eq!(ours.len(), 3);
    for (name, view) in torch.iter() {
        let own = ours.tensor(name)?;
        assert_eq!(
            (own.dtype(), own.shape(), own.data()),
            (view.dtype(), view.shape(), view.data()),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn equal_weights_give_equal_bytes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let params = params(&[("b", &[2, 3, 4, 5]), ("a", &[7])]);
    let metadata: BTreeMap<_, _> = (0..20).map(|i| (format!("key {i}"), format!("{i}"))).collect();
    let files = ["1", "2"].map(|name| folder.path().join(name));
    files.iter().try_for_each(|path| weights::save(&params, &metadata, path))?;
    assert_eq!(std::fs::read(&files[0])?, std::fs::read(&files[1])?);
    assert_eq!(weights::read(&files[0])?.1, metadata);
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 2, "temporary files are left");
    Ok(())
}

/// A tensor that is written in several pieces, the last one shorter.
#[test]
fn large_tensors_survive_the_pieces() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("large");
    let large = Tensor::arange(0f32, 3_000_075.0, &Device::Cpu)?.reshape((75, 1, 13, 3077))?;
    weights::write(&[("large", &large)], &BTreeMap::new(), &path)?;
    assert_eq!(flat(&weights::read(&path)?.0["large"]), flat(&large));
    Ok(())
}

/// Temporary files are private by default; weights are for colleagues too.
#[cfg(unix)]
#[test]
fn files_have_the_usual_rights() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let paths = ["weights", "plain"].map(|name| folder.path().join(name));
    weights::save(&params(&[("a", &[1])]), &BTreeMap::new(), &paths[0])?;
    std::fs::write(&paths[1], b"")?;
    let modes = paths.map(|path| std::fs::metadata(path).map(|m| m.permissions().mode()).expect("written"));
    assert_eq!(modes[0], modes[1]);
    Ok(())
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = weights::save(&params(&[("a", &[1])]), &BTreeMap::new(), Path::new("/no/such/folder/w"));
    let error = format!("{:#}", error.expect_err("no folder"));
    assert!(error.contains("/no/such/folder") && error.contains("does its folder exist"), "{error}");
}

fn read_bytes(bytes: &[u8]) -> Result<(Named, BTreeMap<String, String>), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, bytes).expect("a file");
    weights::read(&path).map_err(|error| format!("{error:#}"))
}
fn with_header(json: &str, data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

#[test]
fn broken_files_say_what_is_wrong() {
    let good = std::fs::read(from_torch()).expect("the oracle");
    let longer = [good.as_slice(), b"x"].concat();
    let absurd =
        with_header(r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#, b"");
    let overlap = with_header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]);
    let shape = with_header(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}"#, &[0; 4]);
    let complex = with_header(r#"{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
    let cases: [(&str, &[u8], &str); 11] = [
        ("empty", b"", "has 0 bytes"),
        ("short", b"abc", "has 3 bytes"),
        ("absurd header", b"\xff\xff\xff\xff\xff\xff\xff\xff{", "more than the format allows"),
        ("a picture", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", "not a safetensors file"),
        ("cut in the header", &good[..20], "truncated"),
        ("cut in the data", &good[..good.len() - 1], "truncated"),
        ("too long", &longer, "corrupt"),
        ("absurd tensor", &absurd, "truncated"),
        ("overlap", &overlap, "corrupt"),
        ("wrong shape", &shape, "corrupt"),
        ("complex numbers", &complex, "element type C64 is not supported"),
    ];
    for (what, bytes, message) in cases {
        let error = read_bytes(bytes).expect_err(what);
        assert!(error.contains(message) && error.contains("weights.safetensors"), "{what}: {error}");
    }
    let error = weights::read(Path::new("nowhere.safetensors")).expect_err("no file");
    assert!(format!("{error:#}").contains("nowhere.safetensors"));
}

proptest! {
    /// Any shape of rank 0 to 5 comes back bit for bit.
    #[test]
    fn files_round_trip(shape in prop::collection::vec(1usize..6, 0..6), seed in any::<u32>()) {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count as u32).map(|i| f32::from_bits(seed.wrapping_mul(i * 2 + 1) >> 2)).collect();
        let tensor = Tensor::from_slice(&values, shape, &Device::Cpu).expect("a CPU tensor");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w");
        weights::write(&[("t", &tensor)], &BTreeMap::new(), &path).expect("a writable folder");
        let (back, _) = weights::read(&path).expect("a good file");
        prop_assert_eq!(back["t"].dims(), tensor.dims());
        prop_assert_eq!(flat(&back["t"]), values);
    }

    /// One flipped byte anywhere in the header gives an error or other tensors, never a panic or a huge allocation.
    #[test]
    fn a_flipped_byte_does_no_harm(at in 0usize..300, to in any::<u8>()) {
        let mut bytes = std::fs::read(from_torch()).expect("the oracle");
        bytes[at] = to;
        drop(read_bytes(&bytes));
    }
}
