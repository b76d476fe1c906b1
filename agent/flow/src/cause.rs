//! Why a job did not go as asked, and which one word that makes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Evidence;
use crate::readiness::CheckId;

/// The one word for how a job ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// As asked, and proven so.
    Succeeded,
    /// Back on the previous slot by itself.
    RolledBack,
    /// Dropped or taken back because somebody said cancel.
    Cancelled,
    /// Back on the previous version because somebody said revert, and proven healthy there.
    Reverted,
    /// Cut short, with no evidence against the image.
    Interrupted,
    /// Could not be done.
    Failed,
    /// Its time passed before it could begin.
    Skipped,
    /// Not begun: the bundle or the appliance was not right.
    Refused,
}

impl Ended {
    /// The word, as in the history, the command and the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled-back",
            Self::Cancelled => "cancelled",
            Self::Reverted => "reverted",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }

    /// The job did what it was asked to do.
    pub fn is_good(self) -> bool {
        match self {
            Self::Succeeded | Self::Reverted => true,
            Self::RolledBack
            | Self::Cancelled
            | Self::Interrupted
            | Self::Failed
            | Self::Skipped
            | Self::Refused => false,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a job did not go as asked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The bundle is not accepted.
    NotAccepted {
        /// The stable code.
        code: String,
        /// What was found.
        text: String,
        /// What to do next.
        advice: String,
    },
    /// These checks stand in the way.
    NotReady {
        /// Their ids.
        failed: Vec<CheckId>,
    },
    /// A task could not be done.
    Trouble {
        /// The stable code.
        code: String,
        /// What happened, with numbers.
        text: String,
    },
    /// The handed file went with the service that held it.
    FileGone,
    /// The new system was not healthy.
    Sick {
        /// Which probe said so, and what it said.
        text: String,
    },
    /// The trial's time was over before it was healthy.
    Deadline,
    /// Nobody accepted the trial in time.
    NobodyConfirmed,
    /// The agent was started too often within one trial.
    AgentRestarts,
    /// The trial ended without a verdict, with evidence against the image.
    Died {
        /// What the platform tells.
        evidence: Evidence,
    },
    /// The trial ended without a verdict, the first time.
    Cut,
    /// The trial ended without a verdict, again.
    CutAgain,
    /// The trial was well; the cut came before that was durable.
    CutWhileConfirming,
    /// The trial was well; that could not be made durable in time.
    NotDurable,
    /// Somebody said cancel.
    Operator,
    /// The decision belongs to an earlier boot.
    Stale,
    /// An armed try was not spent by the boot that followed.
    CounterBroken,
    /// The boot state was good before health was proven.
    ConfirmedOutside,
    /// The slots or the boot state were changed by somebody else.
    ChangedOutside,
    /// The bootloader could not load the confirmed slot and booted this one instead.
    LastResort,
    /// Neither copy of the boot state could be read.
    BootStateLost,
    /// The boot state is right, and still the other slot was booted.
    WillNotGoBack,
}

impl Cause {
    /// The stable code, in words.
    pub fn code(&self) -> &str {
        match self {
            Self::NotAccepted { code, .. } | Self::Trouble { code, .. } => code,
            Self::NotReady { .. } => "not-ready",
            Self::FileGone => "file-gone",
            Self::Sick { .. } => "sick",
            Self::Deadline => "trial-deadline",
            Self::NobodyConfirmed => "nobody-confirmed",
            Self::AgentRestarts => "agent-restarts",
            Self::Died { .. } => "died-on-trial",
            Self::Cut => "cut-on-trial",
            Self::CutAgain => "cut-on-trial-again",
            Self::CutWhileConfirming => "cut-while-confirming",
            Self::NotDurable => "not-durable",
            Self::Operator => "operator",
            Self::Stale => "stale-decision",
            Self::CounterBroken => "boot-counter-broken",
            Self::ConfirmedOutside => "confirmed-outside",
            Self::ChangedOutside => "changed-outside",
            Self::LastResort => "last-resort",
            Self::BootStateLost => "boot-state-lost",
            Self::WillNotGoBack => "will-not-go-back",
        }
    }

    /// The image is at fault: it is refused until somebody forgives it, and its slot is given up.
    pub fn condemns(&self) -> bool {
        match self {
            Self::Sick { .. }
            | Self::Deadline
            | Self::AgentRestarts
            | Self::Died { .. }
            | Self::CutAgain => true,
            Self::NotAccepted { .. }
            | Self::NotReady { .. }
            | Self::Trouble { .. }
            | Self::FileGone
            | Self::NobodyConfirmed
            | Self::Cut
            | Self::CutWhileConfirming
            | Self::NotDurable
            | Self::Operator
            | Self::Stale
            | Self::CounterBroken
            | Self::ConfirmedOutside
            | Self::ChangedOutside
            | Self::LastResort
            | Self::BootStateLost
            | Self::WillNotGoBack => false,
        }
    }

    /// The one word for a job that ends for this cause.
    pub fn ended(&self) -> Ended {
        match self {
            Self::NotAccepted { .. } | Self::NotReady { .. } => Ended::Refused,
            Self::Sick { .. }
            | Self::Deadline
            | Self::NobodyConfirmed
            | Self::AgentRestarts
            | Self::Died { .. }
            | Self::CutAgain => Ended::RolledBack,
            Self::Cut
            | Self::CutWhileConfirming
            | Self::Stale
            | Self::ConfirmedOutside
            | Self::BootStateLost => Ended::Interrupted,
            Self::Operator => Ended::Cancelled,
            Self::Trouble { .. }
            | Self::FileGone
            | Self::NotDurable
            | Self::CounterBroken
            | Self::ChangedOutside
            | Self::LastResort
            | Self::WillNotGoBack => Ended::Failed,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAccepted { text, .. } | Self::Trouble { text, .. } | Self::Sick { text } => {
                f.write_str(text)
            }
            Self::NotReady { failed } => {
                let ids: Vec<&str> = failed.iter().map(|id| id.word()).collect();
                write!(f, "the appliance is not ready: {}", ids.join(", "))
            }
            Self::FileGone => {
                f.write_str("the service was restarted and the handed file went with it")
            }
            Self::Deadline => {
                f.write_str("the trial's deadline passed before the new system was healthy")
            }
            Self::NobodyConfirmed => f.write_str("nobody accepted the trial in time"),
            Self::AgentRestarts => {
                f.write_str("the agent was restarted too often within the trial")
            }
            Self::Died { evidence: Evidence::Panic } => {
                f.write_str("the new system's kernel panicked")
            }
            Self::Died { evidence: Evidence::Watchdog } => {
                f.write_str("the hardware watchdog reset the new system")
            }
            Self::Died { evidence: Evidence::None } => f.write_str("the new system died"),
            Self::Cut => f.write_str(
                "the trial was cut short: power, a reset or a hang, nothing tells which",
            ),
            Self::CutAgain => {
                f.write_str("the trial of this image was cut short for the second time")
            }
            Self::CutWhileConfirming => f.write_str(
                "the new system was healthy; power or a reset came before that was durable",
            ),
            Self::NotDurable => {
                f.write_str("the new system was healthy, but that could not be written down in time")
            }
            Self::Operator => f.write_str("cancelled on request"),
            Self::Stale => f.write_str("the decision to reboot belongs to an earlier boot"),
            Self::CounterBroken => {
                f.write_str("the bootloader did not take the try: its boot counter does not work")
            }
            Self::ConfirmedOutside => f.write_str(
                "the new slot was confirmed outside the agent, before health was proven",
            ),
            Self::ChangedOutside => {
                f.write_str("the slots or the boot state were changed outside the agent")
            }
            Self::LastResort => f.write_str(
                "the bootloader could not load the confirmed slot and booted this one as the last resort",
            ),
            Self::BootStateLost => f.write_str("neither copy of the boot state could be read"),
            Self::WillNotGoBack => f.write_str(
                "the boot state names the confirmed slot, and still the other one was booted",
            ),
        }
    }
}
