//! The main job: a signed bundle becomes the confirmed system, or the appliance goes back by itself.

use bootloader_hooks::{BootState, Other, Slot};
use flow::readiness::{CheckId, Grade};
use upgrade_agent::door::view::{OutcomeView, ReportView};

use crate::appliance::{Appliance, FIRST, Plan, digest_of, impatient};

#[test]
fn an_upgrade_succeeds_and_is_confirmed_and_the_next_one_goes_back_into_the_first_slot() {
    let mut appliance = Appliance::on(Plan::default());
    appliance.upgrade(&["status"]).exits(0).says("A 1.0.0-1 running, confirmed").says("B given-up");
    appliance.upgrade(&["history"]).exits(0).says("nothing was upgraded yet");

    let second = appliance.bundle("1.1.0-2", "well");
    appliance.start(&second).says("rebooting into B on trial; log in again: upgrade status --wait");
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed").says("last: succeeded");
    assert_eq!(digest_of(&appliance.slot(Slot::B)), digest_of(&appliance.path("1.1.0-2.img")));
    let whole = BootState { confirmed: Slot::B, other: Other::Whole };
    assert_eq!(appliance.boot_state(), Some(whole));
    appliance.guard_the_running_slot();

    let third = appliance.bundle("1.2.0-3", "well");
    appliance.start(&third).says("rebooting into A on trial");
    appliance.wait().exits(0).says("A 1.2.0-3 running, confirmed | B 1.1.0-2 whole | idle");
    assert_eq!(digest_of(&appliance.slot(Slot::A)), digest_of(&appliance.path("1.2.0-3.img")));

    let history: Vec<OutcomeView> = appliance.upgrade(&["--json", "history"]).exits(0).json();
    let story =
        |o: &OutcomeView| (o.from.clone().unwrap(), o.to.clone().unwrap(), o.outcome.clone());
    let told: Vec<_> = history.iter().map(story).collect();
    let row = |from: &str, to: &str| (from.to_owned(), to.to_owned(), "succeeded".to_owned());
    assert_eq!(told, [row(FIRST, "1.1.0-2"), row("1.1.0-2", "1.2.0-3")]);
    let explained = appliance.upgrade(&["explain"]).exits(0);
    explained.says("the upgrade from 1.1.0-2 to 1.2.0-3 in slot A").says("is confirmed");
    appliance.upgrade(&["explain", &history[0].id.to_string()]).exits(0).says("1.1.0-2 in slot B");
    appliance.upgrade(&["explain", "77"]).exits(1).says("number 77 is not in the history");
}

#[test]
fn a_sick_image_goes_back_with_its_reason_and_is_refused_until_it_is_forgiven() {
    let appliance = Appliance::on(impatient());
    let sick = appliance.bundle("1.1.0-2", "engine does not start");
    appliance.start(&sick);
    let reason = "probe selftest failed: exit status: 1: dataplane says: engine does not start";
    appliance
        .wait()
        .exits(1)
        .says("A 1.0.0-1 running, confirmed")
        .says("B 1.1.0-2 given-up")
        .says(reason);
    let last = appliance.last();
    assert_eq!((last.outcome.as_str(), last.cause.unwrap().code.as_str()), ("rolled-back", "sick"));
    let digest = last.digest.unwrap();
    let explained = appliance.upgrade(&["explain"]).exits(0).says(reason);
    explained.says("went back to slot A by itself").says(&format!("upgrade forgive {digest}"));

    // Refused as it is, signed again, and as another build: the raw image is what is remembered.
    refused_for_its_image(&appliance, &Appliance::start_of(&sick));
    let raw = appliance.path("1.1.0-2.img");
    let notes =
        appliance.maker.bundle(&appliance.path("bundles"), "1.1.0-2", &raw, |description| {
            description.notes = "signed again".to_owned();
        });
    refused_for_its_image(&appliance, &Appliance::start_of(&notes));
    let rebuilt = appliance.maker.bundle(&appliance.path("bundles"), "1.1.0-3", &raw, |_| {});
    refused_for_its_image(&appliance, &Appliance::start_of(&rebuilt));
    let forced = [&Appliance::start_of(&sick)[..], &["--force", "image"]].concat();
    refused_for_its_image(&appliance, &forced);
    assert_eq!(
        appliance.boot_state(),
        Some(BootState { confirmed: Slot::A, other: Other::GivenUp })
    );

    appliance.upgrade(&["forgive", "0123"]).exits(2);
    appliance.upgrade(&["forgive", &digest]).exits(0).says("forgiven");
    appliance.upgrade(&["forgive", &digest]).exits(3).says("not on the list");
    appliance.start(&sick);
    appliance.wait().exits(1).says(reason);
}

fn refused_for_its_image(appliance: &Appliance, start: &[&str]) {
    appliance.upgrade(start).exits(4).says("this image failed its trial on this appliance");
    let report: ReportView = appliance.upgrade(&["--json", "check", start[1]]).exits(4).json();
    let row = report.rows.iter().find(|row| row.id == CheckId::Image).unwrap();
    assert_eq!((row.grade, row.forceable), (Grade::Fail, false));
}

#[test]
fn what_is_only_staged_waits_for_activate() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let only = [&Appliance::start_of(&bundle)[..], &["--stage-only"]].concat();
    appliance.upgrade(&only).exits(0).says("it waits; next: upgrade activate");
    appliance
        .upgrade(&["status"])
        .exits(0)
        .says("B 1.1.0-2 staged | staged")
        .says("next: upgrade activate");
    assert_eq!(
        appliance.boot_state().unwrap().other,
        Other::GivenUp,
        "what is staged is not bootable yet"
    );
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(3).says("cannot start while staged");
    appliance.upgrade(&["activate"]).exits(7);
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
    appliance
        .upgrade(&["activate"])
        .exits(3)
        .says("cannot activate while idle; possible when staged");
}

#[test]
fn a_revert_is_a_trial_of_the_previous_system() {
    let mut appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance
        .upgrade(&["revert", "--yes"])
        .exits(3)
        .says("slot B holds no system that this agent wrote");
    appliance.upgrade_to(&bundle);
    // Slot A was written by the factory, not by us: nobody knows its digest.
    appliance
        .upgrade(&["revert", "--yes"])
        .exits(3)
        .says("slot A holds no system that this agent wrote");
    appliance.guard_the_running_slot();
    appliance.upgrade_to(&appliance.bundle("1.2.0-3", "well"));
    appliance.upgrade(&["revert", "--yes"]).exits(7);
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed").says("last: reverted");
}
