//! The boot state on its partition: read both copies, change them one after the other.
//!
//! What the copies look like and which one wins is defined by `bootloader-hooks`; here is only the order of writing.
//! Each block is written, synced and read back before the next one is touched, so one copy at a time may be garbage.

use bootloader_hooks::{BLOCK_LEN, Block, BootState, Copies, Copy, Exhausted, Reach, Write};

use super::{Buffer, Fault, Storage};

/// The boot state could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum BootStateError {
    /// The partition does not answer.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What was read back is not what was written.
    #[error("copy {copy} of the boot state reads back differently from what was written")]
    Differs {
        /// The copy's file name on the partition.
        copy: &'static str,
    },
    /// The sequence number cannot grow any more.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Neither copy can be read, so there is nothing to change.
    #[error(
        "neither copy of the boot state can be read; upgrade repair writes it anew for the running slot"
    )]
    Unreadable,
}

impl BootStateError {
    /// A stable code in words.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fault(_) => "boot-state-storage",
            Self::Differs { .. } => "boot-state-differs",
            Self::Exhausted(_) => "boot-state-exhausted",
            Self::Unreadable => "boot-state-unreadable",
        }
    }
}

/// Reads both copies, to decide by them. It syncs first: a process that was killed may have left a write that only the
/// cache remembers, and what is read here must be what the next boot finds.
pub fn read(storage: &dyn Storage) -> Result<Copies, BootStateError> {
    storage.sync().map_err(|e| Fault::new("sync", "the boot state", e))?;
    peek(storage)
}

/// Reads both copies, to show them.
pub fn peek(storage: &dyn Storage) -> Result<Copies, BootStateError> {
    Ok(Copies::decode(&*block(storage, Copy::One)?, &*block(storage, Copy::Two)?))
}

fn block(storage: &dyn Storage, copy: Copy) -> Result<Box<Block>, BootStateError> {
    let mut buffer = Buffer::zeroed(BLOCK_LEN);
    storage.read_at(copy.offset(), &mut buffer).map_err(|e| {
        Fault::new("read", format_args!("copy {} of the boot state", copy.file_name()), e)
    })?;
    let mut block = Box::new([0; BLOCK_LEN]);
    block.copy_from_slice(&buffer);
    Ok(block)
}

/// Makes `next` durable in every copy that `reach` names; all of them must be proven.
pub fn change(
    storage: &dyn Storage,
    copies: &Copies,
    next: BootState,
    reach: Reach,
) -> Result<(), BootStateError> {
    for write in copies.write(next, reach)? {
        put(storage, &write)?;
    }
    Ok(())
}

/// Makes `next` durable in both copies, and is content when the first of them is proven: from then on the newest copy
/// says `next`, whatever became of the other. The second copy's trouble is given back for the log.
pub fn settle(
    storage: &dyn Storage,
    copies: &Copies,
    next: BootState,
) -> Result<Option<BootStateError>, BootStateError> {
    let mut writes = copies.write(next, Reach::BothCopies)?.into_iter();
    if let Some(first) = writes.next() {
        put(storage, &first)?;
    }
    for write in writes {
        if let Err(e) = put(storage, &write) {
            return Ok(Some(e));
        }
    }
    Ok(None)
}

/// Both copies are whole and say `state`: there is nothing to write.
pub fn both_say(copies: &Copies, state: BootState) -> bool {
    Copy::ALL.into_iter().all(|copy| copies.says(copy).is_ok_and(|(_, says)| says == state))
}

/// Writes one block, syncs it, reads it back.
fn put(storage: &dyn Storage, write: &Write) -> Result<(), BootStateError> {
    let copy = write.copy.file_name();
    let what = format_args!("copy {copy} of the boot state");
    let mut buffer = Buffer::zeroed(BLOCK_LEN);
    buffer.copy_from_slice(&write.block[..]);
    storage.write_at(write.offset, &buffer).map_err(|e| Fault::new("write", what, e))?;
    storage.sync().map_err(|e| Fault::new("sync", what, e))?;
    if block(storage, write.copy)?[..] == write.block[..] {
        Ok(())
    } else {
        Err(BootStateError::Differs { copy })
    }
}
