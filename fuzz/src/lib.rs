//! What the targets share: where seeds come from, files in memory for readers that take paths, and what counts as a
//! finding: any panic of our own code, a panic of an outside crate that nobody catches, a request for more memory at
//! once than an honest file of the kind needs, and a message that no person wants to read.

mod memory;
mod messages;
mod panics;
pub mod seeds;

pub use messages::checked;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

/// Begins a target. With `SEEDS=FOLDER` in the environment its seeds are written there, and the process ends.
/// `most` is the largest request for memory that is no finding, in MiB.
pub fn start(most: usize, seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    if let Some(folder) = env::var_os("SEEDS") {
        write(Path::new(&folder), &seeds());
        process::exit(0);
    }
    panics::watch();
    memory::limit(most << 20);
}

fn write(folder: &Path, seeds: &[Vec<u8>]) {
    fs::create_dir_all(folder).expect("a folder for seeds");
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:03}")), seed).expect("a seed");
    }
}

/// The folder of this process, in memory where the system has such a place.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let within = if memory.is_dir() { memory.into() } else { env::temp_dir() };
        let folder = within.join(format!("hueristic-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for files");
        folder
    })
}

/// A file called `name` that holds `bytes`; the one before it is gone.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// A program's verb, run inside this process.
pub fn verb<'a>(words: impl IntoIterator<Item = &'a str>) -> anyhow::Result<hueristic::cli::CommandOutput> {
    use clap::Parser;
    hueristic::cli::Cli::try_parse_from(["hueristic"].into_iter().chain(words))?.run()
}

/// What a weight file goes through, whatever its format: `weights inspect`, and the way into a network.
pub fn weights(name: &str, bytes: &[u8]) {
    let path = file(name, bytes);
    checked(verb(["weights", "inspect", path.to_str().expect("a plain name")]));
    if let Some(file) = checked(hueristic::backbones::exchange::open(&path)) {
        checked(file.backbone(None));
    }
}
