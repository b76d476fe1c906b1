//! Bundles that are not accepted: nothing is written, the slot stays what it was, and the exit code says why.

use std::path::{Path, PathBuf};

use bootloader_hooks::Slot;

use crate::appliance::{Appliance, Maker, Plan, digest_of, make};

/// What is wrong with a file, and what is said about it.
struct Wrong {
    path: PathBuf,
    code: &'static str,
    exit: i32,
}

#[test]
fn a_wrong_bundle_is_refused_everywhere_and_changes_nothing() {
    let appliance = Appliance::on(Plan::default());
    let before = digest_of(&appliance.slot(Slot::B));
    for wrong in wrong_bundles(&appliance) {
        let path = wrong.path.to_str().unwrap();
        let keys = appliance.path("keys");
        for command in [
            &Appliance::start_of(&wrong.path)[..],
            &["fetch", path],
            &["check", path],
            &["verify", path, "--keys", keys.to_str().unwrap()],
        ] {
            let said = appliance.upgrade(command).exits(wrong.exit);
            said.says(&format!("error[{}]", wrong.code)).says("  -> ");
        }
        let status = appliance.status();
        assert_eq!((status.phase.word(), status.held), ("idle", None), "after {path}");
    }
    assert_eq!(digest_of(&appliance.slot(Slot::B)), before);
    assert_eq!(std::fs::metadata(appliance.path("data/spool.1")).map_or(0, |m| m.len()), 0);
}

fn wrong_bundles(appliance: &Appliance) -> Vec<Wrong> {
    let good = appliance.bundle("1.1.0-2", "well");
    let bytes = std::fs::read(&good).unwrap();
    let raw = appliance.path("1.1.0-2.img");
    let name = good.file_name().unwrap();
    let other = |directory: &str, bytes: &[u8]| {
        std::fs::create_dir(appliance.path(directory)).unwrap();
        let path = appliance.path(directory).join(name);
        make(&path, bytes);
        path
    };
    std::fs::create_dir(appliance.path("stranger")).unwrap();
    let stranger = Maker::new(&appliance.path("stranger/key"));
    let stranger = stranger.bundle(&appliance.path("stranger"), "1.1.0-2", &raw, |_| {});
    let renamed = good.with_file_name("Test_Box_Upgrade-1.1.0-3.sh.REL.tar");
    make(&renamed, &bytes);
    let copied = good.with_file_name("Test_Box_Upgrade-1.1.0-2.sh.REL (1).tar");
    make(&copied, &bytes);
    let wrong = |path, code| Wrong { path, code, exit: 5 };
    vec![
        wrong(stranger, "signature-unknown-key"),
        wrong(renamed, "name-mismatch"),
        wrong(copied, "name-renamed"),
        wrong(other("short", &bytes[..bytes.len() - 512]), "bundle-truncated"),
        wrong(other("shorter", &bytes[..1000]), "bundle-truncated"),
        wrong(other("nothing", b""), "bundle-truncated"),
        wrong(other("long", &[&bytes[..], b"more"].concat()), "bundle-trailing-data"),
        wrong(other("garbage", &crate::appliance::noise("garbage", 300_000)), "not-a-bundle"),
    ]
}

#[test]
fn a_byte_that_flipped_in_the_image_is_noticed_while_writing_and_the_slot_stays_unbootable() {
    let appliance = Appliance::on(Plan::default());
    let good = appliance.bundle("1.1.0-2", "well");
    let mut bytes = std::fs::read(&good).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::create_dir(appliance.path("flipped")).unwrap();
    let flipped = appliance.path("flipped").join(good.file_name().unwrap());
    make(&flipped, &bytes);
    let keys = appliance.path("keys");
    let verify = ["verify", flipped.to_str().unwrap(), "--keys", keys.to_str().unwrap()];
    appliance.upgrade(&verify).exits(5);
    appliance.upgrade(&Appliance::start_of(&flipped)).exits(1).says("error[");
    let status = appliance.status();
    assert_eq!(status.phase.word(), "failed");
    assert_eq!(status.b.standing, "given-up");
    appliance.upgrade(&["cancel"]).exits(0);
    appliance.upgrade_to(&good);
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let appliance = Appliance::on(Plan::default());
    let name = "Test_Box_Upgrade-1.1.0-2.sh.REL.tar";
    let directory = appliance.path("bundles").join(name);
    std::fs::create_dir(&directory).unwrap();
    let fifo = appliance.path("keys").join(name);
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let missing = Path::new("/nonexistent").join(name);
    let keys = appliance.path("keys");
    for (path, words) in [
        (&directory, "is not a regular file"),
        (&fifo, "is not a regular file"),
        (&missing, "No such file or directory"),
    ] {
        let path = path.to_str().unwrap();
        for command in [
            &["start", path, "--yes"][..],
            &["fetch", path],
            &["check", path],
            &["verify", path, "--keys", keys.to_str().unwrap()],
        ] {
            let said = appliance.upgrade(command).says(words);
            assert!(matches!(said.code, Some(1 | 2 | 5)), "{said}");
        }
    }
    assert_eq!(appliance.status().phase.word(), "idle");
}
