//! The first event of every life: the agent started. What it finds decides, not what it hoped for.
//!
//! The boot state is right; the journal only tells the story. Every combination of phase, running slot, same or other
//! boot, and standing of the target in the boot state is a row here. Rules that the rows keep:
//! * Forward only within the boot in which somebody said go. After any other boot the decision is asked anew.
//! * The old slot runs after a spent try, and no verdict was journalled: the first time that is no evidence against the
//!   image, the second time it is.
//! * At most one way back: when the boot state already names the confirmed slot and the other one was booted all the
//!   same, the agent stays up and says so, instead of rebooting for ever.

use bootloader_hooks::{BootState, Other};

use crate::cause::Cause;
use crate::event::{Boot, Evidence, Now, Origin};
use crate::state::{Goal, Judgement, Phase, Source, State, Trial, Upgrade};
use crate::step::{Rules, end_for, fail, go, revert, sick};

/// How the boot state speaks of the slot that a job is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It is the confirmed one.
    Confirmed,
    /// It has a try, and no boot took it.
    Armed,
    /// A boot took its try.
    Spent,
    /// It is not on trial: given up, or whole.
    NotOnTrial,
    /// Neither copy can be read.
    Unreadable,
}

impl Standing {
    fn of(state: Option<BootState>, target: bootloader_hooks::Slot) -> Self {
        match state {
            None => Self::Unreadable,
            Some(state) if state.confirmed == target => Self::Confirmed,
            Some(state) => match state.other {
                Other::Armed => Self::Armed,
                Other::Spent => Self::Spent,
                Other::GivenUp | Other::Whole => Self::NotOnTrial,
            },
        }
    }
}

/// What a row is looked up by, beside the phase.
struct Found {
    /// The job's target runs (else its home does).
    at_target: bool,
    /// The journal was last written in this very boot: only the agent was restarted.
    same_boot: bool,
    standing: Standing,
    boot: Boot,
}

pub(crate) fn booted(mut state: State, now: Now, boot: Boot, rules: &Rules) -> State {
    let same_boot = state.boot == boot.id;
    state.running = boot.running;
    let Some(job) = &state.job else {
        return without_a_job(state, now, boot);
    };
    let found = Found {
        at_target: boot.running == job.target,
        same_boot,
        standing: Standing::of(boot.state, job.target),
        boot,
    };
    match state.phase {
        Phase::Idle => state,
        Phase::Fetching | Phase::Verifying | Phase::Assessing | Phase::Writing => {
            before_staged(state, now, &found)
        }
        Phase::Staged => staged(state, now, &found),
        Phase::Holding | Phase::Arming | Phase::Rebooting => about_to_reboot(state, now, &found),
        Phase::OnTrial => on_trial(state, now, &found, rules),
        Phase::Confirming => confirming(state, now, &found),
        Phase::Failed => failed(state, now, &found),
        Phase::Reverting => reverting(state, now, &found),
    }
}

/// No job is journalled: an appliance at rest, or one whose journals are lost.
fn without_a_job(mut state: State, now: Now, boot: Boot) -> State {
    let Some(seen) = boot.state else { return state };
    let at_confirmed = seen.confirmed == boot.running;
    match (at_confirmed, seen.other, boot.trial) {
        // An armed try that nobody owns would boot some day by surprise.
        (true, Other::Armed, _) => {
            adopt_unknown_trial(&mut state, now, !boot.running, None);
            revert(state, Cause::Stale)
        }
        // A new slot on trial and no story: judge it, confirm it or fall back.
        (false, Other::Spent, true) => {
            adopt_unknown_trial(&mut state, now, boot.running, Some(first_start(now)));
            go(state, Phase::OnTrial)
        }
        (false, Other::Armed, true) => {
            adopt_unknown_trial(&mut state, now, boot.running, Some(first_start(now)));
            state.counter_broken = true;
            revert(state, Cause::CounterBroken)
        }
        // Booted by hand, or as the last resort: nothing is staged until a person decides (a readiness check says so).
        (false, Other::Spent | Other::Armed, false) | (false, Other::GivenUp | Other::Whole, _) => {
            state
        }
        // The confirmed slot runs, and nothing touches the other one.
        (true, Other::GivenUp | Other::Whole | Other::Spent, _) => state,
    }
}

fn first_start(now: Now) -> Trial {
    Trial { since: now.boottime, starts: 1, well: false }
}

/// A job for a trial that the journal knows nothing of.
fn adopt_unknown_trial(
    state: &mut State,
    now: Now,
    target: bootloader_hooks::Slot,
    trial: Option<Trial>,
) {
    let origin = Origin { by: "the boot state".to_owned(), from: None };
    let fresh = crate::asked::job(state, now, Goal::Upgrade, Source::Nothing, origin);
    state.job = Some(Upgrade { target, trial, ..fresh });
}

fn before_staged(state: State, now: Now, found: &Found) -> State {
    if found.at_target {
        return at_target_by_surprise(state, now, found);
    }
    let Some(job) = &state.job else { return state };
    match (&job.source, job.goal) {
        (Source::Handed { .. }, Goal::Fetch | Goal::Check) => end_for(state, now, Cause::FileGone),
        (Source::Handed { .. }, Goal::Stage | Goal::Upgrade | Goal::Revert | Goal::Repair) => {
            fail(state, Cause::FileGone)
        }
        // Signature and readiness are judged again; what is already written is found by its digest.
        (Source::Spool(_), _) => go(state, Phase::Verifying),
        (Source::Nothing, _) => state,
    }
}

/// The target runs although this job did not reboot into it yet.
fn at_target_by_surprise(mut state: State, now: Now, found: &Found) -> State {
    match (found.boot.trial, found.standing) {
        // Whoever gave it the try: it is a trial, and it is judged.
        (true, Standing::Spent) => {
            if let Some(job) = &mut state.job {
                job.trial = Some(first_start(now));
            }
            go(state, Phase::OnTrial)
        }
        (true, Standing::Armed) => counter_broken(state),
        (true, Standing::Confirmed | Standing::NotOnTrial | Standing::Unreadable) => {
            end_for(state, now, Cause::ChangedOutside)
        }
        (
            false,
            Standing::Confirmed
            | Standing::Armed
            | Standing::Spent
            | Standing::NotOnTrial
            | Standing::Unreadable,
        ) => end_for(state, now, untried(found)),
    }
}

/// Why the target runs, and not as a trial. If the boot state names the other slot, the bootloader could not load it.
fn untried(found: &Found) -> Cause {
    match found.standing {
        Standing::Spent | Standing::NotOnTrial => Cause::LastResort,
        Standing::Confirmed | Standing::Armed | Standing::Unreadable => Cause::ChangedOutside,
    }
}

fn staged(state: State, now: Now, found: &Found) -> State {
    match (found.at_target, found.standing) {
        (true, _) => at_target_by_surprise(state, now, found),
        (false, Standing::Confirmed) => end_for(state, now, Cause::ChangedOutside),
        (false, Standing::Armed | Standing::Spent) => revert(state, Cause::Stale),
        (false, Standing::NotOnTrial | Standing::Unreadable) => state,
    }
}

/// Holding, Arming and Rebooting: the home slot still runs, or the trial just began.
fn about_to_reboot(mut state: State, now: Now, found: &Found) -> State {
    match (found.at_target, found.same_boot, found.standing) {
        // The trial began.
        (true, _, Standing::Spent | Standing::NotOnTrial | Standing::Unreadable)
            if found.boot.trial =>
        {
            if let Some(job) = &mut state.job {
                job.trial = Some(first_start(now));
            }
            go(state, Phase::OnTrial)
        }
        (true, _, Standing::Armed) if found.boot.trial => counter_broken(state),
        (true, _, Standing::Confirmed) => end_for(state, now, Cause::ConfirmedOutside),
        (
            true,
            _,
            Standing::Spent | Standing::NotOnTrial | Standing::Unreadable | Standing::Armed,
        ) => end_for(state, now, untried(found)),
        // Only the agent was restarted: forward.
        (false, true, Standing::Armed) => state,
        // A reboot now could end in a slot that nobody judges.
        (false, true, Standing::Unreadable) if state.phase == Phase::Rebooting => {
            revert(state, Cause::BootStateLost)
        }
        (false, true, Standing::Unreadable) => state,
        (false, true, Standing::NotOnTrial) => {
            if state.phase == Phase::Rebooting {
                revert(state, Cause::ChangedOutside)
            } else {
                state
            }
        }
        (false, true, Standing::Spent) => revert(state, Cause::ChangedOutside),
        (false, _, Standing::Confirmed) => end_for(state, now, Cause::ChangedOutside),
        // Another boot, and the home slot runs.
        (false, false, Standing::Armed) => counter_broken(state),
        (false, false, Standing::Spent) => no_verdict(state, found.boot.evidence),
        (false, false, Standing::NotOnTrial) => go(state, Phase::Staged),
        (false, false, Standing::Unreadable) => revert(state, Cause::BootStateLost),
    }
}

fn counter_broken(mut state: State) -> State {
    state.counter_broken = true;
    revert(state, Cause::CounterBroken)
}

/// The try was spent, the home slot runs again, and nobody wrote down why.
fn no_verdict(state: State, evidence: Evidence) -> State {
    let digest = state.job.as_ref().and_then(|job| job.image.as_ref()).map(|image| image.digest);
    let before = digest.and_then(|digest| state.judgement(&digest));
    let cause = match (evidence, before) {
        (Evidence::Panic | Evidence::Watchdog, _) => Cause::Died { evidence },
        (Evidence::None, Some(Judgement::Interrupted | Judgement::Condemned)) => Cause::CutAgain,
        (Evidence::None, None) => Cause::Cut,
    };
    revert(state, cause)
}

fn on_trial(mut state: State, now: Now, found: &Found, rules: &Rules) -> State {
    match (found.at_target, found.same_boot, found.standing) {
        (_, _, Standing::Confirmed) => end_for(state, now, Cause::ConfirmedOutside),
        // The agent was restarted within the trial: the soak begins anew, the deadline does not, and starts are counted.
        (
            true,
            true,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => {
            let Some(trial) = state.job.as_mut().and_then(|job| job.trial.as_mut()) else {
                return state;
            };
            trial.starts = trial.starts.saturating_add(1);
            if trial.starts >= rules.agent_starts {
                sick(state, Cause::AgentRestarts)
            } else {
                state
            }
        }
        // The target runs again although its one try was spent.
        (
            true,
            false,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => {
            if found.boot.trial {
                counter_broken(state)
            } else {
                end_for(state, now, untried(found))
            }
        }
        (
            false,
            _,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => no_verdict(state, found.boot.evidence),
    }
}

fn confirming(state: State, now: Now, found: &Found) -> State {
    match (found.at_target, found.same_boot, found.standing) {
        // Health was proven before this phase began, and the boot state is durable: that is success.
        (true, _, Standing::Confirmed) => crate::ended::confirmed(state, now),
        // It was healthy and is confirmed, and still it could not be loaded again.
        (false, _, Standing::Confirmed) => end_for(state, now, Cause::LastResort),
        (
            true,
            true,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => state,
        (
            true,
            false,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => {
            if found.boot.trial {
                counter_broken(state)
            } else {
                end_for(state, now, untried(found))
            }
        }
        (
            false,
            _,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => revert(state, Cause::CutWhileConfirming),
    }
}

fn failed(state: State, now: Now, found: &Found) -> State {
    let Some(job) = &state.job else { return state };
    let cause = job.cause.clone().unwrap_or(Cause::Cut);
    match (job.trial.is_some(), found.at_target, found.standing) {
        (_, _, Standing::Confirmed) => {
            let cause =
                if found.at_target { Cause::ConfirmedOutside } else { Cause::ChangedOutside };
            end_for(state, now, cause)
        }
        // Failed before arming: the home slot runs on; a try that should not be there is taken back.
        (false, false, Standing::NotOnTrial | Standing::Unreadable) => state,
        (false, false, Standing::Armed | Standing::Spent) => revert(state, cause),
        (
            false,
            true,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => at_target_by_surprise(state, now, found),
        // Failed on trial with auto-cancel off: it waits where it is; any reset is the way back.
        (
            true,
            true,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => state,
        (
            true,
            false,
            Standing::Armed | Standing::Spent | Standing::NotOnTrial | Standing::Unreadable,
        ) => revert(state, cause),
    }
}

fn reverting(state: State, now: Now, found: &Found) -> State {
    let goal = state.job.as_ref().map(|job| job.goal);
    match (found.at_target, found.same_boot, found.standing) {
        // Writing the boot state back is safe to do twice.
        (false, _, _) | (true, true, _) => state,
        // What was to be repaired is not what runs now.
        (true, false, _) if goal == Some(Goal::Repair) => {
            end_for(state, now, Cause::ChangedOutside)
        }
        // No trial, and still this slot: the confirmed one cannot be loaded. Going back there would end every boot.
        (true, false, Standing::Spent) if !found.boot.trial => fail(state, Cause::LastResort),
        // The cut came before the boot state was back, so the other slot was booted once more.
        (
            true,
            false,
            Standing::Armed | Standing::Spent | Standing::Confirmed | Standing::Unreadable,
        ) => state,
        // The boot state is back, and still the other slot runs: rebooting again would be a ping-pong.
        (true, false, Standing::NotOnTrial) => fail(state, Cause::WillNotGoBack),
    }
}
