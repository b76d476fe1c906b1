//! The machine: one event, one new state.
//!
//! [`step`] only sorts the events; each kind is answered in a file of its own: commands in `asked`, ends of tasks in
//! `ended`, the first event of a life in `booted`. Here stand the moves that more than one of them makes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::{Cause, Ended};
use crate::event::{Event, Now, Refusal, Verdict};
use crate::state::{Judgement, Outcome, Phase, State};
use crate::{asked, booted, ended};

/// What the integrator decided, as far as the machine needs it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// How long the new system must be well without a break.
    pub soak: Duration,
    /// When a trial that was not well until then is sick; from the agent's first start in it.
    pub deadline: Duration,
    /// At this many starts of the agent within one trial (the first one counts) the image is sick.
    pub agent_starts: u32,
    /// A person must accept a trial that is well, within this time; none: the agent accepts it.
    pub confirm_within: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            soak: Duration::from_secs(120),
            deadline: Duration::from_secs(600),
            agent_starts: 3,
            confirm_within: None,
        }
    }
}

/// What became of an event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Turned {
    /// The state from now on.
    pub state: State,
    /// Whether a command was taken; always `Ok` for facts.
    pub answer: Result<(), Refusal>,
}

impl Turned {
    /// A fact, or a command that was taken.
    pub(crate) fn to(state: State) -> Self {
        Self { state, answer: Ok(()) }
    }
}

/// The whole machine: total, deterministic, and it cannot fail.
pub fn step(state: &State, now: Now, event: Event, rules: &Rules) -> Turned {
    let mut turned = match event {
        Event::Booted(boot) => Turned::to(booted::booted(state.clone(), now, boot, rules)),
        Event::Asked(command) => asked::asked(state.clone(), now, command),
        Event::Ended(end) => Turned::to(ended::ended(state.clone(), now, end, rules)),
        Event::Due => Turned::to(due(state.clone())),
        Event::PeerSays(Verdict::Granted | Verdict::Denied) => Turned::to(state.clone()),
    };
    turned.state.boot = now.boot_id;
    turned
}

/// The duty's time came. Only a trial and its confirming have one; elsewhere a late timer changes nothing.
fn due(state: State) -> State {
    match state.phase {
        Phase::OnTrial => {
            let waited_for_a_person =
                state.job.as_ref().and_then(|j| j.trial).is_some_and(|t| t.well);
            let cause = if waited_for_a_person { Cause::NobodyConfirmed } else { Cause::Deadline };
            sick(state, cause)
        }
        // A disk that does not take the confirming must not leave the appliance on trial for ever.
        Phase::Confirming => revert(state, Cause::NotDurable),
        Phase::Idle
        | Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Staged
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::Failed
        | Phase::Reverting => state,
    }
}

/// The same job in another phase.
pub(crate) fn go(mut state: State, phase: Phase) -> State {
    state.phase = phase;
    state
}

/// The trial got a bad verdict: back, or stay for a person when auto-cancel is off.
pub(crate) fn sick(state: State, cause: Cause) -> State {
    let stays = state.job.as_ref().is_some_and(|job| !job.auto_cancel);
    if stays { fail(state, cause) } else { revert(state, cause) }
}

/// The job waits in [`Phase::Failed`] with its cause.
pub(crate) fn fail(mut state: State, cause: Cause) -> State {
    state.phase = Phase::Failed;
    if let Some(job) = &mut state.job {
        job.cause = Some(cause);
    }
    state
}

/// Back to the confirmed slot. The image is stained now, not when the way back is done: what was judged must not be
/// lost to a power cut on that way.
pub(crate) fn revert(mut state: State, cause: Cause) -> State {
    state.phase = Phase::Reverting;
    let digest = state.job.as_ref().and_then(|job| job.image.as_ref()).map(|image| image.digest);
    if let Some(digest) = digest {
        if cause.condemns() {
            state.stain(digest, Judgement::Condemned);
        } else if cause == Cause::Cut {
            state.stain(digest, Judgement::Interrupted);
        }
    }
    if let Some(job) = &mut state.job {
        job.cause = Some(cause);
    }
    state
}

/// The job is over: [`Phase::Idle`], and its outcome is remembered.
pub(crate) fn end(mut state: State, now: Now, how: Ended, cause: Option<Cause>) -> State {
    state.phase = Phase::Idle;
    if let Some(job) = state.job.take() {
        let outcome = Outcome {
            id: job.id,
            goal: job.goal,
            ended: how,
            cause,
            from: job.from,
            to: job.image.as_ref().map(|image| image.release),
            target: job.target,
            digest: job.image.as_ref().map(|image| image.digest),
            by: job.by,
            at: now.wall,
        };
        if job.goal.is_errand() {
            state.errand = Some(outcome);
        } else {
            state.last = Some(outcome);
        }
    }
    state
}

/// The job is over for a cause, with the word that cause makes.
pub(crate) fn end_for(state: State, now: Now, cause: Cause) -> State {
    let how = cause.ended();
    end(state, now, how, Some(cause))
}

#[cfg(test)]
mod tests;
