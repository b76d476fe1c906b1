//! Trials: what counts as sick, who may accept, who may keep a sick system, and a bootloader that does not count.

use bootloader_hooks::{BootState, Other, Slot};
use flow::readiness::{CheckId, Grade};
use upgrade_agent::door::view::ReportView;

use crate::appliance::{Appliance, Plan, digest_of, impatient, make};

#[test]
fn a_probe_that_hangs_floods_or_cannot_be_started_is_sick_with_that_reason() {
    for (plan, health, reason) in [
        (impatient(), "hangs", "probe selftest failed: no answer within 0."),
        (impatient(), "floods", "all is burning; all is burning"),
        (
            Plan { commands: r#"[["true"], ["./nothing-there"]]"#, ..impatient() },
            "well",
            "probe nothing-there failed: it cannot be started: No such file",
        ),
    ] {
        let appliance = Appliance::on(Plan { answer_within: "400ms", ..plan });
        appliance.start(&appliance.bundle("1.1.0-2", health));
        let said = appliance.wait().exits(1).says("rolled-back").says(reason);
        assert!(said.out.len() < 800, "a flood is shortened: {said}");
        assert_eq!(appliance.last().cause.unwrap().code, "sick");
    }
}

#[test]
fn a_trial_that_is_well_can_wait_for_a_person() {
    let appliance = Appliance::on(Plan { confirm_within: Some("1h"), ..Plan::default() });
    appliance.start(&appliance.bundle("1.1.0-2", "well"));
    appliance.wait().exits(7);
    let status = appliance.wait_until("it is well", |status| !status.next.is_empty());
    assert_eq!(status.phase.word(), "on-trial");
    assert_eq!(status.next, "upgrade confirm, or upgrade cancel");
    assert_eq!(appliance.boot_state(), Some(BootState { confirmed: Slot::A, other: Other::Spent }));
    // The agent may be restarted meanwhile.
    appliance.kill_service();
    appliance.upgrade(&["confirm"]).exits(0).says("upgrade 1.1.0-2: succeeded");
    assert_eq!(appliance.boot_state().unwrap().confirmed, Slot::B);
}

#[test]
fn a_trial_that_nobody_confirms_goes_back_and_condemns_nothing() {
    let appliance = Appliance::on(Plan { confirm_within: Some("500ms"), ..Plan::default() });
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance.start(&bundle);
    appliance.wait_until("the job is over", |status| status.job.is_none());
    let last = appliance.last();
    let cause = last.cause.unwrap();
    assert_eq!((last.outcome.as_str(), cause.code.as_str()), ("rolled-back", "nobody-confirmed"));
    appliance.upgrade(&["check", bundle.to_str().unwrap()]).says("nothing is held against");
}

#[test]
fn confirm_before_the_soak_is_over_is_refused() {
    let appliance =
        Appliance::on(Plan { confirm_within: Some("1h"), soak: "15s", ..Plan::default() });
    appliance.start(&appliance.bundle("1.1.0-2", "well"));
    appliance.wait_for_phase("on-trial");
    appliance.upgrade(&["confirm"]).exits(3).says("has not been healthy for the whole soak");
    assert_eq!(appliance.boot_state().unwrap().confirmed, Slot::A);
}

#[test]
fn without_auto_cancel_a_sick_trial_stays_for_a_person() {
    let mut appliance = Appliance::on(impatient());
    let sick = appliance.bundle("1.1.0-2", "engine does not start");
    let start = [&Appliance::start_of(&sick)[..], &["--no-auto-cancel"]].concat();
    appliance.upgrade(&start).exits(7);
    let failed = appliance.wait().exits(1);
    failed
        .says("B 1.1.0-2 running, on-trial | failed")
        .says("next: upgrade retry, or upgrade cancel");
    appliance.upgrade(&["explain"]).exits(0).says("engine does not start");
    assert_eq!(appliance.boot_state(), Some(BootState { confirmed: Slot::A, other: Other::Spent }));
    appliance.upgrade(&Appliance::start_of(&sick)).exits(3).says("a failed trial still runs");
    // A retry judges once more.
    appliance.upgrade(&["retry"]).exits(1).says("engine does not start");
    // Any reset falls back.
    appliance.cut_power();
    appliance.power_on();
    appliance.wait().exits(1).says("A 1.0.0-1 running, confirmed").says("rolled-back");
}

#[test]
fn without_auto_cancel_cancel_goes_back() {
    let appliance = Appliance::on(impatient());
    let sick = appliance.bundle("1.1.0-2", "engine does not start");
    let start = [&Appliance::start_of(&sick)[..], &["--no-auto-cancel"]].concat();
    appliance.upgrade(&start).exits(7);
    appliance.wait().exits(1);
    appliance.upgrade(&["cancel"]).exits(7);
    appliance.wait().exits(1).says("A 1.0.0-1 running, confirmed");
    assert_eq!(appliance.last().cause.unwrap().code, "sick");
}

#[test]
fn a_bootloader_that_does_not_count_is_noticed_and_the_next_upgrade_refused_until_repair() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    // The try is there again after the boot, as if it had never been taken.
    let armed = BootState { confirmed: Slot::A, other: Other::Armed };
    make(&appliance.path("armed.img"), &bootloader_hooks::image(armed));
    appliance.before_the_next_start("cp armed.img bootstate.img");
    appliance.start(&bundle);
    appliance.wait().exits(1).says("A 1.0.0-1 running, confirmed");
    let last = appliance.last();
    let cause = last.cause.unwrap();
    assert_eq!((last.outcome.as_str(), cause.code.as_str()), ("failed", "boot-counter-broken"));
    assert_eq!(digest_of(&appliance.slot(Slot::B)), digest_of(&appliance.path("1.1.0-2.img")));
    appliance
        .upgrade(&["status"])
        .exits(0)
        .says("degraded: the bootloader's counter does not work");
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(4).says("did not take the try");
    let report: ReportView = appliance.upgrade(&["--json", "check"]).exits(4).json();
    let row = report.rows.iter().find(|row| row.id == CheckId::BootCounter).unwrap();
    assert_eq!((row.grade, row.forceable), (Grade::Fail, false));
    appliance.upgrade(&["repair"]).exits(0).says("repair: succeeded");
    appliance.upgrade_to(&bundle);
}

#[test]
fn a_boot_into_the_other_slot_by_hand_is_no_trial_and_blocks_the_next_upgrade() {
    // The boot state says B, B cannot be loaded, so the firmware takes the last resort.
    let mut appliance = Appliance::off(Plan::default());
    let state = BootState { confirmed: Slot::B, other: Other::Whole };
    make(&appliance.path("bootstate.img"), &bootloader_hooks::image(state));
    appliance.power_on();
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance
        .upgrade(&["status"])
        .exits(0)
        .says("degraded: slot A runs, but B is the confirmed one");
    let before = digest_of(&appliance.slot(Slot::B));
    appliance
        .upgrade(&Appliance::start_of(&bundle))
        .exits(4)
        .says("slot A runs, but B is the confirmed one");
    assert_eq!(digest_of(&appliance.slot(Slot::B)), before);
    assert_eq!(appliance.boot_state(), Some(state));
}
