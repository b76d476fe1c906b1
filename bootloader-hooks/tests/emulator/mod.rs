//! GRUB in user space: runs a script against disk images, for real, in a tenth of a second.
//!
//! A missing tool is a failure that names the Debian package, never a skip: a test that skips itself
//! proves nothing on the day it matters.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]
#![allow(dead_code, reason = "each test program uses its part of this module")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bootloader_hooks::{
    BLOCK_LEN, Block, BootState, Choice, Copies, Copy, Other, Spend, Write, choose,
};
use tempfile::TempDir;

/// The script under test, as it is shipped.
pub(crate) const CHOOSE: &str = include_str!("../../grub/choose.cfg");
/// The script that loads, as it is shipped.
pub(crate) const LOAD: &str = include_str!("../../grub/load.cfg");

/// A copy that was never written, or lost.
pub(crate) const ZEROS: Block = [0; BLOCK_LEN];

/// How many disks one run of GRUB gets. Bounded by its patience with open files, not by a need.
pub(crate) const DISKS_MAX: usize = 100;

/// A user that owns nothing: `nobody` on every Debian.
const NOBODY: u32 = 65534;

/// Where a tool is, `sbin` included, which is not in an ordinary user's path.
pub(crate) fn tool(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/sbin", "/usr/sbin", "/bin", "/usr/bin"])
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: install the Debian package {package}"))
}

/// A program to run.
#[expect(clippy::disallowed_methods, reason = "these tests run GRUB and the ext2 tools")]
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// A file of a test, new.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Whether the disks can be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disks {
    Writable,
    ReadOnly,
}

/// What one boot left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) choice: Choice,
    /// The disk afterwards.
    pub(crate) disk: Vec<u8>,
}

/// Boots once from each of the disks, all in one GRUB, one after the other: what one boot leaves in
/// GRUB's variables is there for the next, which makes the script's task harder.
pub(crate) fn boot_all(script: &str, disks: &[Vec<u8>], mode: Disks) -> Vec<Boot> {
    disks.chunks(DISKS_MAX).flat_map(|some| boot_some(script, some, mode)).collect()
}

/// Boots once from a disk, in a GRUB of its own.
pub(crate) fn boot(disk: &[u8]) -> Boot {
    boot_all(CHOOSE, &[disk.to_vec()], Disks::Writable).remove(0)
}

fn boot_some(script: &str, disks: &[Vec<u8>], mode: Disks) -> Vec<Boot> {
    let mut caller = String::new();
    for number in 0..disks.len() {
        writeln!(caller, "set bootstate=(hd{number})").unwrap();
        caller.push_str("source $choose\n");
        writeln!(caller, "{}", report(number)).unwrap();
    }
    let (directory, output) = run(&caller, script, disks, mode);
    let boots = disks.iter().enumerate().map(|(number, _)| {
        let disk = std::fs::read(directory.path().join(format!("disk{number}"))).unwrap();
        Boot { choice: reported(&output, number), disk }
    });
    boots.collect()
}

/// The line of a caller that tells what was chosen.
pub(crate) fn report(number: usize) -> String {
    format!("echo \"@{number}|$upgrade_slot|$upgrade_trial|$upgrade_last@\"")
}

/// What that line told.
pub(crate) fn reported(output: &str, number: usize) -> Choice {
    let (_, rest) = output.split_once(&format!("@{number}|")).unwrap_or_else(|| panic!("{output}"));
    let words: Vec<&str> = rest.split('@').next().unwrap().split('|').collect();
    let [slot, trial, last] = words[..] else { panic!("{words:?} in {output}") };
    Choice {
        slot: slot.parse().unwrap(),
        trial: ["0", "1"].iter().position(|word| *word == trial).unwrap() == 1,
        last_resort: (!last.is_empty()).then(|| last.parse().unwrap()),
    }
}

/// Runs `caller` in GRUB, `$choose` being the path of `script` and hd0, hd1... the disks.
pub(crate) fn run(caller: &str, script: &str, disks: &[Vec<u8>], mode: Disks) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut map = String::new();
    for (number, disk) in disks.iter().enumerate() {
        let file = path.join(format!("disk{number}"));
        write_file(&file, disk);
        writeln!(map, "(hd{number}) {}", file.display()).unwrap();
        let bits = if mode == Disks::ReadOnly { 0o444 } else { 0o600 };
        std::fs::set_permissions(&file, PermissionsExt::from_mode(bits)).unwrap();
    }
    write_file(&path.join("device.map"), map.as_bytes());
    write_file(&path.join("choose.cfg"), script.as_bytes());
    let shell = path.display();
    let caller = format!("set pager=0\nset choose=(host){shell}/choose.cfg\n{caller}\nexit\n");
    write_file(&path.join("grub.cfg"), caller.as_bytes());
    let output = emulate(path, mode);
    (directory, output)
}

/// The output of grub-emu. A script that hangs is ended after a minute.
fn emulate(path: &Path, mode: Disks) -> String {
    let mut grub = command(&tool("timeout", "coreutils"));
    grub.arg("60").arg(tool("grub-emu", "grub-emu"));
    grub.arg("-m").arg(path.join("device.map")).arg("-d").arg(path).current_dir("/");
    let runs_as_root = std::fs::metadata(path).unwrap().uid() == 0;
    if mode == Disks::ReadOnly && runs_as_root {
        // Mode bits do not stop root, so the emulator runs as nobody, who must find the way.
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        grub.uid(NOBODY).gid(NOBODY);
    }
    let output = grub.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "grub-emu: {:?}\n{text}", output.status);
    text
}

/// A copy with these lines in it.
pub(crate) fn lines(text: &str) -> Block {
    let mut block = [b'#'; BLOCK_LEN];
    let whole = format!("# GRUB Environment Block\n{text}");
    block[..whole.len()].copy_from_slice(whole.as_bytes());
    block
}

/// A whole copy.
pub(crate) fn copy(sequence: u32, state: BootState) -> Block {
    let (other, left) = match state.other {
        Other::GivenUp => ("given-up", 0),
        Other::Whole => ("whole", 0),
        Other::Armed => ("trial", 1),
        Other::Spent => ("trial", 0),
    };
    let slot = state.confirmed;
    lines(&format!("seq={sequence}\nslot={slot}\nother={other}\nleft={left}\nend={sequence}\n"))
}

/// A disk with these two copies.
pub(crate) fn disk(one: &Block, two: &Block) -> Vec<u8> {
    let state = BootState::ALL[0];
    let mut disk = bootloader_hooks::image(state);
    put(&mut disk, Copy::One, one);
    put(&mut disk, Copy::Two, two);
    disk
}

/// Every state as the newer and as the older copy, beside `neighbour`.
pub(crate) fn beside(name: &str, neighbour: &Block) -> Vec<(String, Vec<u8>)> {
    BootState::ALL
        .into_iter()
        .flat_map(|state| {
            let whole = copy(7, state);
            [
                (format!("{state:?} in copy one, {name} in two"), disk(&whole, neighbour)),
                (format!("{state:?} in copy two, {name} in one"), disk(neighbour, &whole)),
            ]
        })
        .collect()
}

/// Replaces a copy.
pub(crate) fn put(disk: &mut [u8], copy: Copy, block: &Block) {
    let at = usize::try_from(copy.offset()).unwrap();
    disk[at..at + BLOCK_LEN].copy_from_slice(block);
}

/// The block of a copy.
pub(crate) fn block(disk: &[u8], copy: Copy) -> Block {
    let at = usize::try_from(copy.offset()).unwrap();
    disk[at..at + BLOCK_LEN].try_into().unwrap()
}

/// Both copies of a disk, as the agent reads them.
pub(crate) fn copies(disk: &[u8]) -> Copies {
    Copies::decode(&block(disk, Copy::One), &block(disk, Copy::Two))
}

/// What the boot from this disk must do, by the Rust definition: the choice and the disk after it.
pub(crate) fn expected(disk: &[u8], mode: Disks) -> Boot {
    let before = copies(disk);
    let mut after = disk.to_vec();
    let written = before.spend().filter(|_| mode == Disks::Writable);
    if let Some(Write { copy, block, .. }) = &written {
        put(&mut after, *copy, block);
    }
    let taken =
        before.newest().map(|(copy, state)| (copy, BootState { other: Other::Spent, ..state }));
    let spend = if copies(&after).newest() == taken { Spend::Durable } else { Spend::Failed };
    Boot { choice: choose(before.state(), spend), disk: after }
}

/// Boots from every disk and compares each with [`expected`]; `name` tells one disk from another.
pub(crate) fn check(disks: &[(String, Vec<u8>)], mode: Disks) {
    let images: Vec<Vec<u8>> = disks.iter().map(|(_, disk)| disk.clone()).collect();
    let boots = boot_all(CHOOSE, &images, mode);
    for ((name, disk), boot) in disks.iter().zip(boots) {
        let expected = expected(disk, mode);
        assert_eq!(boot.choice, expected.choice, "{name}: {:?}", copies(disk).newest());
        assert_eq!(copies(&boot.disk), copies(&expected.disk), "{name}: the copies after the boot");
        assert!(boot.disk == expected.disk, "{name}: the rest of the disk after the boot");
    }
}
