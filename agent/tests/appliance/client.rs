//! A program that a person runs: the command `upgrade`, or another tool, with its time limit and its words.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// A program in progress; it is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    shown: String,
    out: std::fs::File,
    err: std::fs::File,
}

impl Running {
    /// Starts it. It has no terminal; what it says goes into files, so that it never waits for a reader.
    pub(crate) fn begin(mut command: Command) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let shown = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("{shown}: {e}"));
        Self { child, shown, out, err }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits until it said this.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let began = Instant::now();
        while !text(&self.out).contains(words) && !text(&self.err).contains(words) {
            assert!(began.elapsed() < PATIENCE, "{} never said {words:?}", self.shown);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Said {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                let (out, err) = (text(&self.out), text(&self.err));
                panic!("{} does not end; it said:\n{out}{err}", self.shown);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Said {
            shown: self.shown.clone(),
            code: status.code(),
            out: text(&self.out),
            err: text(&self.err),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A child that is killed when it is dropped.
pub(crate) struct Ended(Child);

impl Ended {
    pub(crate) fn with(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the file holds. The child shares its offset, so it is read by position.
fn text(file: &std::fs::File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a program said, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    shown: String,
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// It ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        self
    }

    /// It said this somewhere.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.out.contains(words) || self.err.contains(words),
            "not said: {words:?} by {self}"
        );
        self
    }

    /// It did not say this anywhere.
    #[track_caller]
    pub(crate) fn says_not(self, words: &str) -> Self {
        assert!(
            !self.out.contains(words) && !self.err.contains(words),
            "said: {words:?} by {self}"
        );
        self
    }

    /// Its standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self}"))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (exit {:?})\n{}{}", self.shown, self.code, self.out, self.err)
    }
}
