//! The journal is lost or strange: the boot state alone decides, and the fallback stays untouched.

use bootloader_hooks::{BootState, Other, Slot};

use crate::appliance::{Appliance, Plan, impatient, make};

const LOSE_BOTH: &str =
    "head -c 65536 /dev/urandom >data/journal.1; head -c 65536 /dev/zero >data/journal.2";

#[test]
fn an_idle_appliance_without_its_journal_runs_on() {
    let mut appliance = Appliance::on(Plan::default());
    appliance.upgrade_to(&appliance.bundle("1.1.0-2", "well"));
    appliance.guard_the_running_slot();
    appliance.cut_power();
    appliance.before_the_next_start(LOSE_BOTH);
    appliance.power_on();
    appliance.upgrade(&["status"]).exits(0).says("B 1.1.0-2 running, confirmed | idle");
    assert_eq!(appliance.boot_state(), Some(BootState { confirmed: Slot::B, other: Other::Whole }));
    appliance.upgrade(&["history"]).exits(0).says("1.1.0-2").says("succeeded");
    // What slot A holds is not known any more, so nobody goes back to it without writing it.
    appliance.upgrade(&["revert", "--yes"]).exits(3);
    appliance.upgrade_to(&appliance.bundle("1.2.0-3", "well"));
    // Numbers are never used twice.
    let ids: Vec<u64> = history(&appliance).iter().map(|outcome| outcome.id).collect();
    assert!(ids.windows(2).all(|two| two[0] < two[1]) && ids.len() == 2, "{ids:?}");
}

fn history(appliance: &Appliance) -> Vec<upgrade_agent::door::view::OutcomeView> {
    appliance.upgrade(&["--json", "history"]).exits(0).json()
}

#[test]
fn one_lost_copy_of_the_journal_costs_at_most_the_last_step() {
    for copy in ["data/journal.1", "data/journal.2"] {
        let appliance = Appliance::on(Plan { soak: "1s", ..Plan::default() });
        appliance.start(&appliance.bundle("1.1.0-2", "well"));
        appliance.wait_for_phase("on-trial");
        appliance.before_the_next_start(&format!("head -c 65536 /dev/urandom >{copy}"));
        appliance.kill_service();
        appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed | idle");
        assert_eq!(appliance.boot_state().unwrap().confirmed, Slot::B);
    }
}

#[test]
fn a_trial_without_its_journal_is_judged_and_confirmed() {
    let appliance = Appliance::on(Plan { soak: "1s", ..Plan::default() });
    appliance.start(&appliance.bundle("1.1.0-2", "well"));
    appliance.wait_for_phase("on-trial");
    appliance.before_the_next_start(LOSE_BOTH);
    appliance.kill_service();
    appliance.wait().exits(0).says("B 1.1.0-2 running, confirmed | idle");
    assert_eq!(appliance.boot_state().unwrap().confirmed, Slot::B);
}

#[test]
fn a_sick_trial_without_its_journal_falls_back() {
    let appliance = Appliance::on(impatient());
    appliance.before_the_next_start(LOSE_BOTH);
    appliance.start(&appliance.bundle("1.1.0-2", "engine does not start"));
    appliance.wait().exits(1).says("A 1.0.0-1 running, confirmed").says("engine does not start");
    assert_eq!(appliance.boot_state().unwrap().confirmed, Slot::A);
}

#[test]
fn a_journal_written_by_another_release_of_the_agent_is_survived() {
    let mut appliance = Appliance::on(Plan::default());
    appliance.upgrade_to(&appliance.bundle("1.1.0-2", "well"));
    appliance.guard_the_running_slot();
    appliance.cut_power();
    let last = history_id(&appliance);
    for copy in ["journal.1", "journal.2"] {
        let path = appliance.path("data").join(copy);
        let bytes = std::fs::read(&path).unwrap();
        make(&path, &foreign(&bytes));
    }
    appliance.power_on();
    appliance.wait_for_log("the journal is of another release of the agent");
    appliance.upgrade(&["status"]).exits(0).says("B 1.1.0-2 running, confirmed | idle");
    appliance.upgrade_to(&appliance.bundle("1.2.0-3", "well"));
    assert!(appliance.last().id > last, "numbers go on");
}

/// The number of the last job, from the journal's frozen envelope.
fn history_id(appliance: &Appliance) -> u64 {
    let id = |copy: &str| {
        let bytes = std::fs::read(appliance.path("data").join(copy)).unwrap();
        u64::from_le_bytes(bytes[24..32].try_into().unwrap())
    };
    id("journal.1").max(id("journal.2"))
}

/// The same copy with a schema and a body that this agent does not know.
fn foreign(copy: &[u8]) -> Vec<u8> {
    let body = b"(a journal of the year 2040)";
    let mut bytes = copy.to_vec();
    bytes[16..20].copy_from_slice(&99_u32.to_le_bytes());
    bytes[20..24].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes[512..].fill(0);
    bytes[512..512 + body.len()].copy_from_slice(body);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..508]);
    crc.update(body);
    bytes[508..512].copy_from_slice(&crc.finalize().to_le_bytes());
    bytes
}
