//! Every fault at every operation of every scenario.
//!
//! A run without faults numbers the operations; then each worthwhile fault at each of them is one *point*: the whole
//! scenario anew, with that fault, its recovery, and the same upgrade again. With `nested` each point's own operations
//! are numbered too, from its fault on, and a second fault is tried there: of all those pairs every n-th one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::fault::{Fault, Plan, worth_trying};
use crate::machine::Machine;
use crate::scenario::{Report, Scenario};

/// So many failures are shown with their whole log; the others are named.
const LOGS_SHOWN: usize = 3;

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads; each runs points of its own.
    pub jobs: usize,
    /// Only every n-th point.
    pub every: usize,
    /// Pairs of faults instead of single ones: every n-th pair.
    pub nested: Option<usize>,
}

/// A fault, or two, in a scenario.
#[derive(Clone, Debug)]
pub struct Point {
    /// Which scenario.
    pub scenario: &'static Scenario,
    /// What happens at which operation.
    pub plan: Plan,
    /// The operations' names.
    pub names: Vec<String>,
}

/// A point that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The point.
    pub point: Point,
    /// What was found.
    pub report: Report,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scenario {}", self.point.scenario.name)?;
        for ((n, fault), name) in self.point.plan.iter().zip(&self.point.names) {
            write!(f, ", operation {n} ({name}): {} ({fault:?})", fault.kind())?;
        }
        for violation in &self.report.violations {
            write!(f, "\n  {}: {}", violation.invariant, violation.found)?;
        }
        Ok(())
    }
}

/// What came of all points.
#[derive(Default, Debug)]
pub struct Summary {
    /// How many points of which kind in which scenario.
    pub points: BTreeMap<(&'static str, &'static str), usize>,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// How often a person had to forgive a good image.
    pub forgiven: u32,
    /// How often a person had to repair the boot state.
    pub repaired: u32,
}

impl Summary {
    /// All points.
    pub fn total(&self) -> usize {
        self.points.values().sum()
    }

    /// Points after which nothing boots.
    pub fn bricks(&self) -> usize {
        self.count(|invariant| invariant == "some_slot_always_boots")
    }

    /// Points at which anything else was wrong.
    pub fn wrong(&self) -> usize {
        self.failures.len() - self.bricks()
    }

    fn count(&self, is: impl Fn(&str) -> bool) -> usize {
        self.failures
            .iter()
            .filter(|failure| failure.report.violations.iter().any(|v| is(v.invariant)))
            .count()
    }

    fn add(&mut self, point: Point, report: Report) {
        let kind = if point.plan.len() > 1 {
            "two faults"
        } else {
            point.plan.first().map_or("none", |p| p.1.kind())
        };
        *self.points.entry((point.scenario.name, kind)).or_default() += 1;
        self.forgiven += report.forgiven;
        self.repaired += report.repaired;
        if !report.violations.is_empty() {
            self.failures.push(Failure { point, report });
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenarios: BTreeSet<&str> = self.points.keys().map(|(scenario, _)| *scenario).collect();
        let kinds: BTreeSet<&str> = self.points.keys().map(|(_, kind)| *kind).collect();
        write!(f, "{:28}", "")?;
        scenarios.iter().try_for_each(|scenario| write!(f, "{scenario:>9}"))?;
        writeln!(f, "{:>9}", "all")?;
        for kind in kinds {
            write!(f, "{kind:28}")?;
            let at = |scenario: &&str| {
                self.points.iter().find(|(key, _)| **key == (*scenario, kind)).map_or(0, |p| *p.1)
            };
            scenarios.iter().try_for_each(|scenario| write!(f, "{:9}", at(scenario)))?;
            writeln!(f, "{:9}", scenarios.iter().map(at).sum::<usize>())?;
        }
        writeln!(
            f,
            "a good image had to be forgiven {} times, the boot state repaired {} times",
            self.forgiven, self.repaired
        )?;
        for (nth, failure) in self.failures.iter().enumerate() {
            writeln!(f, "\nFAILED {failure}")?;
            if nth < LOGS_SHOWN {
                failure.report.log.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        match self.wrong() {
            0 => write!(f, "{} points, {} bricks", self.total(), self.bricks()),
            wrong => write!(
                f,
                "{} points, {} bricks, {wrong} other failures",
                self.total(),
                self.bricks()
            ),
        }
    }
}

/// Tries all points of these scenarios. `change` is done to each machine before it is switched on.
pub fn run(scenarios: &[&'static Scenario], options: Options, change: fn(&mut Machine)) -> Summary {
    let summary = Mutex::new(Summary::default());
    let add =
        |point, report| summary.lock().unwrap_or_else(PoisonError::into_inner).add(point, report);
    let mut points = Vec::new();
    for scenario in scenarios.iter().copied() {
        let report = scenario.run(Plan::new(), change);
        points.extend(single(scenario, &report));
        let ended = report.ended;
        let mut report = report;
        if report.violations.is_empty() && ended != Some(scenario.ends) {
            report.violations.push(crate::invariants::Violation {
                invariant: "without_faults_the_story_ends_as_told",
                found: format!("it ended as {ended:?}, not as {}", scenario.ends),
            });
        }
        add(Point { scenario, plan: Plan::new(), names: Vec::new() }, report);
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::SeqCst);
                    let Some(point) = points.get(nth) else { return };
                    match options.nested {
                        _ if !nth.is_multiple_of(options.every) => {}
                        None => add(point.clone(), point.run(change)),
                        Some(every) => nest(point, every, change, &add),
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Threads end in any order; the report has one.
    summary.failures.sort_by_key(|failure| {
        let plan = failure
            .point
            .plan
            .iter()
            .map(|(n, fault)| (*n, format!("{fault:?}")))
            .collect::<Vec<_>>();
        (failure.point.scenario.name, plan)
    });
    summary
}

/// Every single fault of a scenario.
pub fn single(scenario: &'static Scenario, without: &Report) -> Vec<Point> {
    let at = |seen| {
        worth_trying(seen)
            .into_iter()
            .map(|fault| Point::new(scenario, seen.n, fault, seen.deed.to_string()))
    };
    without.seen.iter().flat_map(at).collect()
}

fn nest(point: &Point, every: usize, change: fn(&mut Machine), add: &impl Fn(Point, Report)) {
    let Some((first, _)) = point.plan.first().copied() else { return };
    let seen = point.run(change).seen;
    let later = seen.iter().filter(|seen| seen.n > first);
    let pairs =
        later.flat_map(|seen| worth_trying(seen).into_iter().map(move |fault| (seen, fault)));
    // Not the same offset for every point, or the same operations would be passed over each time.
    let offset = usize::try_from(first).unwrap_or(0) % every;
    for (seen, fault) in pairs.skip(offset).step_by(every) {
        let mut pair = point.clone();
        pair.plan.push((seen.n, fault));
        pair.names.push(seen.deed.to_string());
        let report = pair.run(change);
        add(pair, report);
    }
}

impl Point {
    fn new(scenario: &'static Scenario, n: u64, fault: Fault, name: String) -> Self {
        Self { scenario, plan: vec![(n, fault)], names: vec![name] }
    }

    /// Plays it.
    pub fn run(&self, change: fn(&mut Machine)) -> Report {
        self.scenario.run(self.plan.clone(), change)
    }
}
