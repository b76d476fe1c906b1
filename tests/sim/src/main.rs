//! `sim`: tries every fault at every operation, or random days, and counts.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::days;
use sim::exhaustive::{self, Options, Point};
use sim::fault::{Plan, worth_trying};
use sim::machine::Machine;
use sim::scenario::{Report, Scenario};

/// A simulated appliance around the shipped driver.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every fault at every operation of every scenario.
    Exhaustive {
        /// Only this scenario.
        #[arg(long)]
        scenario: Option<String>,
        /// Only every N-th point.
        #[arg(long, default_value = "1")]
        every: NonZeroUsize,
        /// Two faults, one after the other: every N-th pair.
        #[arg(long, value_name = "N")]
        nested: Option<NonZeroUsize>,
        /// Threads.
        #[arg(long, default_value = "2")]
        jobs: NonZeroUsize,
    },
    /// One point, with its log: the K-th fault at an operation of a scenario; without one, no fault.
    Point {
        /// The scenario.
        scenario: String,
        /// The operation's number.
        operation: Option<u64>,
        /// Which of its faults; all of them are listed without it.
        fault: Option<usize>,
    },
    /// Random days.
    Days {
        /// How many.
        #[arg(long, default_value = "1000")]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value = "0")]
        from: u64,
    },
    /// One random day, with its log.
    Replay {
        /// Its seed.
        seed: u64,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().what {
        What::Exhaustive { scenario, every, nested, jobs } => {
            let chosen: Vec<&Scenario> = Scenario::all()
                .iter()
                .filter(|known| scenario.as_ref().is_none_or(|name| known.name == name))
                .collect();
            let options = Options {
                jobs: jobs.get(),
                every: every.get(),
                nested: nested.map(NonZeroUsize::get),
            };
            let summary = exhaustive::run(&chosen, options, as_it_is);
            println!("{summary}");
            code(summary.failures.is_empty() && summary.total() > 0)
        }
        What::Point { scenario, operation, fault } => point(&scenario, operation, fault),
        What::Days { seeds, from } => {
            let mut bad = 0;
            for seed in from..from.saturating_add(seeds) {
                let report = days::day(seed, as_it_is);
                for violation in &report.violations {
                    println!("seed {seed}: {}: {}", violation.invariant, violation.found);
                }
                bad += u64::from(!report.violations.is_empty());
            }
            println!("{seeds} days, {bad} bad");
            code(bad == 0)
        }
        What::Replay { seed } => tell(&days::day(seed, as_it_is)),
    }
}

fn as_it_is(_: &mut Machine) {}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report) -> ExitCode {
    report.log.iter().for_each(|line| println!("{line}"));
    println!("{} violations", report.violations.len());
    code(report.violations.is_empty())
}

fn point(scenario: &str, operation: Option<u64>, fault: Option<usize>) -> ExitCode {
    let Some(scenario) = Scenario::all().iter().find(|known| known.name == scenario) else {
        let names: Vec<&str> = Scenario::all().iter().map(|known| known.name).collect();
        eprintln!("the scenarios are {}", names.join(", "));
        return ExitCode::FAILURE;
    };
    let without = scenario.run(Plan::new(), as_it_is);
    let Some(seen) = without.seen.iter().find(|seen| Some(seen.n) == operation) else {
        return tell(&without);
    };
    let faults = worth_trying(seen);
    let Some(fault) = fault.and_then(|nth| faults.get(nth)) else {
        println!("operation {}: {}", seen.n, seen.deed);
        faults
            .iter()
            .enumerate()
            .for_each(|(nth, fault)| println!("{nth:3} {} ({fault:?})", fault.kind()));
        return ExitCode::SUCCESS;
    };
    let point =
        Point { scenario, plan: vec![(seen.n, *fault)], names: vec![seen.deed.to_string()] };
    tell(&point.run(as_it_is))
}
