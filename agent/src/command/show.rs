//! What a person sees, within 80 columns and without colour; and the same as JSON for scripts.
//!
//! Results go to standard output, errors and progress to standard error. With `--json` every line of standard output is
//! one JSON document.

use std::io::IsTerminal;

use bootloader_hooks::Slot;
use bundle_format::BundleName;
use flow::Phase;
use flow::readiness::{Grade, Row};

use super::Exit;
use crate::door::view::{OutcomeView, ProgressView, ReportView, SlotView, Status};

/// How much of a following is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quiet {
    /// Nothing.
    Silent,
    /// A line a phase, and a progress line.
    Lines,
    /// Each status as a line of JSON.
    Json,
}

/// Progress on the terminal.
#[derive(Debug)]
pub(super) struct Shown {
    quiet: Quiet,
    terminal: bool,
    phase: Option<Phase>,
    /// Tenths told, where there is no terminal to draw on.
    tenth: u64,
    drawn: bool,
}

impl Shown {
    pub(super) fn new(quiet: Quiet) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            phase: None,
            tenth: 0,
            drawn: false,
        }
    }

    pub(super) fn show(&mut self, status: &Status) {
        match self.quiet {
            Quiet::Silent => {}
            Quiet::Json => tell!("{}", json(status)),
            Quiet::Lines => self.line(status),
        }
    }

    fn line(&mut self, status: &Status) {
        let Some(job) = &status.job else { return };
        let what = match status.phase {
            Phase::Writing | Phase::OnTrial | Phase::Arming => {
                format!("{} {}", status.phase, job.target)
            }
            Phase::Rebooting => format!("rebooting into {}", job.target),
            Phase::Reverting => format!("going back to {}", !job.target),
            _ => status.phase.to_string(),
        };
        let line = match &job.progress {
            Some(progress) if progress.total > 0 => {
                format!("{what}  {}", counted(status.phase, progress))
            }
            Some(_) | None => what,
        };
        let new_phase = self.phase != Some(status.phase);
        if self.terminal {
            if new_phase && self.drawn {
                complain!();
            }
            draw!("\r\u{1b}[K{line}");
            self.drawn = true;
        } else {
            let tenth = job.progress.map_or(0, |progress| progress.percent / 10);
            if new_phase || tenth > self.tenth {
                complain!("{line}");
            }
            self.tenth = tenth;
        }
        self.phase = Some(status.phase);
    }

    /// Leaves the progress line.
    pub(super) fn end(&mut self) {
        if self.drawn {
            complain!();
            self.drawn = false;
        }
    }
}

fn counted(phase: Phase, progress: &ProgressView) -> String {
    if phase == Phase::OnTrial {
        return format!(
            "{:>3} %  healthy for {} of {} s",
            progress.percent,
            progress.done / 1000,
            progress.total / 1000
        );
    }
    let left = progress.left_ms.map_or_else(String::new, |ms| {
        let seconds = ms.div_ceil(1000);
        format!("  {}:{:02} left", seconds / 60, seconds % 60)
    });
    format!("{:>3} %  {}/s{left}", progress.percent, bytes(progress.rate))
}

fn bytes(count: u64) -> String {
    let (unit, word) = match count {
        0..1_000 => return format!("{count} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    if count / unit < 10 {
        format!("{}.{} {word}", count / unit, count % unit * 10 / unit)
    } else {
        format!("{} {word}", count / unit)
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("OK because views are plain data")
}

/// One sentence.
pub(super) fn done(as_json: bool, text: &str) {
    if as_json {
        tell!("{}", serde_json::json!({ "message": text }));
    } else {
        tell!("{text}");
    }
}

/// An error: what happened, and what to do next.
pub(super) fn error(as_json: bool, code: &str, text: &str, advice: &str) {
    if as_json {
        tell!(
            "{}",
            serde_json::json!({ "error": { "code": code, "text": text, "advice": advice } })
        );
        return;
    }
    complain!("error[{code}]: {text}");
    if !advice.is_empty() {
        complain!("  -> {advice}");
    }
}

/// Sentences.
pub(super) fn sentences(as_json: bool, all: &[String]) {
    if as_json {
        tell!("{}", json(&all));
    } else {
        for sentence in all {
            tell!("{sentence}");
        }
    }
}

/// The status, on a line or in detail.
pub(super) fn status(as_json: bool, detail: bool, status: &Status) {
    if as_json {
        tell!("{}", json(status));
        return;
    }
    if !detail {
        tell!("{}", line(status));
        for sentence in &status.degraded {
            tell!("degraded: {sentence}");
        }
        return;
    }
    for slot in [&status.a, &status.b] {
        tell!("slot {}    {}", slot.slot, slot_words(slot));
    }
    tell!("phase     {}", phase_words(status));
    if let Some(job) = &status.job {
        let release = |release: &Option<String>| release.clone().unwrap_or_else(|| "?".to_owned());
        tell!(
            "job       {} {}, {} to {}, slot {}, by {}",
            job.id,
            job.goal,
            release(&job.from),
            release(&job.to),
            job.target,
            job.by
        );
        if let Some(cause) = &job.cause {
            tell!("cause     {}: {}", cause.code, cause.text);
        }
        tell!(
            "possible  {}",
            if job.possible.is_empty() { "nothing".to_owned() } else { job.possible.join(", ") }
        );
    }
    tell!("bundle    {}", status.held.as_deref().unwrap_or("none"));
    if let Some(last) = &status.last {
        tell!("last      {}", outcome_words(last));
    }
    for sentence in &status.degraded {
        tell!("degraded  {sentence}");
    }
    if !status.next.is_empty() {
        tell!("next      {}", status.next);
    }
}

fn line(status: &Status) -> String {
    let slots = [&status.a, &status.b]
        .map(|slot| format!("{} {}", slot.slot, slot_words(slot)))
        .join(" | ");
    let last = status
        .last
        .as_ref()
        .map_or_else(String::new, |last| format!("; last: {}", outcome_words(last)));
    let next =
        if status.next.is_empty() { String::new() } else { format!("; next: {}", status.next) };
    format!("{slots} | {}{last}{next}", phase_words(status))
}

fn slot_words(slot: &SlotView) -> String {
    let release = slot.release.as_ref().map_or_else(String::new, |release| format!("{release} "));
    let running = if slot.running { "running, " } else { "" };
    format!("{release}{running}{}", slot.standing)
}

fn phase_words(status: &Status) -> String {
    let progress =
        status.job.as_ref().and_then(|job| job.progress).filter(|progress| progress.total > 0);
    match progress {
        Some(progress) => {
            format!("{} {}", status.phase, counted(status.phase, &progress).trim_start())
        }
        None => status.phase.to_string(),
    }
}

fn outcome_words(outcome: &OutcomeView) -> String {
    let cause =
        outcome.cause.as_ref().map_or_else(String::new, |cause| format!(", {}", cause.text));
    format!("{} {}{cause}", outcome.outcome, time(outcome.at))
}

fn time(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A readiness report.
pub(super) fn report(as_json: bool, report: &ReportView) {
    if as_json {
        tell!("{}", json(report));
        return;
    }
    for row in &report.rows {
        tell!("{}", row_line(row));
    }
    tell!("{}", verdict(report));
}

/// Only what stands in the way, as the answer to a `start`.
pub(super) fn obstacles(as_json: bool, report: &ReportView) {
    if as_json {
        tell!("{}", json(report));
        return;
    }
    for row in report.rows.iter().filter(|row| row.blocks()) {
        tell!("{}", row_line(row));
    }
    error(
        false,
        "not-ready",
        &verdict(report),
        "upgrade check shows all of it; nothing was written",
    );
}

fn verdict(report: &ReportView) -> String {
    let blocking = report.rows.iter().filter(|row| row.blocks()).count();
    if blocking == 0 {
        "ready".to_owned()
    } else {
        format!("{blocking} of {} failed; not ready", report.rows.len())
    }
}

fn row_line(row: &Row) -> String {
    let grade = match (row.grade, row.forced) {
        (_, true) => "FORCED",
        (Grade::Pass, false) => "ok",
        (Grade::Warn, false) => "WARN",
        (Grade::Fail, false) => "FAIL",
        (Grade::Unknown, false) => "UNKNOWN",
    };
    let advice = match (row.blocks(), row.forceable) {
        _ if row.advice.is_empty() => String::new(),
        (false, _) if row.grade != Grade::Warn => String::new(),
        (true, true) => {
            format!("\n        -> {}\n        -> or override it: --force {}", row.advice, row.id)
        }
        (true, false) | (false, _) => format!("\n        -> {}", row.advice),
    };
    format!("{grade:<8}{:<13} {}{advice}", row.id, row.found)
}

/// What has happened, newest last.
pub(super) fn history(as_json: bool, all: &[OutcomeView]) {
    if as_json {
        tell!("{}", json(&all));
        return;
    }
    if all.is_empty() {
        tell!("nothing was upgraded yet");
    }
    for outcome in all {
        let to = outcome.to.as_deref().unwrap_or("?");
        tell!(
            "{:>4}  {}  {:<8} {:<12} {}",
            outcome.id,
            time(outcome.at),
            outcome.goal,
            to,
            outcome.outcome
        );
        if let Some(cause) = &outcome.cause {
            tell!("      {}", cause.text);
        }
    }
}

/// How a job ended; the exit code says the same.
pub(super) fn ended(as_json: bool, ended: &OutcomeView) -> Exit {
    let code = ended.cause.as_ref().map(|cause| cause.code.as_str());
    let exit = match (ended.outcome.as_str(), code) {
        ("succeeded" | "reverted", _) => Exit::Done,
        ("refused", Some("not-ready")) => Exit::NotReady,
        ("refused", _) => Exit::NotAccepted,
        _ => Exit::Failed,
    };
    if as_json {
        tell!("{}", json(ended));
    } else if let Some(cause) = &ended.cause {
        error(false, &cause.code, &format!("{}: {}", ended.outcome, cause.text), &cause.advice);
    } else {
        let to = ended.to.as_ref().map_or_else(String::new, |to| format!(" {to}"));
        tell!("{}{to}: {}", ended.goal, ended.outcome);
    }
    exit
}

/// What became of a cancel.
pub(super) fn cancelled(as_json: bool, ended: &OutcomeView, target: Option<Slot>, after: &Status) {
    if as_json {
        tell!("{}", json(ended));
        return;
    }
    let Some(target) = target else {
        tell!("{}", ended.outcome);
        return;
    };
    let (slot, home) = match target {
        Slot::A => (&after.a, &after.b),
        Slot::B => (&after.b, &after.a),
    };
    tell!("cancelled; slot {} is {}, {} was not touched", slot.slot, slot.standing, home.slot);
}

/// What `start` is about to do.
pub(super) fn plan(
    status: &Status,
    name: Option<&BundleName>,
    stage_only: bool,
    stays: bool,
) -> String {
    let (running, other) =
        if status.a.running { (&status.a, &status.b) } else { (&status.b, &status.a) };
    let from = running.release.as_deref().unwrap_or("an unknown release");
    let to =
        name.map_or_else(|| "the bundle in the spool".to_owned(), |name| name.release.to_string());
    let then = if stage_only {
        "It is only written; upgrade activate reboots into it.".to_owned()
    } else {
        "Then the appliance reboots: sessions on it and through it are cut.".to_owned()
    };
    let sick = if stays {
        "If the new system is not healthy, it stays for you to look at."
    } else {
        "If the new system is not healthy, it goes back by itself."
    };
    format!(
        "{from} runs in slot {}. {to} will be written into slot {}.\n{then}\n{sick}",
        running.slot, other.slot
    )
}

/// What `revert` is about to do.
pub(super) fn revert_plan(status: &Status) -> String {
    let (running, other) =
        if status.a.running { (&status.a, &status.b) } else { (&status.b, &status.a) };
    let to = other.release.as_deref().unwrap_or("the system");
    format!(
        "The appliance reboots into slot {} with {to} on trial; slot {} stays the confirmed one until it is healthy.",
        other.slot, running.slot
    )
}
