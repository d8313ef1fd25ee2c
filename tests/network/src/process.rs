//! Processes that end with their owner.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

/// A process in a group of its own, killed with whatever it started when this is dropped.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`; its output and its errors are kept.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let mut process = Process { child, output: Arc::default(), readers: Vec::new() };
        let stdout = process.child.stdout.take().expect("its output is a pipe");
        let stderr = process.child.stderr.take().expect("its errors are a pipe");
        process.keep(stdout);
        process.keep(stderr);
        process
    }

    fn keep(&mut self, pipe: impl Read + Send + 'static) {
        let output = Arc::clone(&self.output);
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut output = output.lock().expect("nobody panics while holding it");
                output.push_str(&line);
                output.push('\n');
            }
        }));
    }

    /// What it has said so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("nobody panics while holding it").clone()
    }

    /// Waits until a line of its output is `pick`ed.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            let output = self.output();
            if let Some(found) = output.lines().find_map(&pick) {
                return found;
            }
            assert!(start.elapsed() < crate::PATIENCE, "no {what} in:\n{output}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits for its end; whether it succeeded, and all it said.
    pub fn finish(mut self) -> (bool, String) {
        let status = self.child.wait().expect("it is our child");
        // The readers end with the pipes.
        for reader in self.readers.drain(..) {
            reader.join().expect("it only reads");
        }
        (status.success(), self.output())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let group = format!("-{}", self.child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("a process said:\n{}", self.output());
        }
    }
}

/// An example's binary, built once per run.
pub fn example(name: &'static str) -> PathBuf {
    static BUILT: OnceLock<Mutex<Vec<&'static str>>> = OnceLock::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = match std::env::var_os("SANSRTC_TARGET") {
        Some(path) => PathBuf::from(path),
        None => root.join("target/release"),
    };
    let path = target.join("examples").join(name);
    let mut built = BUILT.get_or_init(Mutex::default).lock().expect("nobody panics while holding it");
    if !built.contains(&name) {
        if std::env::var_os("SANSRTC_TARGET").is_none() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--release", "--example", name]).current_dir(&root);
            // The target of this package is not that of the crate.
            cargo.env_remove("CARGO_TARGET_DIR");
            assert!(cargo.status().expect("cargo runs").success(), "the example {name} does not build");
        }
        assert!(path.exists(), "{} is missing", path.display());
        built.push(name);
    }
    path
}
