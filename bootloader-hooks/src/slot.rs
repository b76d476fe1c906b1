//! The two places a system can live in.
//!
//! A slot is never a number and never a string inside the program, and it is printed by its own
//! name, never by its role: "B" stays "B" whether it runs, waits or is on trial.

use std::fmt;
use std::ops::Not;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two slots. `!slot` is the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// The slot the factory writes first; what boots when nothing at all is known.
    A,
    /// The other one.
    B,
}

impl Slot {
    /// Both slots, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The name as it stands in paths: `a` or `b`.
    pub fn lower(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The name as it stands in the boot state and on the kernel's command line: `A` or `B`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

impl Not for Slot {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not the name of a slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a slot; the slots are A and B")]
pub struct NotASlot(pub String);

impl FromStr for Slot {
    type Err = NotASlot;

    /// Only `A` and `B`: the same two words the boot script knows, so nothing is folded or trimmed.
    fn from_str(text: &str) -> Result<Self, NotASlot> {
        match text {
            "A" => Ok(Self::A),
            "B" => Ok(Self::B),
            _ => Err(NotASlot(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_of_the_other_is_itself() {
        for slot in Slot::ALL {
            assert_ne!(!slot, slot);
            assert_eq!(!!slot, slot);
        }
    }

    #[test]
    fn a_slot_reads_back_what_it_prints_and_nothing_else() {
        for slot in Slot::ALL {
            assert_eq!(slot.to_string().parse(), Ok(slot));
        }
        for text in ["", "a", "b", " A", "A\n", "AB", "0", "other"] {
            assert_eq!(text.parse::<Slot>(), Err(NotASlot(text.to_owned())));
        }
    }
}
