//! What happens to an operation, and which faults are worth trying on it.
//!
//! Operations are numbered from the first one of a run; a [`Plan`] says what happens at which number. The same plan on
//! the same scenario gives the same run.

use std::fmt;

use bootloader_hooks::Slot;
use flow::Side;
use upgrade_agent::device::{JournalCopy, Place};

use crate::storage::Landing;

/// A medium of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// The disk behind slot A.
    SlotA,
    /// The disk behind slot B.
    SlotB,
    /// The boot-state partition.
    BootState,
    /// The journal's first copy.
    JournalOne,
    /// The journal's second copy.
    JournalTwo,
    /// The history.
    History,
    /// The spool's first side.
    SpoolLeft,
    /// The spool's second side.
    SpoolRight,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SlotA,
        Self::SlotB,
        Self::BootState,
        Self::JournalOne,
        Self::JournalTwo,
        Self::History,
        Self::SpoolLeft,
        Self::SpoolRight,
    ];

    /// The medium of a slot.
    pub fn of(slot: Slot) -> Self {
        match slot {
            Slot::A => Self::SlotA,
            Slot::B => Self::SlotB,
        }
    }

    /// The medium of a place.
    pub fn behind(place: Place) -> Self {
        match place {
            Place::Slot(slot) | Place::Target(slot) => Self::of(slot),
            Place::BootState => Self::BootState,
            Place::Journal(JournalCopy::One) => Self::JournalOne,
            Place::Journal(JournalCopy::Two) => Self::JournalTwo,
            Place::History => Self::History,
            Place::Spool(Side::Left) => Self::SpoolLeft,
            Place::Spool(Side::Right) => Self::SpoolRight,
        }
    }

    /// The slot on this medium.
    pub fn slot(self) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| Self::of(*slot) == self)
    }

    /// Files that are made at first start, and the spool, may change their length.
    pub fn grows(self) -> bool {
        self.slot().is_none() && self != Self::BootState
    }

    /// The driver holds its own lock during these operations, so no command can come meanwhile.
    pub fn is_turning(self) -> bool {
        matches!(self, Self::JournalOne | Self::JournalTwo | Self::History)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SlotA => "slot A",
            Self::SlotB => "slot B",
            Self::BootState => "the boot state",
            Self::JournalOne => "journal copy one",
            Self::JournalTwo => "journal copy two",
            Self::History => "the history",
            Self::SpoolLeft => "the spool's left side",
            Self::SpoolRight => "the spool's right side",
        })
    }
}

/// What is done in one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "each is the method of `Device` or `Storage` of that name, or explained"
)]
pub enum Deed {
    Open(Part),
    Len(Part),
    Read(Part, u64, usize),
    Write(Part, u64, usize),
    Sync(Part),
    SetLen(Part, u64),
    ThisBoot,
    OsRelease,
    Model,
    FreeSpace,
    Clock,
    Probe,
    Pause,
    Reboot,
    /// The bootloader takes the try: it writes, and reads again.
    Spend(u64, usize),
}

impl Deed {
    /// The medium that it touches.
    pub fn part(self) -> Option<Part> {
        match self {
            Self::Open(part)
            | Self::Len(part)
            | Self::Read(part, ..)
            | Self::Write(part, ..)
            | Self::Sync(part)
            | Self::SetLen(part, _) => Some(part),
            Self::Spend(..) => Some(Part::BootState),
            Self::ThisBoot
            | Self::OsRelease
            | Self::Model
            | Self::FreeSpace
            | Self::Clock
            | Self::Probe
            | Self::Pause
            | Self::Reboot => None,
        }
    }

    /// Something is different afterwards: bytes, or the time.
    pub fn changes(self) -> bool {
        match self {
            Self::Write(..)
            | Self::Sync(_)
            | Self::SetLen(..)
            | Self::Probe
            | Self::Pause
            | Self::Reboot
            | Self::Spend(..) => true,
            Self::Open(_)
            | Self::Len(_)
            | Self::Read(..)
            | Self::ThisBoot
            | Self::OsRelease
            | Self::Model
            | Self::FreeSpace
            | Self::Clock => false,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(part) => write!(f, "open {part}"),
            Self::Len(part) => write!(f, "measure {part}"),
            Self::Read(part, at, len) => write!(f, "read {len} bytes of {part} at {at}"),
            Self::Write(part, at, len) => write!(f, "write {len} bytes to {part} at {at}"),
            Self::Sync(part) => write!(f, "sync {part}"),
            Self::SetLen(part, len) => write!(f, "make {part} {len} bytes long"),
            Self::ThisBoot => f.write_str("ask for the running slot"),
            Self::OsRelease => f.write_str("read os-release"),
            Self::Model => f.write_str("read the model"),
            Self::FreeSpace => f.write_str("ask for free space"),
            Self::Clock => f.write_str("ask for the clock"),
            Self::Probe => f.write_str("probe"),
            Self::Pause => f.write_str("pause"),
            Self::Reboot => f.write_str("ask for a reboot"),
            Self::Spend(at, len) => write!(f, "the bootloader takes the try, {len} bytes at {at}"),
        }
    }
}

/// What happens at an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The power goes before it.
    CutBefore(Landing),
    /// The power goes after it.
    CutAfter(Landing),
    /// The process is killed before it.
    KillBefore,
    /// The process is killed after it.
    KillAfter,
    /// It answers with an I/O error.
    Io,
    /// This medium answers with I/O errors until the agent is started again.
    IoFromHere,
    /// The write finds no space.
    NoSpace,
    /// The read gives, or the write leaves, one flipped bit in its middle.
    Flip,
    /// The same, near its beginning: where the boot state and the journal say what they say.
    FlipEarly,
    /// The write is acknowledged and never lands.
    Lose,
    /// Somebody says cancel just before it.
    Cancel,
    /// The reboot is promised and does not come.
    NoReboot,
}

impl Fault {
    /// The word in the table.
    pub fn kind(self) -> &'static str {
        match self {
            Self::CutBefore(landing) | Self::CutAfter(landing) => match landing {
                Landing { torn: Some(_), .. } => "cut, a write torn",
                Landing::NOTHING => "cut, nothing unsynced landed",
                Landing::ALL => "cut, everything landed",
                Landing { .. } => "cut, some writes landed",
            },
            Self::KillBefore | Self::KillAfter => "kill -9",
            Self::Io => "I/O error once",
            Self::IoFromHere => "I/O errors from here on",
            Self::NoSpace => "no space",
            Self::Flip | Self::FlipEarly => "a bit flips",
            Self::Lose => "a write is lost",
            Self::Cancel => "cancel asked",
            Self::NoReboot => "the reboot does not come",
        }
    }

    /// The medium said something untrue: one lie may disarm one of two guards, so some invariants do not hold then.
    pub fn is_lie(self) -> bool {
        match self {
            Self::Flip | Self::FlipEarly | Self::Lose => true,
            Self::CutBefore(_)
            | Self::CutAfter(_)
            | Self::KillBefore
            | Self::KillAfter
            | Self::Io
            | Self::IoFromHere
            | Self::NoSpace
            | Self::Cancel
            | Self::NoReboot => false,
        }
    }
}

/// Which fault happens at which operation.
pub type Plan = Vec<(u64, Fault)>;

/// An operation as it was seen in a run without further faults.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its number.
    pub n: u64,
    /// What it was.
    pub deed: Deed,
    /// How many changes were not durable before and after it.
    pub unsynced: (u32, u32),
    /// The agent ran and its hand was busy, so that a command could come.
    pub can_ask: bool,
}

/// Every fault that is tried at this operation.
///
/// A cut at an operation that changes nothing leaves the same bytes as a cut after the one before it; so cuts and kills
/// are tried only at operations that change something. The history is read in 256 equal pieces; its reads are tried only
/// for the first and the last one.
pub fn worth_trying(seen: &Seen) -> Vec<Fault> {
    let mut faults = Vec::new();
    let deed = seen.deed;
    if let Deed::Read(Part::History, at, _) = deed
        && at != 0
        && at != 255 * 4096
    {
        return faults;
    }
    if deed.changes() {
        let before: &[Landing] = if seen.unsynced.0 == 0 {
            &[Landing::NOTHING]
        } else {
            &[Landing::NOTHING, Landing::ALL]
        };
        faults.extend(before.iter().copied().map(Fault::CutBefore));
        faults.extend(Landing::each(seen.unsynced.1).into_iter().map(Fault::CutAfter));
        if !matches!(deed, Deed::Spend(..)) {
            faults.extend([Fault::KillBefore, Fault::KillAfter]);
        }
    }
    if !matches!(deed, Deed::Probe | Deed::Pause) {
        faults.push(Fault::Io);
    }
    if deed.part().is_some() && !matches!(deed, Deed::Spend(..)) {
        faults.push(Fault::IoFromHere);
    }
    match deed {
        Deed::Write(part, ..) => {
            if part.grows() {
                faults.push(Fault::NoSpace);
            }
            faults.extend([Fault::Flip, Fault::FlipEarly, Fault::Lose]);
        }
        Deed::Spend(..) => faults.extend([Fault::Flip, Fault::FlipEarly, Fault::Lose]),
        Deed::Read(..) => faults.extend([Fault::Flip, Fault::FlipEarly]),
        Deed::Reboot => faults.push(Fault::NoReboot),
        Deed::Open(_)
        | Deed::Len(_)
        | Deed::Sync(_)
        | Deed::SetLen(..)
        | Deed::ThisBoot
        | Deed::OsRelease
        | Deed::Model
        | Deed::FreeSpace
        | Deed::Clock
        | Deed::Probe
        | Deed::Pause => {}
    }
    if seen.can_ask && !deed.part().is_some_and(Part::is_turning) {
        faults.push(Fault::Cancel);
    }
    faults
}
