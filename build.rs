//! With the feature `cuda`, compiles the kernels of `src/device/cuda/kernels` to PTX, which the driver of any GPU from compute
//! capability 8.0 on turns into machine code. Says whether there is a commit that `main.rs` can name.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

fn main() {
    // Run again for its kernels alone: whenever it runs, the library is compiled anew.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/device/cuda/kernels");
    println!("cargo::rustc-check-cfg=cfg(own_repository)");
    if own_repository() == Some(true) {
        println!("cargo::rustc-cfg=own_repository");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        kernels();
    }
}

/// Compiles each `.cu` whose PTX is older than any source.
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

/// Whether this is a checkout of the crate itself, and no copy of it inside another project's.
fn own_repository() -> Option<bool> {
    let output = Command::new("git").args(["rev-parse", "--show-toplevel"]).output().ok()?;
    let top = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let root = env::var("CARGO_MANIFEST_DIR").ok()?;
    Some(Path::new(top.trim_end()).canonicalize().ok()? == Path::new(&root).canonicalize().ok()?)
}
