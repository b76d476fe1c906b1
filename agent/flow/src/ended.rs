//! What becomes of the end of a task.
//!
//! A task's end is a fact, but only the phase that owed the task believes it: in every other phase it changes nothing.
//! (The driver also drops the ends of tasks that were stopped; this is the second lock on the same door.)

use crate::cause::{Cause, Ended};
use crate::event::{End, Now};
use crate::readiness::Report;
use crate::state::{Goal, Held, Holding, Image, Phase, Source, State, clip};
use crate::step::{Rules, end, end_for, fail, go, revert, sick};

pub(crate) fn ended(state: State, now: Now, what: End, rules: &Rules) -> State {
    match (what, state.phase) {
        (End::Fetched(held), Phase::Fetching) => fetched(state, held),
        (End::Verified(image), Phase::Verifying) => verified(state, now, image),
        (
            End::NotAccepted { code, text, advice },
            Phase::Fetching | Phase::Verifying | Phase::Assessing,
        ) => {
            let cause =
                Cause::NotAccepted { code: clip(code), text: clip(text), advice: clip(advice) };
            end_for(state, now, cause)
        }
        // A bundle that breaks only while its chunks are read leaves a half-written slot: that is trouble, to be retried.
        (End::NotAccepted { code, text, .. }, Phase::Writing) => {
            fail(state, Cause::Trouble { code: clip(code), text: clip(text) })
        }
        (End::Assessed(report), Phase::Assessing) => assessed(state, now, report),
        (End::Written, Phase::Writing) => written(state, now),
        (End::Granted, Phase::Holding) => granted(state),
        (End::Armed, Phase::Arming) => go(state, Phase::Rebooting),
        (End::Well, Phase::OnTrial) => well(state, now, rules),
        (End::Sick(text), Phase::OnTrial) => sick(state, Cause::Sick { text: clip(text) }),
        (End::Confirmed, Phase::Confirming) => confirmed(state, now),
        (End::Reverted, Phase::Reverting) => reverted(state, now),
        (End::Trouble { code, text }, _phase) => {
            let cause = Cause::Trouble { code: clip(code), text: clip(text) };
            trouble(state, now, cause)
        }
        (
            End::Fetched(_)
            | End::Verified(_)
            | End::NotAccepted { .. }
            | End::Assessed(_)
            | End::Written
            | End::Granted
            | End::Armed
            | End::Well
            | End::Sick(_)
            | End::Confirmed
            | End::Reverted,
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
            | Phase::Failed
            | Phase::Reverting,
        ) => state,
    }
}

fn fetched(mut state: State, held: Held) -> State {
    if let Some(job) = &mut state.job {
        job.source = Source::Spool(held);
    }
    go(state, Phase::Verifying)
}

fn verified(mut state: State, now: Now, image: Image) -> State {
    let Some(job) = &mut state.job else {
        return state;
    };
    job.image = Some(image);
    match job.goal {
        Goal::Fetch => {
            if let Source::Spool(held) = &job.source {
                state.held = Some(held.clone());
            }
            end(state, now, Ended::Succeeded, None)
        }
        Goal::Check | Goal::Stage | Goal::Upgrade | Goal::Revert | Goal::Repair => {
            go(state, Phase::Assessing)
        }
    }
}

fn assessed(mut state: State, now: Now, report: Report) -> State {
    let failed = report.blocking();
    state.report = Some(report);
    if !failed.is_empty() {
        return end_for(state, now, Cause::NotReady { failed });
    }
    let Some(job) = &state.job else { return state };
    match job.goal {
        Goal::Fetch | Goal::Check | Goal::Repair => end(state, now, Ended::Succeeded, None),
        Goal::Revert => go(state, Phase::Writing),
        Goal::Stage | Goal::Upgrade => {
            // From here on the other slot holds neither what it held nor yet what it will.
            let target = job.target;
            state.hold(target, None);
            go(state, Phase::Writing)
        }
    }
}

fn written(mut state: State, now: Now) -> State {
    let Some(job) = &state.job else { return state };
    let (target, goal, image) = (job.target, job.goal, job.image.clone());
    let goes_on = goal != Goal::Stage && job.decided == now.boot_id;
    // A revert wrote nothing: what was proven there is there still.
    let proven = goal == Goal::Revert;
    state.hold(target, image.map(|image| Holding { image, proven }));
    go(state, if goes_on { Phase::Holding } else { Phase::Staged })
}

/// From here on the slot may have a try, so the way out leads over the boot state.
fn granted(mut state: State) -> State {
    if let Some(job) = &mut state.job {
        job.armed = true;
    }
    go(state, Phase::Arming)
}

fn well(mut state: State, now: Now, rules: &Rules) -> State {
    if rules.confirm_within.is_none() {
        return go(state, Phase::Confirming);
    }
    if let Some(trial) = state.job.as_mut().and_then(|job| job.trial.as_mut()) {
        trial.well = true;
        trial.since = now.boottime;
    }
    state
}

/// The boot state is durable, and health was proven before: success.
pub(crate) fn confirmed(mut state: State, now: Now) -> State {
    let Some(job) = &state.job else { return state };
    let how = if job.goal == Goal::Revert { Ended::Reverted } else { Ended::Succeeded };
    let (target, image) = (job.target, job.image.clone());
    if let Some(image) = image {
        state.hold(target, Some(Holding { image, proven: true }));
    }
    end(state, now, how, None)
}

fn reverted(mut state: State, now: Now) -> State {
    let Some(job) = &mut state.job else {
        return state;
    };
    if job.goal == Goal::Repair {
        state.counter_broken = false;
        return end(state, now, Ended::Succeeded, None);
    }
    match job.cause.take() {
        // A stale decision is asked anew; the image is still whole and staged.
        Some(Cause::Stale) if job.image.is_some() => go(state, Phase::Staged),
        Some(cause) => end_for(state, now, cause),
        None => end_for(state, now, Cause::Stale),
    }
}

/// A task could not be done. Before arming the old system simply stays; from arming on the boot state must go back.
fn trouble(state: State, now: Now, cause: Cause) -> State {
    let errand = state.job.as_ref().is_some_and(|job| job.goal.is_errand());
    match state.phase {
        Phase::Fetching | Phase::Verifying | Phase::Assessing if errand => {
            end_for(state, now, cause)
        }
        Phase::Fetching | Phase::Verifying | Phase::Assessing | Phase::Writing | Phase::Holding => {
            fail(state, cause)
        }
        Phase::Arming | Phase::Rebooting => revert(state, cause),
        // The new system is healthy: it is not thrown away for a write that failed. It waits for retry or cancel, and any
        // reset is the way back.
        Phase::Confirming => fail(state, cause),
        Phase::OnTrial => sick(state, cause),
        // The way back itself is blocked: stay up, and say so.
        Phase::Reverting if errand => end_for(state, now, cause),
        Phase::Reverting => fail(state, cause),
        Phase::Idle | Phase::Staged | Phase::Failed => state,
    }
}
