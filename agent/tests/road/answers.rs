//! What the command says: JSON that programs can read, and lines that fit a terminal.

use upgrade_agent::door::view::{OutcomeView, Status};

use crate::appliance::{Appliance, Plan, Said, impatient, slow_writing};

/// Every line of standard output is one JSON document.
#[track_caller]
fn all_json(said: &Said) -> Vec<serde_json::Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{said}"));
    said.out.lines().map(parse).collect()
}

#[test]
fn with_json_every_line_is_a_document_and_a_status_is_a_status() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let path = bundle.to_str().unwrap();
    let keys = appliance.path("keys");
    let json = |arguments: &[&str]| appliance.upgrade(&[&["--json"][..], arguments].concat());
    for command in [
        &["status"][..],
        &["status", "--detail"],
        &["status", "--wait"],
        &["check"],
        &["check", path],
        &["verify", path, "--keys", keys.to_str().unwrap()],
        &["history"],
        &["explain"],
        &["explain", "77"],
        &["fetch", path],
        &["discard"],
        &["discard"],
        &["cancel"],
        &["retry"],
        &["forgive", "00"],
        &["start", path],
        &["start", "nothing", "--yes"],
        &["start", "--yes"],
        &["--socket", "/nonexistent", "status"],
        &["repair"],
    ] {
        let said = json(command);
        assert!(!all_json(&said).is_empty(), "{said}");
    }
    let status: Status = json(&["status"]).exits(0).json();
    assert_eq!(status, appliance.status());

    let start = [&Appliance::start_of(&bundle)[..], &["--json"]].concat();
    let said = appliance.upgrade(&start).exits(7);
    let lines = all_json(&said);
    let statuses = lines.iter().filter_map(|line| serde_json::from_value(line.clone()).ok());
    let phases: Vec<String> = statuses.map(|s: Status| s.phase.to_string()).collect();
    assert!(phases.contains(&"writing".to_owned()), "{phases:?}");
    assert!(lines.last().unwrap()["message"].as_str().unwrap().contains("rebooting into B"));
    let waited = json(&["status", "--wait"]).exits(0);
    let last = all_json(&waited).pop().unwrap();
    let status: Status = serde_json::from_value(last).unwrap();
    assert_eq!(status.last.map(|last| last.outcome), Some("succeeded".to_owned()));
    let history: Vec<OutcomeView> = json(&["history"]).exits(0).json();
    assert_eq!(history.len(), 1);
}

/// Lines that are longer than a terminal is wide.
fn wide(said: &Said) -> Vec<String> {
    let all = said.out.lines().chain(said.err.lines());
    all.filter(|line| line.chars().count() > 80).map(str::to_owned).collect()
}

#[test]
fn help_checks_and_plain_answers_fit_into_eighty_columns() {
    let appliance = Appliance::on(impatient());
    let sick = appliance.bundle("1.1.0-2", "is ill");
    let path = sick.to_str().unwrap();
    let mut all = Vec::new();
    for command in [
        &["--help"][..],
        &["-h"],
        &["start", "--help"],
        &["status", "--help"],
        &["verify", "--help"],
        &["status"],
        &["status", "--detail"],
        &["check", path],
        &["history"],
        &["explain"],
        &["fetch", path],
        &["status", "--detail"],
    ] {
        all.push(appliance.upgrade(command));
    }
    all.push(appliance.start(&sick));
    appliance.wait().exits(1);
    all.push(appliance.upgrade(&["history"]));
    // The one line of a status after an outcome, and the prose of explain, are as long as what they tell.
    let wide: Vec<String> = all.iter().flat_map(wide).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let appliance = Appliance::on(Plan::default());
    for command in [&["status"][..], &["--help"], &["check"], &["--json", "history"]] {
        let mut child = appliance
            .command(command)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let said = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(!words.contains("panicked"), "{command:?}: {words}");
    }
}
