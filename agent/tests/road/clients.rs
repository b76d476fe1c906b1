//! Clients come and go: none of them can stop, speed up or double an upgrade by going away.

use std::process::Stdio;

use bootloader_hooks::Other;
use nix::sys::signal::Signal;

use crate::appliance::{Appliance, MIB, Plan, slow_writing};

#[test]
fn of_two_starts_at_once_exactly_one_is_taken_and_the_other_hears_the_phase() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let clients = [(); 2].map(|()| appliance.upgrade_in_background(&Appliance::start_of(&bundle)));
    let mut said = clients.map(crate::appliance::Running::finish);
    said.sort_by_key(|said| said.code);
    let [refused, taken] = said;
    let refused = refused.exits(3);
    assert!(
        ["verifying", "assessing", "writing"].iter().any(|phase| {
            refused.err.contains(&format!("cannot start while {phase}; possible when idle, failed"))
        }),
        "{refused}"
    );
    taken.exits(7).says("rebooting into B");
    appliance.wait().exits(0);
    let history = appliance.upgrade(&["history"]).exits(0);
    assert_eq!(history.out.lines().count(), 1, "{history}");
}

#[test]
fn ctrl_c_detaches_and_the_upgrade_goes_on() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let mut start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    start.wait_for("writing B");
    start.signal(Signal::SIGINT);
    start.finish().exits(7).says("detached, the upgrade goes on; upgrade cancel stops it");
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
}

#[test]
fn a_client_that_is_killed_changes_nothing() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_written(MIB / 2);
    start.signal(Signal::SIGKILL);
    assert_eq!(start.finish().code, None);
    // The client may even take its file along: the service has it open.
    std::fs::remove_file(&bundle).unwrap();
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
}

#[test]
fn a_client_whose_output_nobody_reads_any_more_changes_nothing() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let mut command = appliance.command(&Appliance::start_of(&bundle));
    let mut child = command
        .arg("--json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    child.wait().unwrap();
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed");
}

#[test]
fn cancel_while_writing_gives_slot_b_up_and_leaves_a_alone() {
    let appliance = Appliance::on(Plan { other: Other::Whole, ..slow_writing() });
    appliance.upgrade(&["status"]).exits(0).says("B whole");
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_written(MIB / 2);
    appliance
        .upgrade(&["cancel"])
        .exits(0)
        .says("cancelled; slot B is given-up, A was not touched");
    start.finish().exits(1).says("cancelled on request");
    assert_eq!(appliance.boot_state().unwrap().other, Other::GivenUp);
    appliance.check_untouched();
    appliance.upgrade(&["status"]).exits(0).says("| idle; last: cancelled");
    appliance.upgrade(&["cancel"]).exits(3).says("nothing to cancel: the agent is idle");
    // What was cancelled is not condemned.
    appliance.upgrade_to(&bundle);
}

#[test]
fn cancel_on_trial_goes_back_and_condemns_nothing() {
    let appliance = Appliance::on(Plan { soak: "15s", ..Plan::default() });
    let bundle = appliance.bundle("1.1.0-2", "well");
    appliance.start(&bundle);
    appliance.wait_for_phase("on-trial");
    appliance.upgrade(&["cancel"]).exits(7);
    appliance
        .wait()
        .exits(1)
        .says("A 1.0.0-1 running, confirmed | B 1.1.0-2 whole | idle; last: cancelled");
    appliance
        .upgrade(&["check", bundle.to_str().unwrap()])
        .says("nothing is held against this image");
}

#[test]
fn commands_that_do_not_fit_the_phase_are_refused_and_name_the_phases_that_would() {
    let appliance = Appliance::on(slow_writing());
    for (command, words) in [
        ("retry", "cannot retry while idle; possible when failed"),
        ("activate", "cannot activate while idle; possible when staged"),
        ("confirm", "cannot confirm while idle; possible when on-trial"),
        ("cancel", "nothing to cancel"),
    ] {
        appliance.upgrade(&[command]).exits(3).says(words);
    }
    appliance.upgrade(&["start", "--yes"]).exits(3).says("no bundle is held; give the file");
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_phase("writing");
    for (command, words) in [
        ("retry", "cannot retry while writing; possible when failed"),
        ("repair", "cannot repair while writing; possible when idle"),
        ("activate", "cannot activate while writing; possible when staged"),
    ] {
        appliance.upgrade(&[command]).exits(3).says(words);
    }
    let path = bundle.to_str().unwrap();
    appliance.upgrade(&["fetch", path]).exits(3).says("cannot fetch while writing");
    appliance.upgrade(&["check", path]).exits(3).says("cannot check while writing");
    start.finish().exits(7);
}

#[test]
fn wrong_usage_is_told_apart_from_a_service_that_is_not_there() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let path = bundle.to_str().unwrap();
    appliance.upgrade(&["start", path]).exits(2).says("there is no terminal to ask on; give --yes");
    appliance.upgrade(&["start", path, "--yes", "--froce", "clock"]).exits(2).says("--froce");
    let unknown = appliance.upgrade(&["start", path, "--yes", "--force", "moon"]).exits(2);
    unknown.says("`moon` is no check; the checks are signature, platform");
    appliance.upgrade(&["upgarde"]).exits(2);
    appliance.upgrade(&[]).exits(2);
    appliance.upgrade(&["discard"]).exits(3).says("no bundle is held");
    assert_eq!(appliance.status().phase.word(), "idle");

    let nowhere = ["--socket", "/nonexistent/api.sock"];
    for command in [&["status"][..], &["history"], &["cancel"], &["start", path, "--yes"]] {
        let gone = appliance.upgrade(&[&nowhere[..], command].concat()).exits(6);
        gone.says("the service does not answer at /nonexistent/api.sock").says("  -> ");
    }
    // A socket that a dead service left behind is there, but nobody answers.
    let mut appliance = appliance;
    appliance.cut_power();
    appliance.upgrade(&["status"]).exits(6).says("does not answer");
}

#[test]
fn a_socket_that_one_may_not_open_says_who_may() {
    let mut appliance = Appliance::on(Plan::default());
    let mut permissions = std::fs::metadata(appliance.path("run/api.sock")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(appliance.path("run/api.sock"), permissions).unwrap();
    let mut open = std::fs::metadata(appliance.root()).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
    std::fs::set_permissions(appliance.root(), open).unwrap();
    if nix::unistd::geteuid().is_root() {
        // Root may open everything; `nobody` may not.
        let mut command = appliance.command(&["status"]);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        let said = crate::appliance::Running::begin(command).finish().exits(6);
        said.says("only root and members of the group upgrade may");
    } else {
        let mut nobody = std::fs::metadata(appliance.path("run/api.sock")).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut nobody, 0);
        std::fs::set_permissions(appliance.path("run/api.sock"), nobody).unwrap();
        let said = appliance.upgrade(&["status"]).exits(6);
        said.says("only root and members of the group upgrade may");
    }
    appliance.cut_power();
}
