//! The two copies of the boot state: the one definition of their bytes.
//!
//! A copy is a GRUB environment file of one whole 4 KiB block, alone in its physical block:
//!
//! ```text
//! # GRUB Environment Block
//! seq=17
//! slot=A
//! other=trial
//! left=1
//! end=17
//! ############ ... up to 4096 bytes
//! ```
//!
//! A copy counts when `seq` is 1 to 9 digits without a leading zero, `end` is the same text, and the
//! three values between them are one of the four combinations of [`Other`]. Of two copies that
//! count, the higher sequence wins; **at a tie copy one wins** (the agent never writes a tie).
//! Numbers above nine digits are refused because GRUB's `-gt` overflows without saying so.
//!
//! Invariants:
//! * Only the agent advances the sequence. The bootloader changes `left` from 1 to 0, in place, in
//!   the copy it chose, and nothing else.
//! * Between any two of the [`Write`]s of one change, and within each of them, at least one copy
//!   counts, and it says the old state or the new one.
//! * Arming leaves one copy that says "the confirmed slot": garbage left of the armed copy, by the
//!   agent's write or by the bootloader's, boots the confirmed slot.

use crate::envblock;
use crate::{BootState, Other, Slot};

/// The length of a copy, and of the file system's blocks.
pub const BLOCK_LEN: usize = 4096;

/// The bytes of a copy.
pub type Block = [u8; BLOCK_LEN];

/// The length of the image of the boot-state partition: 1 MiB, the grain partitions are aligned to.
pub const IMAGE_LEN: u64 = 256 * BLOCK_LEN as u64;

/// The highest sequence: the highest number of nine digits.
const SEQUENCE_MAX: u32 = 999_999_999;

/// One of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copy {
    /// The file `env1`.
    One,
    /// The file `env2`.
    Two,
}

impl Copy {
    /// Both copies, in order.
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// Where the copy's block starts in the partition. Half a MiB apart, so that an erase block of
    /// a flash chip seldom holds both.
    pub const fn offset(self) -> u64 {
        self.block_number() as u64 * BLOCK_LEN as u64
    }

    /// The name of the copy's file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::One => "env1",
            Self::Two => "env2",
        }
    }

    /// The number of the copy's block in the file system.
    pub(crate) const fn block_number(self) -> u32 {
        match self {
            Self::One => 64,
            Self::Two => 192,
        }
    }

    /// The copy that this one is not.
    pub(crate) fn partner(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

/// Why a copy does not count. One of them may be damaged at any time; that is what two are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Damage {
    /// The block does not begin as a GRUB environment block.
    #[error("it is not a GRUB environment block")]
    Signature,
    /// The sequence is missing, or not 1 to 9 digits without a leading zero.
    #[error("seq is not a number from 1 to {SEQUENCE_MAX}")]
    Sequence,
    /// The end mark is missing or differs: the write was cut.
    #[error("end differs from seq: the write was cut")]
    End,
    /// The values between are missing, unknown, or do not fit together.
    #[error("slot, other and left are not a known state")]
    Values,
}

/// The sequences are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the boot state's sequence {sequence} cannot be advanced beyond {SEQUENCE_MAX}; \
     write the partition anew with `bootstate image`"
)]
pub struct Exhausted {
    /// The sequence of the newest copy.
    pub sequence: u32,
}

/// How far a change must reach before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// For arming: only the older copy is written, so the other one still says "the confirmed
    /// slot".
    OlderCopy,
    /// For giving up, disarming and confirming: both copies, one after the other, so that the loss
    /// of one cannot bring the old state back.
    BothCopies,
}

/// One block to be written. It is synced and read back before the next one is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The copy it replaces.
    pub copy: Copy,
    /// Where it goes in the partition.
    pub offset: u64,
    /// The whole block.
    pub block: Box<Block>,
}

impl Write {
    fn new(copy: Copy, block: Box<Block>) -> Self {
        Self { copy, offset: copy.offset(), block }
    }
}

/// Both copies as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    one: Read,
    two: Read,
}

/// One copy as it was read: its bytes, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    block: Box<Block>,
    says: Result<(u32, BootState), Damage>,
}

impl Copies {
    /// Reads both copies. Total: any bytes are an answer.
    pub fn decode(one: &Block, two: &Block) -> Self {
        let read = |block: &Block| Read { block: Box::new(*block), says: decode(block) };
        Self { one: read(one), two: read(two) }
    }

    /// What one copy says: its sequence and state.
    pub fn says(&self, copy: Copy) -> Result<(u32, BootState), Damage> {
        self.read(copy).says
    }

    /// The copy that counts, and its state; `None` if both are damaged.
    pub fn newest(&self) -> Option<(Copy, BootState)> {
        self.chosen().map(|(copy, _, state)| (copy, state))
    }

    /// The state that counts.
    pub fn state(&self) -> Option<BootState> {
        self.newest().map(|(_, state)| state)
    }

    /// The copies that do not count, and why.
    pub fn damaged(&self) -> impl Iterator<Item = (Copy, Damage)> {
        Copy::ALL.into_iter().filter_map(|copy| self.says(copy).err().map(|why| (copy, why)))
    }

    /// What is to be written, in this order, so that the boot state becomes `next`.
    ///
    /// The older or damaged copy goes first. Arming promises that one copy goes on saying "the
    /// confirmed slot"; where the newest one does not say it (neither copy counts, or a try is still
    /// open), the disarmed state is written before the armed one.
    pub fn write(&self, next: BootState, reach: Reach) -> Result<Vec<Write>, Exhausted> {
        let chosen = self.chosen();
        let falls_back = chosen.is_some_and(|(_, _, state)| {
            state.confirmed == next.confirmed && state.other != Other::Armed
        });
        let states = match (reach, falls_back) {
            (Reach::OlderCopy, true) => vec![next],
            (Reach::OlderCopy, false) => vec![next.disarm(), next],
            (Reach::BothCopies, _) => vec![next, next],
        };
        let (first, last) =
            chosen.map_or((Copy::One, 0), |(newest, last, _)| (newest.partner(), last));
        let targets = [first, first.partner()];
        (last + 1..)
            .zip(targets)
            .zip(states)
            .map(|((sequence, copy), state)| {
                let block = encode(sequence, state).ok_or(Exhausted { sequence: last })?;
                Ok(Write::new(copy, block))
            })
            .collect()
    }

    /// What the bootloader writes when it takes the try: the copy that counts, `left` from 1 to 0.
    /// `None` if there is no try to take, or if GRUB's `save_env` would refuse the block.
    pub fn spend(&self) -> Option<Write> {
        let (copy, state) = self.newest()?;
        if state.other != Other::Armed {
            return None;
        }
        Some(Write::new(copy, envblock::set(&self.read(copy).block, b"left", b"0")?))
    }

    fn chosen(&self) -> Option<(Copy, u32, BootState)> {
        let read = |copy| self.says(copy).ok().map(|(sequence, state)| (copy, sequence, state));
        match (read(Copy::One), read(Copy::Two)) {
            (Some(one), Some(two)) => Some(if two.1 > one.1 { two } else { one }),
            (one, two) => one.or(two),
        }
    }

    fn read(&self, copy: Copy) -> &Read {
        match copy {
            Copy::One => &self.one,
            Copy::Two => &self.two,
        }
    }
}

/// What a block says: the same checks as `grub/choose.cfg`, in the same order.
fn decode(block: &Block) -> Result<(u32, BootState), Damage> {
    if !envblock::is_signed(block) {
        return Err(Damage::Signature);
    }
    let text = |name: &str| envblock::get(block, name.as_bytes()).unwrap_or_default();
    let seq = text("seq");
    let sequence = sequence(&seq).ok_or(Damage::Sequence)?;
    if text("end") != seq {
        return Err(Damage::End);
    }
    let state = state(&text("slot"), &text("other"), &text("left")).ok_or(Damage::Values)?;
    Ok((sequence, state))
}

fn sequence(text: &[u8]) -> Option<u32> {
    let well_formed = (1..=9).contains(&text.len())
        && text.iter().all(u8::is_ascii_digit)
        && !text.starts_with(b"0");
    std::str::from_utf8(text).ok().filter(|_| well_formed)?.parse().ok()
}

fn state(slot: &[u8], other: &[u8], left: &[u8]) -> Option<BootState> {
    let confirmed = Slot::ALL.into_iter().find(|known| known.name().as_bytes() == slot)?;
    let other =
        Other::ALL.into_iter().find(|known| words(*known).map(str::as_bytes) == [other, left])?;
    Some(BootState { confirmed, other })
}

/// The values of `other` and `left`.
fn words(other: Other) -> [&'static str; 2] {
    match other {
        Other::GivenUp => ["given-up", "0"],
        Other::Whole => ["whole", "0"],
        Other::Armed => ["trial", "1"],
        Other::Spent => ["trial", "0"],
    }
}

/// The bytes of a copy; `None` if the sequence is out of its range.
pub(crate) fn encode(sequence: u32, state: BootState) -> Option<Box<Block>> {
    if !(1..=SEQUENCE_MAX).contains(&sequence) {
        return None;
    }
    let BootState { confirmed, other } = state;
    let [other, left] = words(other);
    let lines =
        format!("seq={sequence}\nslot={confirmed}\nother={other}\nleft={left}\nend={sequence}\n");
    let mut block = [envblock::SIGNATURE, lines.as_bytes()].concat();
    block.resize(BLOCK_LEN, envblock::PADDING);
    block.into_boxed_slice().try_into().ok()
}
