//! What the doors show: the status, the reports, the history, and errors.
//!
//! These types are the interface; the command reads the same ones that the service writes. Fields are added, never
//! renamed. Bytes are bytes, times are milliseconds or seconds as their names say, wall times are seconds since 1970.

use bootloader_hooks::{BootState, Other, Slot};
use flow::readiness::{Report, Row};
use flow::{Outcome, Phase, Refusal, Task, Upgrade, possible};
use serde::{Deserialize, Serialize};

use crate::device::Place;
use crate::disk::boot_state;
use crate::driver::{Driver, Snapshot};

/// What runs, what happened last, what is next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The phase's word.
    pub phase: Phase,
    /// Slot A.
    pub a: SlotView,
    /// Slot B.
    pub b: SlotView,
    /// The job in hand.
    pub job: Option<JobView>,
    /// How the last upgrade or revert ended.
    pub last: Option<OutcomeView>,
    /// How the last fetch or check ended.
    pub errand: Option<OutcomeView>,
    /// The bundle in the spool: its file name.
    pub held: Option<String>,
    /// What is not as it should be, a sentence each.
    pub degraded: Vec<String>,
    /// What a person would do next; a command, or empty.
    pub next: String,
}

/// One slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotView {
    /// Its name.
    pub slot: Slot,
    /// It runs.
    pub running: bool,
    /// What it is: `confirmed`, `staged`, `whole`, `given-up`, `armed`, `on-trial`, `unknown`.
    pub standing: String,
    /// The release in it, as far as it is known.
    pub release: Option<String>,
}

/// The job in hand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub id: u64,
    /// What was asked.
    pub goal: String,
    /// The release it started from.
    pub from: Option<String>,
    /// The release it brings.
    pub to: Option<String>,
    /// The slot it is about.
    pub target: Slot,
    /// Who asked.
    pub by: String,
    /// It goes back by itself when the trial is sick.
    pub auto_cancel: bool,
    /// Why it failed or goes back.
    pub cause: Option<CauseView>,
    /// How far the task in hand is.
    pub progress: Option<ProgressView>,
    /// The commands that would be taken now.
    pub possible: Vec<String>,
}

/// How far a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProgressView {
    /// Done: bytes, or milliseconds of the soak.
    pub done: u64,
    /// To do, in the same unit; 0: not known.
    pub total: u64,
    /// Bytes that had to be written.
    pub written: u64,
    /// 0 to 100; 0 when the total is not known.
    pub percent: u64,
    /// Done a second, on average.
    pub rate: u64,
    /// Milliseconds since the task began.
    pub elapsed_ms: u64,
    /// Milliseconds left at that rate.
    pub left_ms: Option<u64>,
}

/// A cause: a code for programs, a sentence for people, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CauseView {
    /// The stable code.
    pub code: String,
    /// The sentence.
    pub text: String,
    /// What to do next; may be empty.
    pub advice: String,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutcomeView {
    /// The job's number.
    pub id: u64,
    /// What was asked.
    pub goal: String,
    /// The one word.
    pub outcome: String,
    /// Why, unless it went as asked.
    pub cause: Option<CauseView>,
    /// The release it started from.
    pub from: Option<String>,
    /// The release it was to bring.
    pub to: Option<String>,
    /// The slot it was about.
    pub target: Slot,
    /// SHA-256 of the raw image.
    pub digest: Option<String>,
    /// Who asked.
    pub by: String,
    /// Wall clock at the end, seconds since 1970.
    pub at: u64,
}

/// A readiness report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReportView {
    /// Nothing stands in the way.
    pub ready: bool,
    /// The bundle's release, if one was looked at.
    pub release: Option<String>,
    /// One line a check.
    pub rows: Vec<Row>,
    /// Wall clock, seconds since 1970.
    pub at: u64,
}

/// An error, as `application/problem+json` (RFC 9457) with a stable code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code in words.
    pub code: String,
    /// The sentence for a person.
    pub detail: String,
    /// The phases in which the command would be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub possible: Vec<String>,
}

/// The answer to a command that was taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The number of the job that is in hand now.
    pub id: Option<u64>,
    /// The phase after the command.
    pub phase: Phase,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = if refusal.code == "journal" { 503 } else { 409 };
        let possible = refusal.possible.iter().map(ToString::to_string).collect();
        Self { status, code: refusal.code.to_owned(), detail: refusal.text, possible }
    }
}

impl From<&flow::Cause> for CauseView {
    fn from(cause: &flow::Cause) -> Self {
        Self {
            code: cause.code().to_owned(),
            text: cause.to_string(),
            advice: crate::explain::advice(cause),
        }
    }
}

impl From<&Outcome> for OutcomeView {
    fn from(outcome: &Outcome) -> Self {
        Self {
            id: outcome.id,
            goal: outcome.goal.word().to_owned(),
            outcome: outcome.ended.word().to_owned(),
            cause: outcome.cause.as_ref().map(CauseView::from),
            from: outcome.from.map(|release| release.to_string()),
            to: outcome.to.map(|release| release.to_string()),
            target: outcome.target,
            digest: outcome.digest.map(|digest| digest.to_string()),
            by: outcome.by.clone(),
            at: outcome.at,
        }
    }
}

impl From<&Report> for ReportView {
    fn from(report: &Report) -> Self {
        Self {
            ready: report.is_ready(),
            release: report.release.map(|release| release.to_string()),
            rows: report.rows.clone(),
            at: report.at,
        }
    }
}

/// Everything about the driver that a status shows. Reads the boot state from its partition.
pub fn status(driver: &Driver) -> Status {
    let seen = driver.look();
    let boot_state = boot_state_of(driver);
    let state = &seen.state;
    let known = boot_state.as_ref().ok().copied().flatten();
    let last = state.last.as_ref().map(OutcomeView::from);
    Status {
        phase: state.phase,
        a: slot(driver, &seen, known, Slot::A),
        b: slot(driver, &seen, known, Slot::B),
        job: state.job.as_ref().map(|job| self::job(driver, &seen, job)),
        next: crate::explain::next(state),
        last,
        errand: state.errand.as_ref().map(OutcomeView::from),
        held: state.held.as_ref().map(|held| held.name.clone()),
        degraded: degraded(&seen, &boot_state),
    }
}

fn boot_state_of(driver: &Driver) -> Result<Option<BootState>, String> {
    let storage = driver
        .device()
        .open(Place::BootState)
        .map_err(|e| format!("the boot state cannot be opened: {e}"))?;
    boot_state::peek(&*storage).map(|copies| copies.state()).map_err(|e| e.to_string())
}

fn slot(driver: &Driver, seen: &Snapshot, boot: Option<BootState>, slot: Slot) -> SlotView {
    let state = &seen.state;
    let running = state.running == slot;
    let is_target =
        state.job.as_ref().is_some_and(|job| job.target == slot && !job.goal.is_errand());
    let staged = is_target && matches!(state.phase, Phase::Staged | Phase::Holding);
    let standing = match boot {
        None => "unknown",
        Some(boot) if boot.confirmed == slot => "confirmed",
        Some(_) if staged => "staged",
        Some(boot) => match boot.other {
            Other::GivenUp => "given-up",
            Other::Whole => "whole",
            Other::Armed => "armed",
            Other::Spent if running => "on-trial",
            Other::Spent => "try-spent",
        },
    };
    // What ran here before an upgrade of the other slot is here still; a factory's slot has no other record.
    let before = state.last.as_ref().filter(|last| last.target != slot).and_then(|last| last.from);
    let known = state
        .holding(slot)
        .map(|holding| holding.image.release)
        .or(before)
        .map(|release| release.to_string());
    let release = if running {
        driver.release().as_ref().ok().map(ToString::to_string).or(known)
    } else {
        known
    };
    SlotView { slot, running, standing: standing.to_owned(), release }
}

fn job(driver: &Driver, seen: &Snapshot, job: &Upgrade) -> JobView {
    let words = ["cancel", "retry", "activate", "confirm", "discard"];
    let possible = words.into_iter().filter(|word| possible(word).contains(&seen.state.phase));
    JobView {
        id: job.id,
        goal: job.goal.word().to_owned(),
        from: job.from.map(|release| release.to_string()),
        to: job.image.as_ref().map(|image| image.release.to_string()),
        target: job.target,
        by: job.by.clone(),
        auto_cancel: job.auto_cancel,
        cause: job.cause.as_ref().map(CauseView::from),
        progress: progress(driver, seen.duty.task),
        possible: possible.map(str::to_owned).collect(),
    }
}

fn progress(driver: &Driver, task: Task) -> Option<ProgressView> {
    let counted =
        matches!(task, Task::Fetch | Task::Write | Task::Rehash | Task::Arm | Task::Judge);
    if !counted {
        return None;
    }
    let seen = driver.progress();
    let (done, total, written) = (seen.done(), seen.total(), seen.written());
    let elapsed = driver.device().now().boottime.saturating_sub(seen.began());
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let share = |part: u64, of: u64, whole: u64| {
        u64::try_from(u128::from(part) * u128::from(of) / u128::from(whole.max(1)))
            .unwrap_or(u64::MAX)
    };
    let rate = share(done, 1000, elapsed_ms);
    let left_ms = (total > done && rate > 0).then(|| share(total - done, 1000, rate));
    let percent = if total == 0 { 0 } else { share(done, 100, total).min(100) };
    Some(ProgressView { done, total, written, percent, rate, elapsed_ms, left_ms })
}

fn degraded(seen: &Snapshot, boot: &Result<Option<BootState>, String>) -> Vec<String> {
    let mut all = Vec::new();
    let state = &seen.state;
    if let Some(why) = &seen.stuck {
        all.push(format!("nothing is done until the journal can be written: {why}"));
    }
    match boot {
        Err(why) => all.push(why.clone()),
        Ok(None) => all.push(
            "neither copy of the boot state can be read; upgrade repair writes it anew".to_owned(),
        ),
        Ok(Some(boot)) if matches!(state.phase, Phase::Idle | Phase::Failed) => {
            if boot.confirmed != state.running {
                all.push(format!(
                    "slot {} runs, but {} is the confirmed one",
                    state.running, boot.confirmed
                ));
            } else if boot.other == Other::GivenUp {
                all.push(format!("no fallback: slot {} holds no bootable system", !state.running));
            }
        }
        Ok(Some(_)) => {}
    }
    if state.counter_broken {
        all.push(
            "the bootloader's counter does not work; no upgrade until upgrade repair".to_owned(),
        );
    }
    all
}
