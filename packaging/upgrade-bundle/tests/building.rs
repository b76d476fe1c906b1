//! The real binary, used as a release engineer would: keys and bundles.

mod desk;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use desk::{Desk, Ended, NAME, RELEASE, image};

#[test]
fn a_bundle_is_built_inspected_and_verified() {
    let desk = Desk::new();
    let built = desk.build(&["--json"]);
    assert_eq!((built.code, built.err.as_str()), (0, ""), "no progress without a terminal");
    let json = built.json();
    assert_eq!(json["path"], format!("out/{NAME}"));
    assert_eq!(json["manifest"]["licence"], "Use it well.\n");
    assert_eq!(json["manifest"]["extensions"]["ticket"], 4711);
    assert_eq!(desk.left_in_out(), [NAME]);
    let file = format!("out/{NAME}");
    assert_eq!(json["size"], desk.read(&file).len());
    let mode = fs::metadata(desk.path(&file)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let verified = desk.run(&["verify", &file, "--keys", "."]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    assert!(verified.out.starts_with("verified: everything"), "{}", verified.out);
    let json = desk.run(&["verify", &file, "--keys", ".", "--json"]).json();
    assert_eq!(json["verified"]["content"], true);
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let desk = Desk::new();
    let file = format!("out/{NAME}");
    let built: Vec<Vec<u8>> = ["1", "2", "7"]
        .into_iter()
        .map(|threads| {
            let ended = desk.build(&["--threads", threads, "--replace"]);
            assert_eq!(ended.code, 0, "{}", ended.err);
            desk.read(&file)
        })
        .collect();
    assert!(built[0] == built[1] && built[1] == built[2]);
    assert_eq!(desk.left_in_out(), [NAME]);
}

#[test]
fn a_bundle_is_replaced_only_when_asked_and_a_key_never() {
    let desk = Desk::new();
    assert_eq!(desk.build(&[]).code, 0);
    let before = desk.read(&format!("out/{NAME}"));
    desk.build(&[]).refused(1, "bundle-exists");
    assert!(before == desk.read(&format!("out/{NAME}")));
    let key = desk.read("vendor.key");
    desk.run(&["keygen", "--out", "vendor"]).refused(1, "key-exists");
    desk.remove("vendor.pem");
    desk.run(&["keygen", "--out", "vendor"]).refused(1, "key-exists");
    assert!(!desk.path("vendor.pem").exists(), "no public half of a key that was not written");
    assert_eq!(key, desk.read("vendor.key"));
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let desk = Desk::new();
    let mode = fs::metadata(desk.path("vendor.key")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    desk.openssl(&["pkey", "-in", "vendor.key", "-pubout", "-out", "again.pem"]);
    assert_eq!(desk.read("again.pem"), desk.read("vendor.pem"));
    fs::create_dir(desk.path("keys")).expect("new");
    desk.openssl(&["genpkey", "-algorithm", "ed25519", "-out", "theirs.key"]);
    desk.openssl(&["pkey", "-in", "theirs.key", "-pubout", "-out", "keys/theirs.pem"]);
    assert_eq!(desk.build(&["--key", "theirs.key"]).code, 0);
    let file = format!("out/{NAME}");
    let verified = desk.run(&["verify", &file, "--keys", "keys"]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    desk.run(&["verify", &file, "--keys", "keys", "--signatures", "2"])
        .refused(5, "signatures-too-few");
}

#[test]
fn a_wrong_description_is_refused_with_line_and_column() {
    let desk = Desk::new();
    for (from, to, code, place) in [
        ("build = 90", "biuld = 90", "description-syntax", "line 6, column 1"),
        ("\"7.4.2\"", "\"7.4.2.0\"", "description-syntax", "line 5, column 11"),
        ("[floors]", "[floors]\ncompanion = 1", "description-syntax", "line 17, column 1"),
        ("level = 3", "level = 3\nlevel = 4", "description-syntax", "line 22, column 1"),
        ("\"2026-01-31T12:00:00Z\"", "\"yesterday\"", "description-syntax", "line 8, column 11"),
        ("level = 3", "level = 99", "image-option", "level is 99"),
        ("level = 3", "chunk_size = 1000", "manifest-value", "chunks of 1000 bytes"),
        ("010_space.sh", "space.sh", "file-missing", "space.sh"),
        ("created", "#", "description-undated", "SOURCE_DATE_EPOCH"),
        ("rootfs.img", "nothere.img", "file-missing", "nothere.img"),
    ] {
        desk.write("release.toml", RELEASE.replacen(from, to, 1).as_bytes());
        let ended = desk.build(&[]);
        ended.refused(1, code);
        assert!(ended.err.contains(place), "{to}: {}", ended.err);
    }
    assert_eq!(desk.left_in_out(), [""; 0]);
}

#[test]
fn the_date_of_the_environment_is_used_when_the_description_has_none() {
    let desk = Desk::new();
    desk.write("release.toml", RELEASE.replacen("created", "#", 1).as_bytes());
    let mut command = desk.command(env!("CARGO_BIN_EXE_upgrade-bundle"));
    command.args(["build", "release.toml", "--key", "vendor.key", "--out", "out", "--json"]);
    let output = command.env("SOURCE_DATE_EPOCH", "1700000000").output().expect("it starts");
    assert_eq!(Ended::from(output).json()["manifest"]["created"], 1_700_000_000);
    let output = command.env("SOURCE_DATE_EPOCH", "soon").output().expect("it starts");
    Ended::from(output).refused(1, "source-date-epoch");
}

#[test]
fn an_image_that_is_no_slot_image_leaves_nothing_behind() {
    let desk = Desk::new();
    for size in [0, 4095, 256 * 1024 + 1] {
        desk.write("rootfs.img", &image(size));
        desk.build(&[]).refused(1, "image-size");
    }
    desk.write("rootfs.img", &image(4096));
    assert_eq!(desk.left_in_out(), [""; 0]);
    assert_eq!(desk.build(&[]).code, 0, "one block is an image");
    let verified = desk.run(&["verify", &format!("out/{NAME}"), "--keys", "."]);
    assert_eq!(verified.code, 0, "{}", verified.err);
}

#[test]
fn a_killed_build_leaves_nothing_behind() {
    let desk = Desk::new();
    desk.remove("rootfs.img");
    // A pipe for an image: the build waits for its rest, so it is certainly in its middle.
    mkfifo(&desk.path("rootfs.img"), Mode::S_IRWXU).expect("a pipe");
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut command = desk.command(env!("CARGO_BIN_EXE_upgrade-bundle"));
        command.args(["build", "release.toml", "--key", "vendor.key", "--out", "out"]);
        let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
        let pipe = fs::OpenOptions::new().write(true).open(desk.path("rootfs.img"));
        let mut pipe = pipe.expect("the build reads it");
        pipe.write_all(&image(8 * 1024 * 1024)).expect("the build reads it");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        kill(pid, signal).expect("it runs");
        let ended = child.wait().expect("it ends");
        assert_eq!(ended.code(), None, "it was still building");
        assert_eq!(desk.left_in_out(), [""; 0], "{signal}");
    }
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["build", "release.toml"]).code, 2);
    assert_eq!(desk.run(&["frobnicate"]).code, 2);
    assert_eq!(desk.run(&["verify", "x", "--keys", ".", "--signatures", "0"]).code, 2);
    let help = desk.run(&["build", "--help"]);
    assert_eq!(help.code, 0);
    let start = help.out.find("  product = ").expect("an example");
    let example = help.out[start..].lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    desk.write("release.toml", example.as_bytes());
    let built = desk.build(&[]);
    assert_eq!(built.code, 0, "the example of --help builds: {}", built.err);
}

#[test]
fn a_full_disk_is_said_to_be_one() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let description = upgrade_bundle::Description::new(
        "Acme_SGW".parse().expect("a platform"),
        "7.4.2-90".parse().expect("a release"),
    );
    let key = upgrade_bundle::SigningKey::from_seed([1; 32]);
    let failure = upgrade_bundle::build(
        &description,
        &image(1024 * 1024)[..],
        &[key],
        &upgrade_bundle::Workshop::default(),
        std::io::Cursor::new(Vec::new()),
        &mut Full,
    );
    assert_eq!(failure.expect_err("full").code(), "disk-full");
}
