//! The image of the boot-state partition, as the tools that own ext2 see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod emulator;

use bootloader_hooks::{BLOCK_LEN, BootState, Copy, IMAGE_LEN, image};
use emulator::{block, command, copies, tool, write_file};
use tempfile::TempDir;

/// Runs a tool of e2fsprogs on a file with the image of a state.
fn inspect(name: &str, arguments: &[&str], state: BootState) -> (bool, String) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("image");
    write_file(&file, &image(state));
    let output = command(&tool(name, "e2fsprogs")).args(arguments).arg(&file).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn e2fsck_has_nothing_to_say_about_it() {
    for state in BootState::ALL {
        let (clean, text) = inspect("e2fsck", &["-f", "-n"], state);
        assert!(clean, "{text}");
        assert!(text.contains("13/32 files (0.0% non-contiguous), 9/256 blocks"), "{text}");
        assert!(!text.to_lowercase().contains("warning"), "{text}");
    }
}

#[test]
fn each_copy_is_one_block_alone_at_its_documented_offset() {
    let documented = [(Copy::One, 262_144), (Copy::Two, 786_432)];
    for (copy, offset) in documented {
        assert_eq!(copy.offset(), offset);
        let request = format!("stat /{}", copy.file_name());
        let (_, text) = inspect("debugfs", &["-R", &request], BootState::ALL[0]);
        assert!(text.contains("Size: 4096"), "{text}");
        let expected = format!("(0):{}\nTOTAL: 1", offset / BLOCK_LEN as u64);
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn it_has_no_feature_that_anything_could_want_to_replay_or_convert() {
    let (_, text) = inspect("dumpe2fs", &["-h"], BootState::ALL[0]);
    let features = text.lines().find(|line| line.starts_with("Filesystem features:")).unwrap();
    assert_eq!(features.split_whitespace().skip(2).collect::<Vec<_>>(), ["filetype"]);
}

#[test]
fn the_same_state_gives_the_same_bytes_and_says_it() {
    for state in BootState::ALL {
        let bytes = image(state);
        assert_eq!(bytes.len() as u64, IMAGE_LEN);
        assert_eq!(bytes, image(state));
        assert_eq!(copies(&bytes).newest(), Some((Copy::Two, state)));
        assert_eq!(copies(&bytes).damaged().count(), 0);
    }
}

#[test]
fn images_of_two_states_differ_in_the_copies_alone() {
    let mut seen = Vec::new();
    for state in BootState::ALL {
        let mut bytes = image(state);
        for copy in Copy::ALL {
            assert!(block(&bytes, copy).starts_with(b"# GRUB Environment Block\nseq="));
            emulator::put(&mut bytes, copy, &[0; BLOCK_LEN]);
        }
        seen.push(bytes);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1);
}
