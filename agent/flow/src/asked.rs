//! What becomes of a command: the table of phase and command, written out.
//!
//! A refusal names the phases that would take the command ([`possible`]); a test walks all phases and commands and
//! holds that list to the table.

use std::collections::BTreeSet;

use crate::cause::Cause;
use crate::event::{Command, Now, Origin, Refusal, Request};
use crate::state::{Goal, Judgement, Phase, Source, State, Upgrade, clip};
use crate::step::{Turned, end_for, go, revert};

/// Why a phase does not take a command.
type No = (&'static str, String);

pub(crate) fn asked(state: State, now: Now, command: Command) -> Turned {
    let before = state.clone();
    let word = command.word();
    match take(state, now, command) {
        Ok(state) => Turned::to(state),
        Err((code, text)) => {
            let possible = possible(word);
            Turned { state: before, answer: Err(Refusal { code, text, possible }) }
        }
    }
}

impl Command {
    /// The command's word, as a person types it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Start(request) => match request.goal {
                Goal::Fetch => "fetch",
                Goal::Check => "check",
                Goal::Stage | Goal::Upgrade | Goal::Revert | Goal::Repair => "start",
            },
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Activate => "activate",
            Self::Confirm => "confirm",
            Self::Revert(_) => "revert",
            Self::Discard => "discard",
            Self::Forgive(_) => "forgive",
            Self::Repair(_) => "repair",
        }
    }
}

fn take(state: State, now: Now, command: Command) -> Result<State, No> {
    match command {
        Command::Start(request) => start(state, now, request),
        Command::Cancel => cancel(state, now),
        Command::Retry => retry(state, now),
        Command::Activate => activate(state, now),
        Command::Confirm => confirm(state),
        Command::Revert(origin) => revert_to_previous(state, now, origin),
        Command::Discard => discard(state),
        Command::Forgive(digest) => forgive(state, &digest),
        Command::Repair(origin) => repair(state, now, origin),
    }
}

/// In which phases a command is taken, given everything else it needs.
pub fn possible(word: &str) -> Vec<Phase> {
    use Phase::{
        Arming, Assessing, Failed, Fetching, Holding, Idle, OnTrial, Rebooting, Staged, Verifying,
        Writing,
    };
    match word {
        "start" => vec![Idle, Failed],
        "fetch" | "check" => vec![Idle],
        "cancel" => vec![
            Fetching, Verifying, Assessing, Writing, Staged, Holding, Arming, Rebooting, OnTrial,
            Failed,
        ],
        "retry" => vec![Failed],
        "activate" => vec![Staged],
        "confirm" => vec![OnTrial],
        "revert" | "repair" => vec![Idle],
        "discard" => vec![Idle, Staged, OnTrial],
        "forgive" => Phase::ALL.to_vec(),
        other => {
            debug_assert!(other.is_empty(), "a command without a row");
            Vec::new()
        }
    }
}

fn not_while(word: &str, phase: Phase) -> No {
    let possible: Vec<&str> = possible(word).into_iter().map(Phase::word).collect();
    let list = possible.join(", ");
    ("wrong-phase", format!("cannot {word} while {phase}; possible when {list}"))
}

fn start(state: State, now: Now, request: Request) -> Result<State, No> {
    let word = Command::Start(request.clone()).word();
    match state.phase {
        Phase::Idle => begin(state, now, request),
        Phase::Failed => {
            // An errand changes nothing, so it must not end the failed job either.
            if request.goal.is_errand() {
                return Err(not_while(word, state.phase));
            }
            let on_trial = state.job.as_ref().is_some_and(|job| job.trial.is_some());
            if on_trial {
                return Err((
                    "trial-failed",
                    format!(
                        "cannot {word}: a failed trial still runs; cancel goes back, retry judges it again"
                    ),
                ));
            }
            if state.job.as_ref().is_some_and(|job| job.armed) {
                return Err((
                    "cancel-first",
                    format!(
                        "cannot {word}: the failed job may have left a try behind; upgrade cancel takes it back"
                    ),
                ));
            }
            // The failed job is over: what replaces it begins from a clean table.
            let cause =
                state.job.as_ref().and_then(|job| job.cause.clone()).unwrap_or(Cause::Operator);
            begin(end_for(state, now, cause), now, request)
        }
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::OnTrial
        | Phase::Confirming
        | Phase::Reverting => Err(not_while(word, state.phase)),
    }
}

fn begin(mut state: State, now: Now, request: Request) -> Result<State, No> {
    let source = match (request.file, state.held.clone(), request.goal) {
        (Some(name), _, _) => Source::Handed { name: clip(name) },
        (None, Some(held), Goal::Check | Goal::Stage | Goal::Upgrade) => Source::Spool(held),
        (None, None, Goal::Check) | (None, _, Goal::Revert | Goal::Repair) => Source::Nothing,
        (None, _, Goal::Fetch) | (None, None, Goal::Stage | Goal::Upgrade) => {
            return Err((
                "no-bundle",
                "no bundle is held; give the file, or fetch it first".to_owned(),
            ));
        }
    };
    let phase = match (&source, request.goal) {
        (Source::Handed { .. }, Goal::Fetch) => Phase::Fetching,
        (Source::Nothing, _) => Phase::Assessing,
        (Source::Handed { .. } | Source::Spool(_), _) => Phase::Verifying,
    };
    state.job = Some(Upgrade {
        forced: request.forced,
        auto_cancel: request.auto_cancel,
        ..job(&mut state, now, request.goal, source, request.origin)
    });
    Ok(go(state, phase))
}

/// A fresh job with the next number, against the slot that does not run.
pub(crate) fn job(
    state: &mut State,
    now: Now,
    goal: Goal,
    source: Source,
    origin: Origin,
) -> Upgrade {
    let id = state.next_id;
    state.next_id = id.saturating_add(1);
    Upgrade {
        id,
        goal,
        source,
        from: origin.from,
        image: None,
        target: !state.running,
        by: clip(origin.by),
        decided: now.boot_id,
        forced: BTreeSet::new(),
        auto_cancel: true,
        armed: false,
        trial: None,
        cause: None,
    }
}

fn cancel(state: State, now: Now) -> Result<State, No> {
    match state.phase {
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding => Ok(end_for(state, now, Cause::Operator)),
        Phase::Arming | Phase::Rebooting | Phase::OnTrial => Ok(revert(state, Cause::Operator)),
        Phase::Failed => {
            let job = state.job.as_ref();
            let goes_back = job.is_some_and(|job| job.trial.is_some() || job.armed);
            let cause = job.and_then(|job| job.cause.clone()).unwrap_or(Cause::Operator);
            Ok(if goes_back { revert(state, cause) } else { end_for(state, now, cause) })
        }
        Phase::Confirming => Err((
            "too-late",
            "cannot cancel while confirming: the new system was healthy; upgrade revert goes back to the previous one"
                .to_owned(),
        )),
        Phase::Reverting => Err(("already-going-back", "already going back to the confirmed slot".to_owned())),
        Phase::Idle => Err(("nothing-to-cancel", "nothing to cancel: the agent is idle".to_owned())),
    }
}

fn retry(mut state: State, now: Now) -> Result<State, No> {
    match state.phase {
        Phase::Failed => {
            let Some(job) = &mut state.job else {
                return Err(not_while("retry", Phase::Idle));
            };
            let phase = match (&job.trial, &job.source, job.goal) {
                (Some(_), _, _) => Phase::OnTrial,
                (None, Source::Handed { name }, _) if job.cause == Some(Cause::FileGone) => {
                    return Err((
                        "file-needed",
                        format!(
                            "give the file again: upgrade start {name}; what is already written is not written twice"
                        ),
                    ));
                }
                (None, Source::Handed { .. }, _) => Phase::Verifying,
                (None, Source::Spool(_), _) => Phase::Verifying,
                (None, Source::Nothing, Goal::Revert) => Phase::Assessing,
                (None, Source::Nothing, Goal::Repair) => Phase::Reverting,
                (
                    None,
                    Source::Nothing,
                    Goal::Fetch | Goal::Check | Goal::Stage | Goal::Upgrade,
                ) => Phase::Assessing,
            };
            job.cause = None;
            job.decided = now.boot_id;
            if let Some(trial) = &mut job.trial {
                trial.since = now.boottime;
                trial.starts = 1;
                trial.well = false;
            }
            Ok(go(state, phase))
        }
        Phase::Idle
        | Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::OnTrial
        | Phase::Confirming
        | Phase::Reverting => Err(not_while("retry", state.phase)),
    }
}

fn activate(mut state: State, now: Now) -> Result<State, No> {
    match state.phase {
        Phase::Staged => {
            if let Some(job) = &mut state.job {
                job.decided = now.boot_id;
            }
            Ok(go(state, Phase::Holding))
        }
        Phase::Idle
        | Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::OnTrial
        | Phase::Confirming
        | Phase::Failed
        | Phase::Reverting => Err(not_while("activate", state.phase)),
    }
}

fn confirm(state: State) -> Result<State, No> {
    match state.phase {
        Phase::OnTrial => {
            if state.job.as_ref().and_then(|job| job.trial).is_some_and(|trial| trial.well) {
                Ok(go(state, Phase::Confirming))
            } else {
                Err((
                    "not-yet-well",
                    "cannot confirm yet: the new system has not been healthy for the whole soak"
                        .to_owned(),
                ))
            }
        }
        Phase::Idle
        | Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::Confirming
        | Phase::Failed
        | Phase::Reverting => Err(not_while("confirm", state.phase)),
    }
}

fn revert_to_previous(mut state: State, now: Now, origin: Origin) -> Result<State, No> {
    match state.phase {
        Phase::Idle => {
            let previous = !state.running;
            let Some(image) = state.proven(previous).cloned() else {
                return Err((
                    "slot-unproven",
                    format!(
                        "cannot revert: slot {previous} holds no system that this agent wrote and saw healthy"
                    ),
                ));
            };
            if state.judgement(&image.digest) == Some(Judgement::Condemned) {
                return Err((
                    "slot-condemned",
                    format!(
                        "cannot revert: the system in slot {previous} failed a trial; upgrade forgive {} lifts that",
                        image.digest
                    ),
                ));
            }
            let fresh = job(&mut state, now, Goal::Revert, Source::Nothing, origin);
            state.job = Some(Upgrade { image: Some(image), ..fresh });
            Ok(go(state, Phase::Assessing))
        }
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::OnTrial
        | Phase::Confirming
        | Phase::Failed
        | Phase::Reverting => Err(not_while("revert", state.phase)),
    }
}

/// The spool is let go only where no task reads it.
fn discard(mut state: State) -> Result<State, No> {
    match state.phase {
        Phase::Idle | Phase::Staged | Phase::OnTrial => match state.held.take() {
            Some(_) => Ok(state),
            None => Err(("no-bundle", "no bundle is held".to_owned())),
        },
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::Confirming
        | Phase::Failed
        | Phase::Reverting => Err(not_while("discard", state.phase)),
    }
}

fn forgive(mut state: State, digest: &bundle_format::Digest) -> Result<State, No> {
    let before = state.judged.len();
    state.judged.retain(|judged| judged.digest != *digest);
    if state.judged.len() == before {
        return Err((
            "not-stained",
            format!("image {digest} is not on the list of stained images"),
        ));
    }
    Ok(state)
}

fn repair(mut state: State, now: Now, origin: Origin) -> Result<State, No> {
    match state.phase {
        Phase::Idle => {
            let fresh = job(&mut state, now, Goal::Repair, Source::Nothing, origin);
            state.job = Some(fresh);
            Ok(go(state, Phase::Reverting))
        }
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::OnTrial
        | Phase::Confirming
        | Phase::Failed
        | Phase::Reverting => Err(not_while("repair", state.phase)),
    }
}
