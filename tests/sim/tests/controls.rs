//! Negative controls: worlds that break a promise, in which the simulator must find what is wrong.
//!
//! The agent is the shipped one in all of them. A control that finds nothing means that the simulator is blind.

use std::collections::BTreeSet;

use sim::exhaustive::{self, Options, Summary};
use sim::fault::Part;
use sim::machine::{Flaw, Machine};
use sim::scenario::Scenario;
use sim::storage::Lie;

fn sweep(scenario: &str, change: fn(&mut Machine)) -> (Summary, BTreeSet<&'static str>) {
    let scenarios: Vec<&Scenario> =
        Scenario::all().iter().filter(|known| known.name == scenario).collect();
    let summary = exhaustive::run(&scenarios, Options { jobs: 2, every: 1, nested: None }, change);
    let found = summary.failures.iter().flat_map(|failure| &failure.report.violations);
    let sentences = found.map(|violation| violation.invariant).collect();
    (summary, sentences)
}

#[test]
fn a_slot_whose_sync_does_nothing_is_seen() {
    let (_, found) = sweep("handed", |machine| {
        machine.medium_mut(Part::SlotB).lie = Lie::Sync;
    });
    assert!(found.contains("a_slot_on_trial_is_a_whole_image"), "{found:?}");
}

#[test]
fn a_boot_state_whose_sync_does_nothing_is_seen() {
    let (_, found) = sweep("handed", |machine| {
        machine.medium_mut(Part::BootState).lie = Lie::Sync;
    });
    assert!(found.contains("success_is_only_said_on_a_healthy_new_slot"), "{found:?}");
    assert!(found.contains("a_slot_is_unbootable_before_its_first_byte_is_written"), "{found:?}");
}

#[test]
fn a_bootloader_that_does_not_spend_is_seen() {
    // A panicking image is booted again and again: the appliance is lost.
    let (summary, found) = sweep("panics", |machine| machine.flaw = Flaw::NeverSpends);
    assert!(summary.bricks() > 0, "{found:?}");
    assert!(found.contains("one_go_makes_at_most_one_trial"), "{found:?}");
}

#[test]
fn a_cache_that_hides_what_landed_is_seen() {
    let (_, found) = sweep("handed", |machine| {
        machine.medium_mut(Part::SlotB).lie = Lie::Read;
    });
    assert!(found.contains("a_slot_on_trial_is_a_whole_image"), "{found:?}");
}

#[test]
fn without_a_control_the_same_sweep_finds_nothing() {
    let (summary, found) = sweep("handed", |_| {});
    assert!(found.is_empty(), "{summary}");
}
