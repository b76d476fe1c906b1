//! The service is killed and the plug is pulled, at the moments that hurt.

use bootloader_hooks::{BootState, Copy, Other, Slot};
use flow::readiness::{CheckId, Grade};
use upgrade_agent::door::view::ReportView;

use crate::appliance::{Appliance, MIB, Plan, slow_writing};

/// A trial that lasts, so that something can happen to it.
fn slow_trial() -> Plan {
    Plan { soak: "15s", ..Plan::default() }
}

#[test]
fn a_service_that_died_while_writing_asks_for_the_file_and_does_not_write_twice() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_written(MIB);
    appliance.kill_service();
    start.finish().exits(6).says("the service went away");

    appliance.upgrade(&["status"]).exits(0).says("| failed;").says("next: upgrade start FILE");
    appliance.upgrade(&["status", "--wait"]).exits(1);
    appliance.upgrade(&["retry"]).exits(3).says("give the file again: upgrade start");
    appliance.upgrade(&["explain"]).exits(0).says("give the file again");
    assert_eq!(appliance.boot_state().unwrap().other, Other::GivenUp);

    appliance.upgrade_to(&bundle);
    assert!(rewritten(&appliance) + MIB <= to_write(&appliance), "{}", appliance.log());
    assert!(rewritten(&appliance) > 0);
}

#[test]
fn a_service_that_died_while_writing_from_the_spool_goes_on_by_itself() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance
        .upgrade(&["fetch", bundle.to_str().unwrap()])
        .exits(0)
        .says("fetch 1.1.0-2: succeeded");
    let name = bundle.file_name().unwrap().to_str().unwrap();
    appliance.upgrade(&["status", "--detail"]).exits(0).says(name);
    let start = appliance.upgrade_in_background(&["start", "--yes", "--force", "clock"]);
    appliance.wait_for_written(MIB);
    appliance.kill_service();
    start.finish().exits(6);
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
    assert!(rewritten(&appliance) + MIB <= to_write(&appliance), "{}", appliance.log());
}

#[test]
fn after_a_power_cut_the_writing_goes_on_but_nobody_reboots_on_a_stale_decision() {
    let mut appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance.upgrade(&["fetch", bundle.to_str().unwrap()]).exits(0);
    let start = appliance.upgrade_in_background(&["start", "--yes", "--force", "clock"]);
    appliance.wait_for_written(MIB);
    appliance.cut_power();
    start.finish().exits(6);
    appliance.power_on();
    appliance
        .upgrade(&["status", "--wait"])
        .exits(7)
        .says("B 1.1.0-2 staged | staged; next: upgrade activate");
    assert_eq!(
        appliance.boot_state(),
        Some(BootState { confirmed: Slot::A, other: Other::GivenUp })
    );
    assert!(rewritten(&appliance) + MIB <= to_write(&appliance), "{}", appliance.log());
    appliance.check_untouched();
    appliance.upgrade(&["activate"]).exits(7);
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
}

#[test]
fn a_slot_that_was_changed_after_staging_is_not_armed() {
    let mut appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let only = [&Appliance::start_of(&bundle)[..], &["--stage-only"]].concat();
    appliance.upgrade(&only).exits(0);
    appliance.cut_power();
    let slot = std::fs::OpenOptions::new().write(true).open(appliance.slot(Slot::B)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&slot, b"!", 2 * MIB + 5).unwrap();
    appliance.power_on();
    appliance.wait_for_phase("staged");
    appliance.upgrade(&["activate"]).exits(1).says("slot B does not hold the image");
    assert_eq!(appliance.boot_state().unwrap().other, Other::GivenUp);
}

#[test]
fn a_trial_cut_short_once_is_no_evidence_and_the_second_time_it_is() {
    let mut appliance = Appliance::on(slow_trial());
    let bundle = appliance.bundle("1.1.0-2", "well");
    for (word, code) in [("interrupted", "cut-on-trial"), ("rolled-back", "cut-on-trial-again")] {
        appliance.start(&bundle);
        appliance.wait_for_phase("on-trial");
        appliance.cut_power();
        appliance.power_on();
        appliance.wait().exits(1).says("A 1.0.0-1 running, confirmed").says(word);
        assert_eq!(appliance.last().cause.unwrap().code, code);
        let report: ReportView =
            appliance.upgrade(&["--json", "check", bundle.to_str().unwrap()]).json();
        let grade = report.rows.iter().find(|row| row.id == CheckId::Image).unwrap().grade;
        assert_eq!(grade, if word == "interrupted" { Grade::Warn } else { Grade::Fail });
    }
    appliance.upgrade(&Appliance::start_of(&bundle)).exits(4);
}

#[test]
fn a_cut_between_arming_and_reboot_is_only_a_rougher_reboot() {
    let mut appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance.hold_the_firmware();
    appliance.start(&bundle);
    appliance.wait_for_the_reboot();
    assert_eq!(appliance.boot_state().unwrap().other, Other::Armed);
    appliance.cut_power();
    appliance.power_on();
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
}

#[test]
fn an_armed_copy_that_cannot_be_read_boots_the_confirmed_slot_and_waits_for_a_person() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let firmware = appliance.hold_the_firmware();
    appliance.start(&bundle);
    appliance.wait_for_the_reboot();
    appliance.damage(appliance.newer_copy());
    nix::sys::signal::kill(firmware, nix::sys::signal::Signal::SIGCONT).unwrap();
    appliance.wait_for_phase("staged");
    appliance.upgrade(&["status"]).exits(0).says("A 1.0.0-1 running, confirmed | B 1.1.0-2 staged");
    appliance.upgrade(&["activate"]).exits(7);
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
}

#[test]
fn a_service_that_died_on_trial_judges_on_and_the_third_start_is_sick() {
    let appliance = Appliance::on(Plan { soak: "1s", ..Plan::default() });
    appliance.start(&appliance.bundle("1.1.0-2", "well"));
    appliance.wait_for_phase("on-trial");
    appliance.kill_service();
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");

    let appliance = Appliance::on(slow_trial());
    appliance.start(&appliance.bundle("1.1.0-2", "well"));
    appliance.wait_for_phase("on-trial");
    appliance.kill_service();
    appliance.wait_for_phase("on-trial");
    appliance.kill_service();
    appliance.wait().exits(1).says("A 1.0.0-1 running, confirmed").says("rolled-back");
    assert_eq!(appliance.last().cause.unwrap().code, "agent-restarts");
}

#[test]
fn one_copy_of_the_boot_state_lost_on_trial_does_not_matter_and_neither_do_both() {
    for copies in [&Copy::ALL[..1], &Copy::ALL[1..], &Copy::ALL[..]] {
        let appliance = Appliance::on(Plan { soak: "1s", ..Plan::default() });
        appliance.start(&appliance.bundle("1.1.0-2", "well"));
        appliance.wait_for_phase("on-trial");
        for copy in copies {
            appliance.damage(*copy);
        }
        appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed | idle");
        let whole = BootState { confirmed: Slot::B, other: Other::Whole };
        assert_eq!(appliance.boot_state(), Some(whole));
        appliance.upgrade(&["check"]).says("both copies are whole");
    }
}

/// Bytes that the last staging had to write, from the log.
fn rewritten(appliance: &Appliance) -> u64 {
    let log = appliance.log();
    let line =
        log.lines().rfind(|line| line.contains("staged") && line.contains("written=")).unwrap();
    let number = line.rsplit("written=").next().unwrap();
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Bytes of chunks that a slot of zeros does not hold already.
fn to_write(appliance: &Appliance) -> u64 {
    let image = std::fs::read(appliance.path("1.1.0-2.img")).unwrap();
    let chunks = image.chunks(256 * 1024).filter(|chunk| chunk.iter().any(|byte| *byte != 0));
    chunks.map(|chunk| chunk.len() as u64).sum()
}
