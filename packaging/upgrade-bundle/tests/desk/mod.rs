//! A release engineer's desk, built by code, and the real binary on it.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(unreachable_pub, missing_docs, reason = "shared by test programs, read by nobody else")]
#![allow(missing_debug_implementations, reason = "nothing prints a desk")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub const NAME: &str = "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar";

pub const RELEASE: &str = r#"
product = "Acme Secure Gateway"
platform = "Acme_SGW"
models = ["SGW-100"]
version = "7.4.2"
build = 90
kind = "maintenance"
created = "2026-01-31T12:00:00Z"
notes = "Repairs much."
licence_file = "LICENCE.txt"

[[from]]
min = "7.2.0"
max = "7.4.2"

[floors]
security = "7.3.0"

[image]
path = "rootfs.img"
level = 3

[[check]]
path = "010_space.sh"
recovery = "Free 200 MB on /data"

[extensions]
ticket = 4711
"#;

/// A release directory: description, image, key `vendor`, and an empty `out`.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a directory"));
        desk.write("release.toml", RELEASE.as_bytes());
        desk.write("LICENCE.txt", b"Use it well.\n");
        desk.write("010_space.sh", b"#!/bin/sh\nexit 0\n");
        desk.write("rootfs.img", &image(5 * 256 * 1024 + 8192));
        fs::create_dir(desk.path("out")).expect("new");
        assert_eq!(desk.run(&["keygen", "--out", "vendor"]).code, 0);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own directory")]
    pub fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).expect("space");
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own directory")]
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("it is there");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("it is there")
    }

    pub fn command(&self, program: &str) -> Command {
        #[expect(clippy::disallowed_methods, reason = "programs are what is tested here")]
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env_remove("SOURCE_DATE_EPOCH");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.command(env!("CARGO_BIN_EXE_upgrade-bundle"));
        Ended::from(command.args(args).output().expect("it starts"))
    }

    pub fn build(&self, more: &[&str]) -> Ended {
        let args = ["build", "release.toml", "--key", "vendor.key", "--out", "out"];
        self.run(&[&args, more].concat())
    }

    pub fn openssl(&self, args: &[&str]) {
        let output = self.command("openssl").args(args).output();
        let output = output.unwrap_or_else(|e| panic!("install the package openssl: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn left_in_out(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("out")).expect("it is there");
        names.map(|e| e.expect("entry").file_name().into_string().expect("text")).collect()
    }
}

pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("no signal");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ended {
    #[track_caller]
    pub fn refused(&self, exit: i32, code: &str) {
        assert_eq!(self.code, exit, "{}", self.err);
        let mut lines = self.err.lines();
        let first = lines.next().expect("an error");
        assert!(first.starts_with(&format!("error[{code}]: ")), "{first}");
        assert!(lines.next().is_some_and(|l| l.starts_with("  -> ")), "{}", self.err);
        assert_eq!(lines.next(), None, "{}", self.err);
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// Chunks that compress, chunks of zeros and chunks that hardly compress.
pub fn image(size: usize) -> Vec<u8> {
    let mut x = 1_u32;
    let noise = |n: usize| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match n / 300_000 % 3 {
            0 => b'a',
            1 => 0,
            _ => x.to_le_bytes()[3],
        }
    };
    (0..size).map(noise).collect()
}
