//! The vendor: system images and signed bundles, built by code.

use std::fs::File;
use std::io::{Cursor, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use upgrade_bundle::{Description, SigningKey, Workshop, build, keygen};

use super::{make, tool};

/// 2^20 bytes.
pub(crate) const MIB: u64 = 1 << 20;

/// Every image has this length; slots are as long.
const IMAGE_LEN: u64 = 4 * MIB;

/// How much of an image is data that differs from release to release.
const DATA_LEN: usize = 5 << 19;

/// Somebody who signs.
pub(crate) struct Maker {
    pub(crate) key: SigningKey,
}

impl Maker {
    /// A maker with a new key; `prefix` with `.pem` behind it is the public half.
    pub(crate) fn new(prefix: &Path) -> Self {
        Self { key: keygen(prefix).unwrap().0 }
    }

    /// A bundle of an image; `change` may describe it differently. Gives back its path.
    pub(crate) fn bundle(
        &self,
        directory: &Path,
        release: &str,
        raw: &Path,
        change: impl FnOnce(&mut Description),
    ) -> PathBuf {
        let platform = "Test_Box".parse().unwrap();
        let mut description = Description::new(platform, release.parse().unwrap());
        description.image.level = 1;
        change(&mut description);
        let workshop = Workshop { threads: NonZeroUsize::MIN, ..Workshop::default() };
        let raw = File::open(raw).unwrap();
        let keys = [self.key.clone()];
        let mut bytes = Vec::new();
        let built = build(&description, raw, &keys, &workshop, Cursor::new(Vec::new()), &mut bytes);
        let path = directory.join(built.unwrap().name.to_string());
        make(&path, &bytes);
        path
    }
}

/// A system: a real ext4 image that says its version and its health.
pub(crate) fn image(path: &Path, release: &str, health: &str) {
    let tree = tempfile::tempdir().unwrap();
    let file = |name: &str| tree.path().join("usr/lib").join(name);
    std::fs::create_dir_all(file("box")).unwrap();
    let os_release = format!("ID=box\nIMAGE_ID=test_box\nIMAGE_VERSION={release}\n");
    make(&file("os-release"), os_release.as_bytes());
    make(&file("box/health"), health.as_bytes());
    make(&file("box/data"), &noise(release, DATA_LEN));
    make(path, b"").set_len(IMAGE_LEN).unwrap();
    let made = Command::new(tool("mke2fs", "e2fsprogs"))
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([tree.path(), path])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Bytes that do not compress, the same ones for the same seed: xorshift64*.
pub(crate) fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mix = |sum: u64, byte: u8| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    let mut state = seed.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        bytes.write_all(&word.to_le_bytes()).unwrap();
    }
    bytes.truncate(len);
    bytes
}
