//! The simulated media, and the fault model.
//!
//! A [`Medium`] keeps two images: `live` is what a reader sees, `durable` is what a power cut leaves. A write changes the
//! live one and waits in a list; a sync makes everything on that list durable.
//!
//! What may fail, and how much at once:
//! * **Power cut**, before or after any operation: of each medium's unsynced writes any subset has landed ([`Landing`]),
//!   and one write may be torn: only its first or only its last half landed, or one 512-byte sector of it is garbage.
//! * **Kill**, before or after any operation: the process is gone, its writes stay (unsynced ones too), the boot goes on.
//! * **Trouble**: one operation answers with an I/O error or (a write) with "no space"; or every operation on that medium
//!   does, until the agent is started again.
//! * **Lies**: a read gives one flipped bit while the medium is right; a write lands with one flipped bit; a write is
//!   acknowledged and never lands. One lie at a time.
//! * **The bootloader's own write**: each of the above, and after a bad one its read-back tells it so.
//! * **The reboot** that was asked for does not happen.
//! * In `exhaustive` one of these happens, with `--nested` a second one while the agent recovers; in `days` any number
//!   happens, one after the other.
//!
//! What it can not show:
//! * Bytes that rot while nobody touches them: a medium holds what landed.
//! * Both copies of the boot state or of the journal lost at once (only: that something boots without a boot state).
//! * A write that lands out of its own place, a torn write in three pieces, or two torn writes in one cut.
//! * Reordering across a sync that told the truth; one cache shared by two media (each has its own, which is worse).
//! * Threads: staging runs inline, one operation at a time, so races between workers are not explored.
//! * The real kernel, file systems, GRUB's own reading, `O_DIRECT`: the lab has those.

use std::sync::Arc;

pub use crate::bytes::{Bytes, PAGE};

/// What a disk writes as a whole.
pub const SECTOR: usize = 512;

/// What stands in a sector that was being written when the power went.
const GARBAGE: u8 = 0xA5;

/// A change that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
}

/// How a torn write looks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tear {
    /// Only its first half landed.
    Head,
    /// Only its last half landed.
    Tail,
    /// It landed, but the sector in its middle is garbage.
    Sector,
    /// It landed, but its first sector is garbage.
    FirstSector,
}

impl Tear {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Head, Self::Tail, Self::Sector, Self::FirstSector];
}

/// Which of the unsynced changes a cut leaves, in the order in which they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Landing {
    /// Bit n: change n landed.
    pub mask: u64,
    /// This change is torn, whatever its bit says.
    pub torn: Option<(u32, Tear)>,
}

impl Landing {
    /// Nothing unsynced landed.
    pub const NOTHING: Self = Self { mask: 0, torn: None };
    /// Everything landed.
    pub const ALL: Self = Self { mask: u64::MAX, torn: None };

    /// Every landing of `unsynced` changes that is tried: each subset of up to four, else none, all, each one alone and
    /// each one missing; and each one torn in each way, with none and with all of the others.
    pub fn each(unsynced: u32) -> Vec<Self> {
        let all = (1_u64 << unsynced.min(63)) - 1;
        let bits = (0..unsynced.min(63)).map(|n| 1_u64 << n);
        let mut masks: Vec<u64> = if unsynced <= 4 {
            (0..=all).collect()
        } else {
            [0, all].into_iter().chain(bits.clone()).chain(bits.map(|bit| all & !bit)).collect()
        };
        masks.dedup();
        let named = |mask| if mask == all && unsynced > 0 { u64::MAX } else { mask };
        let mut each: Vec<Self> =
            masks.into_iter().map(|mask| Self { mask: named(mask), torn: None }).collect();
        for n in 0..unsynced.min(63) {
            for tear in Tear::ALL {
                each.push(Self { mask: 0, torn: Some((n, tear)) });
                if unsynced > 1 {
                    each.push(Self { mask: u64::MAX, torn: Some((n, tear)) });
                }
            }
        }
        each
    }
}

/// What a write does to the medium beside what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twist {
    /// Nothing.
    None,
    /// One bit in the middle is flipped: in what is read, or in what lands.
    Flip,
    /// One bit near the beginning is.
    FlipEarly,
    /// The write is acknowledged and never lands.
    Lose,
}

/// Bytes that survive a cut as far as they were synced.
#[derive(Clone, Debug)]
pub struct Medium {
    live: Bytes,
    durable: Bytes,
    unsynced: Vec<Change>,
    /// How it lies, for the negative controls.
    pub lie: Lie,
}

/// A medium that breaks its promise; no fault of the model, but a control that the simulator sees what it should.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Lie {
    /// It does not.
    #[default]
    None,
    /// A sync is acknowledged and does nothing.
    Sync,
    /// A read gives what was meant to be written, whatever landed.
    Read,
}

impl Medium {
    /// A medium on which these bytes are durable.
    pub fn new(bytes: Bytes) -> Self {
        Self { live: bytes.clone(), durable: bytes, unsynced: Vec::new(), lie: Lie::None }
    }

    /// What a reader sees.
    pub fn live(&self) -> &Bytes {
        &self.live
    }

    /// What a cut leaves for certain.
    pub fn durable(&self) -> &Bytes {
        &self.durable
    }

    /// How many changes are not durable.
    pub fn unsynced(&self) -> u32 {
        u32::try_from(self.unsynced.len()).unwrap_or(u32::MAX)
    }

    /// Writes.
    pub fn write(&mut self, offset: u64, bytes: &[u8], twist: Twist) {
        let mut landing = bytes.to_vec();
        flip(&mut landing, twist);
        if self.lie == Lie::Read {
            self.live.write(offset, bytes);
        } else if twist != Twist::Lose {
            self.live.write(offset, &landing);
        }
        if twist != Twist::Lose {
            self.unsynced.push(Change::Write { offset, bytes: landing.into() });
        }
    }

    /// Changes the length.
    pub fn set_len(&mut self, len: u64) {
        self.live.set_len(len);
        self.unsynced.push(Change::SetLen(len));
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        if self.lie == Lie::Sync {
            return;
        }
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => self.durable.write(offset, &bytes),
                Change::SetLen(len) => self.durable.set_len(len),
            }
        }
    }

    /// An orderly shutdown: even a disk that lies about its sync has time to write.
    pub fn settle(&mut self) {
        let lie = std::mem::take(&mut self.lie);
        self.sync();
        *self = Self { lie, ..Self::new(self.durable.clone()) };
    }

    /// What a cut could leave at this moment: nothing landed, all landed, each change torn in each way.
    pub fn survivors(&self) -> Vec<Bytes> {
        let mut survivors = vec![self.durable.clone()];
        for landing in Landing::each(self.unsynced()).into_iter().skip(1) {
            let mut cut = self.clone();
            cut.cut(landing, 0);
            survivors.push(cut.live);
        }
        survivors
    }

    /// The power goes: of the unsynced changes, of which the first has the number `first`, what `landing` says is left.
    pub fn cut(&mut self, landing: Landing, first: u32) {
        let mut left = self.durable.clone();
        for (n, change) in (first..).zip(self.unsynced.drain(..)) {
            let torn = landing.torn.filter(|(torn, _)| *torn == n).map(|(_, tear)| tear);
            let landed = landing.mask >> n.min(63) & 1 == 1;
            match (change, torn) {
                (Change::Write { offset, bytes }, Some(tear)) => {
                    tear_in(&mut left, offset, &bytes, tear);
                }
                (Change::Write { offset, bytes }, None) if landed => left.write(offset, &bytes),
                (Change::SetLen(len), Some(Tear::Head)) => left.set_len(len),
                (Change::SetLen(len), None) if landed => left.set_len(len),
                (Change::Write { .. } | Change::SetLen(_), _) => {}
            }
        }
        *self = Self { lie: self.lie, ..Self::new(left) };
    }
}

fn tear_in(left: &mut Bytes, offset: u64, bytes: &[u8], tear: Tear) {
    // A disk writes whole sectors, so the halves are whole sectors too; of one sector nothing is left to halve.
    let half = (bytes.len() / 2).next_multiple_of(SECTOR).min(bytes.len());
    match tear {
        Tear::Head => left.write(offset, &bytes[..half]),
        Tear::Tail => left.write(offset + half as u64, &bytes[half..]),
        Tear::Sector | Tear::FirstSector => {
            left.write(offset, bytes);
            let at =
                if tear == Tear::Sector { half.min(bytes.len().saturating_sub(SECTOR)) } else { 0 };
            let len = SECTOR.min(bytes.len() - at);
            left.write(offset + at as u64, &vec![GARBAGE; len]);
        }
    }
}

/// A byte that means something everywhere: a line of the boot state, the journal's envelope, an image's text.
const EARLY: usize = 40;

/// Flips the lowest bit of one byte, if that is the twist.
pub fn flip(bytes: &mut [u8], twist: Twist) {
    let at = match twist {
        Twist::None | Twist::Lose => return,
        Twist::Flip => bytes.len() / 2,
        Twist::FlipEarly => EARLY,
    };
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &Bytes) -> Vec<u8> {
        let mut out = vec![0; usize::try_from(bytes.len()).expect("it is small")];
        bytes.read(0, &mut out).expect("it is there");
        out
    }

    #[test]
    fn a_cut_leaves_what_was_synced_and_what_landed() {
        let mut medium = Medium::new(Bytes::new(&[0; 2048]));
        medium.write(0, &[1; 512], Twist::None);
        medium.sync();
        medium.write(512, &[2; 512], Twist::None);
        medium.write(1024, &[3; 1024], Twist::None);
        let after = |landing| {
            let mut cut = medium.clone();
            cut.cut(landing, 0);
            let bytes = read(cut.live());
            [bytes[0], bytes[512], bytes[1024], bytes[1536]]
        };
        assert_eq!(after(Landing::NOTHING), [1, 0, 0, 0]);
        assert_eq!(after(Landing::ALL), [1, 2, 3, 3]);
        assert_eq!(after(Landing { mask: 2, torn: None }), [1, 0, 3, 3]);
        assert_eq!(after(Landing { mask: 1, torn: Some((1, Tear::Head)) }), [1, 2, 3, 0]);
        assert_eq!(after(Landing { mask: 0, torn: Some((1, Tear::Sector)) }), [1, 0, 3, GARBAGE]);
    }

    #[test]
    fn a_lying_sync_keeps_nothing() {
        let mut medium = Medium::new(Bytes::new(&[0; 512]));
        medium.lie = Lie::Sync;
        medium.write(0, &[1; 512], Twist::None);
        medium.sync();
        medium.cut(Landing::NOTHING, 0);
        assert_eq!(read(medium.live()), vec![0; 512]);
    }

    #[test]
    fn up_to_four_changes_land_in_every_subset() {
        assert_eq!(Landing::each(0), [Landing::NOTHING]);
        assert_eq!(Landing::each(3).iter().filter(|landing| landing.torn.is_none()).count(), 8);
        assert_eq!(Landing::each(6).iter().filter(|landing| landing.torn.is_none()).count(), 14);
    }
}
