//! What boots, as a value and one question.
//!
//! [`choose`] is the same rule that `grub/choose.cfg` runs; a test runs that script for every state
//! and holds the two together. Everything here is pure: a mutator returns the next state and **does
//! not write to the disk**; [`Copies::write`](crate::Copies::write) says what is to be written.
//!
//! Invariants:
//! * A slot on trial is booted as such at most once, and only after the bootloader has read back
//!   that the try is spent. A try that cannot be spent is not taken.
//! * A slot that was given up is never booted while a copy of the boot state can be read.
//! * Every state boots something: there is no state in which [`choose`] has no answer.

use serde::{Deserialize, Serialize};

use crate::Slot;

/// What the slot that is not confirmed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Other {
    /// It may not be booted: being written, judged sick, or cleaned up.
    GivenUp,
    /// Whole, but not on trial: the previous good system, or one that was staged and read back.
    /// Booted as the last resort only.
    Whole,
    /// On trial, and its one try is not taken yet.
    Armed,
    /// On trial, and the bootloader has taken the try.
    Spent,
}

impl Other {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::GivenUp, Self::Whole, Self::Armed, Self::Spent];
}

/// What the bootloader is told: which slot is known to be good, and what the other one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootState {
    /// The slot that proved itself; what every doubt falls back to.
    pub confirmed: Slot,
    /// What the other slot is.
    pub other: Other,
}

impl BootState {
    /// Every state there is.
    pub const ALL: [Self; 8] = {
        let mut all = [Self { confirmed: Slot::A, other: Other::GivenUp }; 8];
        let mut index = 0;
        while index < all.len() {
            all[index].confirmed = Slot::ALL[index / Other::ALL.len()];
            all[index].other = Other::ALL[index % Other::ALL.len()];
            index += 1;
        }
        all
    };

    /// The other slot goes on trial with one try. The caller has read it back. Does not write to
    /// the disk.
    #[must_use]
    pub fn arm(self) -> Self {
        Self { other: Other::Armed, ..self }
    }

    /// `slot` proved itself. If that is news, the slot confirmed until now stays as a whole one to
    /// fall back to; if not, a trial of the other slot ends, and a slot given up stays given up.
    /// Does not write to the disk.
    #[must_use]
    pub fn confirm(self, slot: Slot) -> Self {
        if slot == self.confirmed {
            self.disarm()
        } else {
            Self { confirmed: slot, other: Other::Whole }
        }
    }

    /// The trial is over or called off; the other slot is still whole. Does not write to the disk.
    #[must_use]
    pub fn disarm(self) -> Self {
        let other = match self.other {
            Other::GivenUp => Other::GivenUp,
            Other::Whole | Other::Armed | Other::Spent => Other::Whole,
        };
        Self { other, ..self }
    }

    /// The other slot may no longer be booted. Does not write to the disk.
    #[must_use]
    pub fn give_up(self) -> Self {
        Self { other: Other::GivenUp, ..self }
    }

    /// What boots from this state when the bootloader can write.
    pub fn choose(self) -> Choice {
        choose(Some(self), Spend::Durable)
    }
}

/// Whether the bootloader could take the try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spend {
    /// It was written, read again, and found spent.
    Durable,
    /// The write was refused, or what was read again is not what was written.
    Failed,
}

/// What the bootloader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Choice {
    /// The slot to boot.
    pub slot: Slot,
    /// Whether that slot is on trial: `upgrade.trial=1` on the kernel's command line.
    pub trial: bool,
    /// The slot to boot, never as a trial, if that one cannot be loaded.
    pub last_resort: Option<Slot>,
}

/// The rule of the boot script, `None` meaning that no copy of the boot state can be read.
///
/// When nothing can be read, slot A boots and B is the last resort, because a box that stands still
/// helps nobody. A try that could not be spent is not taken: the confirmed slot boots, and the armed
/// one remains its last resort like any other whole slot. That is no trial without a try: it was
/// read back before it was armed, and it is reached only where the confirmed slot cannot even be
/// loaded, so the choice is between it and nothing.
pub fn choose(state: Option<BootState>, spend: Spend) -> Choice {
    let Some(BootState { confirmed, other }) = state else {
        return Choice { slot: Slot::A, trial: false, last_resort: Some(Slot::B) };
    };
    let stay = |last_resort| Choice { slot: confirmed, trial: false, last_resort };
    match (other, spend) {
        (Other::GivenUp, Spend::Durable | Spend::Failed) => stay(None),
        (Other::Armed, Spend::Durable) => {
            Choice { slot: !confirmed, trial: true, last_resort: Some(confirmed) }
        }
        (Other::Armed, Spend::Failed)
        | (Other::Whole | Other::Spent, Spend::Durable | Spend::Failed) => stay(Some(!confirmed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_each_state_once() {
        let mut seen = BootState::ALL.to_vec();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert!(BootState::ALL.is_sorted());
    }

    #[test]
    fn only_an_armed_slot_whose_try_is_spent_durably_is_booted_on_trial() {
        for state in BootState::ALL {
            for spend in [Spend::Durable, Spend::Failed] {
                let choice = choose(Some(state), spend);
                let may = state.other == Other::Armed && spend == Spend::Durable;
                assert_eq!(choice.trial, may, "{state:?} {spend:?}");
                assert_eq!(choice.slot != state.confirmed, may, "{state:?} {spend:?}");
                assert_ne!(choice.last_resort, Some(choice.slot), "{state:?} {spend:?}");
            }
        }
        assert!(!choose(None, Spend::Durable).trial);
    }

    #[test]
    fn a_slot_given_up_is_not_even_a_last_resort() {
        for confirmed in Slot::ALL {
            let choice = BootState { confirmed, other: Other::GivenUp }.choose();
            assert_eq!(choice, Choice { slot: confirmed, trial: false, last_resort: None });
        }
    }

    #[test]
    fn confirming_the_slot_on_trial_keeps_the_old_one_to_fall_back_to() {
        let spent = BootState { confirmed: Slot::A, other: Other::Spent };
        assert_eq!(spent.confirm(Slot::B), BootState { confirmed: Slot::B, other: Other::Whole });
        assert_eq!(spent.confirm(Slot::A), BootState { confirmed: Slot::A, other: Other::Whole });
    }

    #[test]
    fn nothing_but_arming_makes_a_slot_given_up_bootable_beside_the_same_confirmed_one() {
        for confirmed in Slot::ALL {
            let state = BootState { confirmed, other: Other::Whole }.give_up();
            assert_eq!(state.disarm(), state);
            assert_eq!(state.confirm(confirmed), state);
            assert_eq!(state.arm().other, Other::Armed);
        }
    }
}
