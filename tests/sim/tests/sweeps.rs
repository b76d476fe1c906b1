//! The simulator finds nothing wrong with the shipped agent; and it can be repeated.

use sim::days::day;
use sim::exhaustive::{self, Options};
use sim::machine::Machine;
use sim::scenario::Scenario;

fn as_it_is(_: &mut Machine) {}

fn scenarios() -> Vec<&'static Scenario> {
    Scenario::all().iter().collect()
}

#[test]
fn one_fault_anywhere_leaves_an_appliance_that_upgrades() {
    let options = Options { jobs: 2, every: 7, nested: None };
    let summary = exhaustive::run(&scenarios(), options, as_it_is);
    assert!(summary.failures.is_empty(), "{summary}");
    assert!(summary.total() > 1000, "{summary}");
}

#[test]
fn two_faults_leave_an_appliance_that_upgrades() {
    let options = Options { jobs: 2, every: 251, nested: Some(97) };
    let summary = exhaustive::run(&scenarios(), options, as_it_is);
    assert!(summary.failures.is_empty(), "{summary}");
    assert!(summary.total() > 50, "{summary}");
}

#[test]
fn random_days_end_with_an_upgrade() {
    for seed in 0..60 {
        let report = day(seed, as_it_is);
        assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14, 159] {
        let log = |_| day(seed, as_it_is).log.iter().map(ToString::to_string).collect::<Vec<_>>();
        let [first, second] = [1, 2].map(log);
        assert!(first == second, "seed {seed} gave two different days");
        assert!(first.len() > 100, "seed {seed} is an empty day");
    }
}

#[test]
fn a_point_replays_exactly() {
    let scenario = Scenario::all().first().expect("there are scenarios");
    let log = |_| {
        scenario.run(Vec::new(), as_it_is).log.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let [first, second] = [1, 2].map(log);
    assert_eq!(first, second);
}
