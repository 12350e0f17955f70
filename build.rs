//! Embeds the commit that is built, for run manifests and `--version`; with the feature `cuda`, compiles the kernels of
//! `src/device/cuda/kernels` to PTX, which the driver of any GPU from compute capability 8.0 on turns into machine code.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

fn main() {
    // A script that looks at nothing else is run again only when what can change the answer has changed.
    for path in ["build.rs", "src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-env=HUERISTIC_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        kernels();
    }
}

/// Compiles each `.cu` whose PTX is older than any source: the script also runs for every commit.
fn kernels() {
    println!("cargo::rerun-if-env-changed=NVCC");
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let sources =
        fs::read_dir("src/device/cuda/kernels").expect("src/device/cuda/kernels is part of the crate");
    let sources: Vec<PathBuf> = sources.flatten().map(|entry| entry.path()).collect();
    let changed =
        |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let newest = sources.iter().map(changed).max().unwrap_or(SystemTime::now());
    std::thread::scope(|scope| {
        for source in sources.iter().filter(|s| s.extension().is_some_and(|e| e == "cu")) {
            let ptx = out.join(source.file_stem().unwrap()).with_extension("ptx");
            if changed(&ptx) < newest {
                scope.spawn(|| compile(&nvcc, source, ptx));
            }
        }
    });
}

fn compile(nvcc: &str, source: &Path, ptx: PathBuf) {
    let run = Command::new(nvcc)
        .args(["--ptx", "-O3", "-std=c++17", "-arch=compute_80", "-o"])
        .arg(ptx)
        .arg(source)
        .output();
    match run {
        Ok(run) if run.status.success() => {}
        Ok(run) => panic!("{}", String::from_utf8_lossy(&run.stderr)),
        Err(e) => panic!(
            "the feature `cuda` needs NVIDIA's compiler, and {nvcc} does not start ({e}); README, section GPUs"
        ),
    }
}

/// The short hash, with `-dirty` when what is compiled differs from it; None outside this crate's own repository.
fn commit() -> Option<String> {
    let root = env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&root).canonicalize().ok()? {
        return None;
    }
    watch("HEAD");
    watch("packed-refs");
    if let Some(branch) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
        watch(&branch);
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "src", "build.rs", "Cargo.toml", "Cargo.lock"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Runs the script again when this file of the repository changes; a path that is not there would always be newer.
fn watch(name: &str) {
    if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|p| Path::new(p).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}
