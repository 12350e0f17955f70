//! A study of small pictures, and the program that serves it.

use super::client::Client;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

pub const TOKEN: &str = "a token of the tests";

pub struct Home(tempfile::TempDir);

impl Home {
    /// Folders `real`, `ours`, and `l2` of `count` pictures.
    pub fn with_pictures(count: usize) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for folder in ["real", "ours", "l2"] {
            (0..count).for_each(|i| home.picture(folder, &format!("{i:03}.png"), (40, 30), folder));
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A picture whose colors depend on its name and on `look`.
    pub fn picture(&self, folder: &str, name: &str, (width, height): (u32, u32), look: &str) {
        let seed = name
            .bytes()
            .chain(look.bytes())
            .fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let pixel = |x: u32, y: u32| {
            image::Rgb([5 * x + seed, 7 * y + (seed >> 8), 3 * (x + y) + (seed >> 16)].map(|v| v as u8))
        };
        let path = self.path().join(folder).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(width, height, pixel).save(path).unwrap();
    }

    pub fn call(&self, arguments: &[&str]) -> Output {
        program(self.path()).args(arguments).output().unwrap()
    }

    /// Stdout of a command that must succeed.
    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and stderr of a command that must fail.
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.call(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Creates the study `study` of both algorithms.
    pub fn new_study(&self, options: &[&str]) {
        let all = [
            "study",
            "new",
            "study",
            "--real",
            "real",
            "--fake",
            "ours=ours",
            "--fake",
            "l2=l2",
            "--seed",
            "5",
        ];
        self.says(&[&all[..], options].concat());
    }

    /// Serves the study with the token of the tests.
    pub fn serve(&self) -> Server {
        self.serve_with(&["--token", TOKEN, "--code", "CODE-1"])
    }

    pub fn serve_with(&self, options: &[&str]) -> Server {
        Server::start(
            program(self.path()).args(["study", "serve", "study", "--address", "127.0.0.1:0"]).args(options),
        )
    }

    pub fn study(&self) -> PathBuf {
        self.path().join("study")
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.current_dir(folder).env_remove("RUST_LOG");
    command
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it said until it listened.
    pub said: String,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (mut said, mut address) = (String::new(), None);
        for line in lines.by_ref() {
            said += &format!("{line}\n");
            if let Some(rest) = line.strip_prefix("participants: http://") {
                address = Some(rest.trim_end_matches('/').parse().unwrap());
            }
            if line.starts_with("researcher:") {
                break;
            }
        }
        let address = address.unwrap_or_else(|| panic!("the server does not listen: {said}"));
        // The token follows at the first start; the rest is read so that the pipe never fills.
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        while let Ok(line) = receiver.recv_timeout(std::time::Duration::from_millis(200)) {
            said += &format!("{line}\n");
        }
        Self { child, address, said }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal and returns the exit code.
    #[cfg(unix)]
    pub fn stop(&mut self, signal: &str) -> Option<i32> {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
