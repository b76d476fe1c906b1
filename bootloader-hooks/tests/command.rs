//! The command `bootstate`, run as a person or an installer runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod emulator;

use std::path::Path;

use bootloader_hooks::{BLOCK_LEN, BootState, Copy, Other, Slot, image};
use emulator::{command, put, write_file};
use tempfile::TempDir;

/// Exit status, standard output and standard error.
fn bootstate(arguments: &[&str]) -> (i32, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_bootstate"));
    let output = command(program).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A directory and the path of a file in it.
fn place() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("boot-state.img").to_str().unwrap().to_owned();
    (directory, file)
}

#[test]
fn it_writes_the_image_of_the_library() {
    let rows: [(&[&str], BootState); 3] = [
        (&[], BootState { confirmed: Slot::A, other: Other::GivenUp }),
        (&["--confirmed", "B"], BootState { confirmed: Slot::B, other: Other::GivenUp }),
        (&["--other", "whole"], BootState { confirmed: Slot::A, other: Other::Whole }),
    ];
    for (options, state) in rows {
        let (_directory, file) = place();
        let arguments = [&["image", &file], options].concat();
        assert_eq!(bootstate(&arguments), (0, String::new(), String::new()));
        assert!(std::fs::read(&file).unwrap() == image(state));
    }
}

#[test]
fn it_writes_over_nothing_unless_forced() {
    let (_directory, file) = place();
    let old = vec![7; 2 * 1024 * 1024];
    write_file(Path::new(&file), &old);
    let (status, _, error) = bootstate(&["image", &file]);
    assert_eq!(status, 1);
    assert!(error.contains("exists already; nothing was written"), "{error}");
    assert!(std::fs::read(&file).unwrap() == old);

    assert_eq!(bootstate(&["image", &file, "--force"]).0, 0);
    let new = std::fs::read(&file).unwrap();
    assert!(new.starts_with(&image(BootState { confirmed: Slot::A, other: Other::GivenUp })));
    assert_eq!(new.len(), old.len());
}

#[test]
fn even_forced_it_writes_over_nothing_that_cannot_be_a_boot_state_partition() {
    for length in [0, 4096, 16 * 1024 * 1024 + 512] {
        let (_directory, file) = place();
        write_file(Path::new(&file), &vec![7; length]);
        let (status, _, error) = bootstate(&["image", &file, "--force"]);
        assert_eq!(status, 1);
        assert!(error.contains(&format!("is {length} bytes long")), "{error}");
        assert!(std::fs::read(&file).unwrap() == vec![7; length]);
    }
}

#[test]
fn it_shows_both_copies_and_what_boots() {
    let (_directory, file) = place();
    write_file(Path::new(&file), &image(BootState { confirmed: Slot::A, other: Other::Armed }));
    let shown = "\
        env1: A is confirmed, B is whole (seq 1)\n\
        env2: A is confirmed, B is on trial, try not taken (seq 2, counts)\n\
        boots: B, on trial; last resort: A\n";
    assert_eq!(bootstate(&["show", &file]), (0, shown.to_owned(), String::new()));
}

#[test]
fn it_shows_a_damaged_copy_in_words_and_in_its_status() {
    let mut disk = image(BootState { confirmed: Slot::B, other: Other::GivenUp });
    put(&mut disk, Copy::Two, &[0; BLOCK_LEN]);
    let (_directory, file) = place();
    write_file(Path::new(&file), &disk);
    let shown = "\
        env1: B is confirmed, A is given up (seq 1, counts)\n\
        env2: damaged: it is not a GRUB environment block\n\
        boots: B; last resort: none\n";
    assert_eq!(bootstate(&["show", &file]), (3, shown.to_owned(), String::new()));

    let (_directory, file) = place();
    put(&mut disk, Copy::One, &[0; BLOCK_LEN]);
    write_file(Path::new(&file), &disk);
    let (status, text, _) = bootstate(&["show", &file]);
    assert_eq!(status, 4);
    assert!(text.ends_with("boots: A; last resort: B\n"), "{text}");
}

#[test]
fn it_tells_programs_the_same() {
    let mut disk = image(BootState { confirmed: Slot::A, other: Other::Armed });
    put(&mut disk, Copy::One, &[0; BLOCK_LEN]);
    let (_directory, file) = place();
    write_file(Path::new(&file), &disk);
    let (status, text, _) = bootstate(&["show", "--json", &file]);
    assert_eq!(status, 3);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "copies": [
            { "copy": "one", "offset": 262_144, "damage": "it is not a GRUB environment block" },
            {
                "copy": "two", "offset": 786_432, "sequence": 2,
                "state": { "confirmed": "A", "other": "armed" },
            },
        ],
        "newest": "two",
        "boots": { "slot": "B", "trial": true, "last_resort": "A" },
    });
    assert_eq!(told, expected);
}

#[test]
fn it_says_what_it_does_not_understand() {
    let rows: [(&[&str], &str); 8] = [
        (&[], "say `image` or `show`"),
        (&["arm", "x"], "\"arm\" is not a command"),
        (&["image"], "image needs a FILE"),
        (&["image", "x", "y"], "\"y\" is too much"),
        (&["image", "x", "--confirmed"], "--confirmed needs a value"),
        (&["image", "x", "--confirmed", "a"], "\"a\" is not a slot; the slots are A and B"),
        (&["image", "x", "--other", "armed"], "\"armed\" is not given-up or whole"),
        (&["show", "x", "--force"], "show knows no --force"),
    ];
    for (arguments, words) in rows {
        let (status, text, error) = bootstate(arguments);
        assert_eq!((status, text.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains(words) && error.contains("bootstate --help"), "{error}");
    }
}

#[test]
fn it_explains_itself() {
    for arguments in [&["--help"][..], &["help"], &["image", "--help"], &["show", "-h"]] {
        let (status, text, _) = bootstate(arguments);
        assert_eq!(status, 0);
        assert!(text.contains("Exit status:"), "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_or_too_short_is_a_failure_with_its_name() {
    let (_directory, file) = place();
    for words in ["opening: No such file", "reading a copy of the boot state"] {
        let (status, _, error) = bootstate(&["show", &file]);
        assert_eq!(status, 1);
        assert!(error.contains(&file) && error.contains(words), "{error}");
        if words.starts_with("opening") {
            write_file(Path::new(&file), &[0; 8192]);
        }
    }
}
