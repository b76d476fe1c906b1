//! Readiness: each built-in check with the real thing wrong. Nothing is written, and the exit code is 4.

use bootloader_hooks::{Copy, Slot};
use bundle_format::{FromRange, Kind};
use flow::readiness::{CheckId, Grade, Row};
use upgrade_agent::door::view::ReportView;
use upgrade_bundle::Description;

use crate::appliance::{Appliance, MIB, Plan, digest_of};

/// The line of one check, from a check with this bundle.
fn row(appliance: &Appliance, bundle: &std::path::Path, id: CheckId) -> Row {
    let said = appliance.upgrade(&["--json", "check", bundle.to_str().unwrap()]);
    let report: ReportView = said.json();
    assert_eq!(said.code, Some(if report.ready { 0 } else { 4 }), "{said}");
    report.rows.into_iter().find(|row| row.id == id).unwrap()
}

/// What differs from a good bundle, the check that sees it, and what it says.
type Wrong = (fn(&mut Description), CheckId, &'static str);

fn to(description: &mut Description, release: &str) {
    description.release = release.parse().unwrap();
}

#[test]
fn a_bundle_that_does_not_fit_this_appliance_is_not_written() {
    let appliance = Appliance::on(Plan::default());
    let raw = appliance.image("1.1.0-2", "well");
    let before = digest_of(&appliance.slot(Slot::B));
    let rows: [Wrong; 6] = [
        (
            |d| d.platform = "Other_Box".parse().unwrap(),
            CheckId::Platform,
            "the bundle is for Other_Box, this appliance is Test_Box",
        ),
        (
            |d| d.models = vec!["Big_Box".to_owned(), "Flat_Box".to_owned()],
            CheckId::Model,
            "this appliance is Test_Box, the bundle is for Big_Box, Flat_Box",
        ),
        (
            |d| {
                let (min, max) = ("0.1.0".parse().unwrap(), "0.9.0".parse().unwrap());
                d.from = vec![FromRange { min, max, except: vec![] }];
            },
            CheckId::Path,
            "no direct path from 1.0.0-1 to 1.1.0-2; this bundle upgrades 0.1.0 to 0.9.0",
        ),
        (
            |d| {
                let (min, max) = ("0.1.0".parse().unwrap(), "1.1.0".parse().unwrap());
                d.from = vec![FromRange { min, max, except: vec!["1.0.0".parse().unwrap()] }];
            },
            CheckId::Path,
            "no direct path from 1.0.0-1 to 1.1.0-2; this bundle upgrades 0.1.0 to 1.1.0 (not 1.0.0)",
        ),
        (|d| to(d, "0.9.0-7"), CheckId::Path, "0.9.0-7 is older than 1.0.0-1, which runs"),
        (
            |d| {
                to(d, "1.0.1.1-2");
                d.kind = Kind::Patch;
            },
            CheckId::Path,
            "a patch for 1.0.1 does not fit 1.0.0-1",
        ),
    ];
    for (change, id, found) in rows {
        let bundle = appliance.maker.bundle(&appliance.path("bundles"), "1.1.0-2", &raw, change);
        let seen = row(&appliance, &bundle, id);
        assert_eq!((seen.grade, seen.found.as_str(), seen.forceable), (Grade::Fail, found, false));
        let forced = [&Appliance::start_of(&bundle)[..], &["--force", id.word()]].concat();
        appliance.upgrade(&forced).exits(4).says(found);
    }
    assert_eq!(digest_of(&appliance.slot(Slot::B)), before);
    assert_eq!(appliance.status().phase.word(), "idle");
}

#[test]
fn the_running_version_is_written_again_only_when_forced() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.0.0-1", "well");
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(4).says("1.0.0-1 is what runs already");
    let forced = [&Appliance::start_of(&bundle)[..], &["--force", "path"]].concat();
    appliance.upgrade(&forced).exits(7);
    appliance.wait().exits(0).says("B 1.0.0-1 running, confirmed");
}

#[test]
fn a_model_that_cannot_be_found_out_blocks_like_a_wrong_one() {
    let appliance = Appliance::on(Plan::default());
    std::fs::remove_file(appliance.path("model")).unwrap();
    let bundle = appliance.bundle("1.1.0-2", "well");
    let seen = row(&appliance, &bundle, CheckId::Model);
    assert_eq!((seen.grade, seen.forceable), (Grade::Unknown, false));
    assert!(seen.found.contains("cannot read the model"), "{seen:?}");
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(4).says("UNKNOWN");
}

#[test]
fn a_running_slot_without_a_version_blocks() {
    // After the firmware's look at it, because the firmware takes such a slot for one that cannot be loaded.
    let mut appliance = Appliance::off(Plan::default());
    appliance.before_the_next_start(
        "PATH=$PATH:/sbin:/usr/sbin debugfs -w -R 'rm /usr/lib/os-release' a.img",
    );
    appliance.power_on();
    appliance.let_the_first_slot_change();
    let bundle = appliance.bundle("1.1.0-2", "well");
    let seen = row(&appliance, &bundle, CheckId::Path);
    assert_eq!(seen.grade, Grade::Unknown, "{seen:?}");
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(4).says("os-release");
    appliance.upgrade(&["status"]).exits(0).says("A running, confirmed");
}

#[test]
fn a_slot_that_is_too_small_is_seen_before_it_is_touched() {
    let appliance = Appliance::on(Plan { slot_b: 2 * MIB, ..Plan::default() });
    let before = digest_of(&appliance.slot(Slot::B));
    let bundle = appliance.bundle("1.1.0-2", "well");
    let found = "the image has 4194304 bytes, slot B only 2097152";
    assert_eq!(row(&appliance, &bundle, CheckId::SlotSize).found, found);
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(4).says(found);
    assert_eq!(digest_of(&appliance.slot(Slot::B)), before);
}

#[test]
fn one_damaged_copy_of_the_boot_state_warns_and_both_block_until_repair() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance.damage(Copy::One);
    let seen = row(&appliance, &bundle, CheckId::BootState);
    assert_eq!((seen.grade, seen.found.as_str()), (Grade::Warn, "1 of 2 copies cannot be read"));
    appliance.damage(Copy::Two);
    let seen = row(&appliance, &bundle, CheckId::BootState);
    assert_eq!((seen.grade, seen.forceable), (Grade::Fail, false));
    assert_eq!(row(&appliance, &bundle, CheckId::RunningSlot).grade, Grade::Unknown);
    let before = digest_of(&appliance.slot(Slot::B));
    appliance
        .upgrade(&Appliance::start_of(&bundle))
        .exits(4)
        .says("neither copy of the boot state");
    assert_eq!(digest_of(&appliance.slot(Slot::B)), before);
    appliance.upgrade(&["status"]).exits(0).says("degraded: neither copy").says("upgrade repair");
    appliance.upgrade(&["repair"]).exits(0).says("repair: succeeded");
    assert_eq!(row(&appliance, &bundle, CheckId::BootState).grade, Grade::Pass);
    assert_eq!(appliance.boot_state().unwrap().confirmed, Slot::A);
    appliance.upgrade_to(&bundle);
}

#[test]
fn one_damaged_copy_is_mended_by_the_next_upgrade() {
    for copy in Copy::ALL {
        let mut appliance = Appliance::off(Plan::default());
        appliance.damage(copy);
        appliance.power_on();
        appliance.upgrade_to(&appliance.bundle("1.1.0-2", "well"));
        appliance.upgrade(&["check"]).says("both copies are whole");
    }
}

#[test]
fn a_clock_that_nothing_disciplines_is_a_reason_to_refuse_that_a_person_may_override() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let seen = row(&appliance, &bundle, CheckId::Clock);
    assert!(seen.forceable && seen.found.contains("synchronised"), "{seen:?}");
    let unforced = ["start", bundle.to_str().unwrap(), "--yes", "--stage-only"];
    // Which of the two this machine shows is not ours to choose.
    if seen.grade == Grade::Pass {
        appliance.upgrade(&unforced).exits(0);
    } else {
        assert_eq!(seen.grade, Grade::Fail);
        let refused = appliance.upgrade(&unforced).exits(4);
        refused.says("FAIL    clock").says("-> or override it: --force clock").says("not ready");
        let forced = [&unforced[..], &["--force", "clock"]].concat();
        appliance.upgrade(&forced).exits(0).says("next: upgrade activate");
    }
}
