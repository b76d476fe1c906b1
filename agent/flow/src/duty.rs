//! What a state owes: one task, and the time at which the machine wants to be asked again.

use std::time::Duration;

use crate::state::{Goal, Phase, State};
use crate::step::Rules;

/// The one thing this state owes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Duty {
    /// What is to be done. Each task is safe to do twice.
    pub task: Task,
    /// When [`crate::Event::Due`] comes, if the task did not end before.
    pub until: Option<Until>,
}

/// A moment, on the clock that decides about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Until {
    /// On the boot clock: deadlines, soaks, back-offs.
    Boot(Duration),
    /// On the wall clock, seconds since 1970: `--at` and windows. Looked at again when the clock jumps.
    Wall(u64),
}

/// A task for the hand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Task {
    /// Nothing; tidy what nobody holds.
    Rest,
    /// Bring the handed bytes into the spool.
    Fetch,
    /// Check name, signature and manifest.
    Verify,
    /// Judge readiness.
    Assess,
    /// Write the image into the other slot and read it back.
    Write,
    /// Read the other slot and compare it with the known digest; write nothing.
    Rehash,
    /// Ask the peer.
    Hold,
    /// Give the other slot its one try.
    Arm,
    /// Reboot.
    Reboot,
    /// Probe until well or sick.
    Judge,
    /// Make the running slot the confirmed one.
    Confirm,
    /// Bring the boot state back, and reboot if the other slot runs.
    Revert,
}

/// The judging task looks at the deadline itself and says which probe failed; the machine's own timer comes this much
/// later, for a task that hangs.
pub const HAND_GRACE: Duration = Duration::from_secs(2);

/// How long after the trial's deadline the confirming may take. It is two small writes; a disk that needs longer is dying.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// What `state` owes.
pub fn duty(state: &State, rules: &Rules) -> Duty {
    let goal = state.job.as_ref().map(|job| job.goal);
    let trial = state.job.as_ref().and_then(|job| job.trial);
    let task = match state.phase {
        Phase::Idle | Phase::Staged | Phase::Failed => Task::Rest,
        Phase::Fetching => Task::Fetch,
        Phase::Verifying => Task::Verify,
        Phase::Assessing => Task::Assess,
        Phase::Writing => match goal {
            Some(Goal::Revert) => Task::Rehash,
            Some(Goal::Fetch | Goal::Check | Goal::Stage | Goal::Upgrade | Goal::Repair) | None => {
                Task::Write
            }
        },
        Phase::Holding => Task::Hold,
        Phase::Arming => Task::Arm,
        Phase::Rebooting => Task::Reboot,
        Phase::OnTrial if trial.is_some_and(|trial| trial.well) => Task::Rest,
        Phase::OnTrial => Task::Judge,
        Phase::Confirming => Task::Confirm,
        Phase::Reverting => Task::Revert,
    };
    let limit = match (state.phase, trial) {
        (Phase::OnTrial, Some(trial)) if trial.well => rules.confirm_within,
        (Phase::OnTrial, Some(_)) => Some(rules.deadline),
        (Phase::Confirming, Some(_)) => Some(rules.deadline.saturating_add(CONFIRM_WITHIN)),
        (
            Phase::OnTrial
            | Phase::Confirming
            | Phase::Idle
            | Phase::Fetching
            | Phase::Verifying
            | Phase::Assessing
            | Phase::Writing
            | Phase::Staged
            | Phase::Holding
            | Phase::Arming
            | Phase::Rebooting
            | Phase::Failed
            | Phase::Reverting,
            _,
        ) => None,
    };
    let until = trial.zip(limit).map(|(trial, limit)| {
        Until::Boot(trial.since.saturating_add(limit).saturating_add(HAND_GRACE))
    });
    Duty { task, until }
}
