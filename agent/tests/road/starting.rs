//! The service's start: what is missing or wrong in the directory or in `agent.toml` is said with its place.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::appliance::{Appliance, MIB, Plan, Running, make, slow_writing};

#[test]
fn a_directory_without_a_file_it_needs_is_refused_with_the_file_s_name() {
    for name in ["agent.toml", "boot", "a.img", "b.img", "bootstate.img", "data", "keys", "vendor"]
    {
        let mut appliance = Appliance::off(Plan::default());
        appliance.let_the_first_slot_change();
        let service = appliance.service_alone();
        let path = match name {
            "vendor" => appliance.path("keys/vendor.pem"),
            name => appliance.path(name),
        };
        let moved = appliance.path("moved");
        std::fs::rename(&path, &moved).unwrap();
        let said = Running::begin(service).finish().exits(1).says("error: ");
        let shown = if name == "vendor" { "keys" } else { name };
        let said = said.says(appliance.path(shown).to_str().unwrap());
        assert!(said.err.lines().count() <= 3, "{said}");
        std::fs::rename(&moved, &path).unwrap();
    }
    let nowhere = Running::begin(agent(&["--directory", "/nonexistent"])).finish().exits(1);
    nowhere.says("/nonexistent/agent.toml").says("No such file");
}

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-agent"));
    command.args(arguments).current_dir("/");
    command
}

#[test]
fn a_boot_file_that_does_not_say_what_it_should_is_explained() {
    let appliance = Appliance::off(Plan::default());
    let id = "boot_id=0f5c6a1e-8d0b-4b1e-9c55-1f3a2b7c9d10";
    for (text, words) in [
        (String::new(), "there is no boot_id="),
        ("boot_id=7\ncmdline=ro".to_owned(), "`7` is no boot id"),
        (format!("{id}\n"), "there is no cmdline="),
        (format!("{id}\ncmdline=ro quiet\n"), "no upgrade.slot="),
        (format!("{id}\ncmdline=upgrade.slot=C\n"), "C"),
    ] {
        let service = appliance.service_alone();
        make(&appliance.path("boot"), text.as_bytes());
        Running::begin(service).finish().exits(1).says(words).says("whoever plays the firmware");
    }
}

#[test]
fn a_mistake_in_agent_toml_is_shown_with_line_and_column() {
    let appliance = Appliance::off(Plan::default());
    let good = std::fs::read_to_string(appliance.path("agent.toml")).unwrap();
    for (wrong, right, words) in [
        ("platfrom = ", "platform = ", "line 2, column 1"),
        ("platform = \"Test Box\"", "platform = \"Test_Box\"", "line 2, column 12"),
        ("[trail]", "[trial]", "line 7, column 2"),
        ("soak = \"2 lightyears\"", "soak = \"200ms\"", "line 11, column 8"),
        ("deadline = 25", "deadline = \"25s\"", "line 12, column 12"),
        ("deadline = \"1s\"", "deadline = \"25s\"", "do not fit into trial.deadline"),
        ("commands = []", "commands = [[\"./selftest\"]]", "at least one probe"),
        ("vendor_signatures = 0", "vendor_signatures = 1", "line 6, column 21"),
        ("vendor_signatures = 2", "vendor_signatures = 1", "no bundle could be accepted"),
    ] {
        let text = good.replace(right, wrong);
        assert_ne!(text, good, "{right}");
        make(&appliance.path("agent.toml"), text.as_bytes());
        for extra in [&[][..], &["--check-config"]] {
            let mut service = appliance.service_alone();
            service.args(extra);
            let said = Running::begin(service).finish().exits(1).says("error: ").says(words);
            said.says(appliance.path("agent.toml").to_str().unwrap());
        }
    }
}

#[test]
fn check_config_says_what_was_understood_and_changes_nothing() {
    let appliance = Appliance::off(Plan { max_rate: Some("2MB"), ..Plan::default() });
    let mut service = appliance.service_alone();
    service.arg("--check-config");
    let said = Running::begin(service).finish().exits(0).says("platform Test_Box");
    let said = said.says("1 of 1 keys must have signed").says("at most 2000000 bytes a second");
    said.says("1 probes").says("confirm  by itself");
    assert_eq!(std::fs::read_dir(appliance.path("data")).unwrap().count(), 0);
}

#[test]
fn without_a_directory_the_usage_is_told() {
    Running::begin(agent(&[])).finish().exits(2).says("give --directory DIR");
    Running::begin(agent(&["--directroy", "/tmp"])).finish().exits(2).says("--directroy");
}

#[test]
fn a_second_service_on_the_same_directory_is_refused_and_the_first_one_serves_on() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_written(MIB / 2);
    let boot = std::fs::read(appliance.path("boot")).unwrap();
    let second = appliance.service_alone();
    make(&appliance.path("boot"), &boot);
    Running::begin(second).finish().exits(1).says("another upgrade-agent holds it");
    start.finish().exits(7);
    appliance.wait().exits(0);
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_said_so() {
    let appliance = Appliance::off(Plan::default());
    let deep = appliance.path(&"d".repeat(90));
    std::fs::create_dir(&deep).unwrap();
    let service = appliance.service_alone();
    for name in ["agent.toml", "boot", "a.img", "b.img", "bootstate.img", "data", "keys", "model"] {
        std::os::unix::fs::symlink(appliance.path(name), deep.join(name)).unwrap();
    }
    drop(service);
    let said = Running::begin(agent(&["--directory", deep.to_str().unwrap()])).finish().exits(1);
    said.says("a socket's path may have 107; use a shorter directory").says("run/api.sock has");
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_service() {
    let appliance = Appliance::off(Plan::default());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut service = appliance.service_alone();
    let child = service.stdin(std::process::Stdio::null()).stderr(full).spawn().unwrap();
    let _service = crate::appliance::Ended::with(child);
    appliance.wait_until("it answers", |_| true);
    let bundle = appliance.bundle("1.1.0-2", "well");
    let only = [&Appliance::start_of(&bundle)[..], &["--stage-only"]].concat();
    appliance.upgrade(&only).exits(0).says("next: upgrade activate");
}

#[test]
fn a_service_that_is_told_to_stop_ends_soon_and_orderly() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_written(MIB / 2);
    nix::sys::signal::kill(appliance.service(), Signal::SIGTERM).unwrap();
    appliance.wait_for_log("firmware: the service ended with 0");
    start.finish().exits(6).says("the service went away");
}
