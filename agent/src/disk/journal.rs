//! The journal: the agent's state on the data partition, in two copies.
//!
//! Each copy is one block of fixed size, always written whole: a frozen envelope, then the state as JSON, then zeros.
//! A change overwrites the older copy, syncs it and reads it back, and then does the same with the other one: a cut leaves
//! at least one whole copy, and at rest both say the same, so the loss of either loses nothing. At start the newest whole
//! copy wins. The loss of both leaves an empty state, and then the boot state alone decides.
//!
//! The envelope's offsets never change, so that an agent of any age finds what it needs in the journal of any other:
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | 8 | `UPGJRNL1` |
//! | 8 | 8 | sequence, little endian; the higher one is newer |
//! | 16 | 4 | schema of the body, little endian |
//! | 20 | 4 | length of the body, little endian |
//! | 24 | 8 | number of the job in hand, or of the last one; little endian; 0: none |
//! | 32 | 32 | SHA-256 of that job's raw image; zeros: unknown |
//! | 64 | 1 | that job's slot, `A` or `B` |
//! | 65 | 23 | the phase's word, zero-padded |
//! | 88 | 24 | the last outcome's word, zero-padded |
//! | 112 | 32 | that job's release, zero-padded |
//! | 508 | 4 | CRC-32 (IEEE) of bytes 0 to 507 and of the body, little endian |
//! | 512 | | the body |

use std::sync::Arc;

use flow::State;

use super::{Buffer, Fault, Storage};
use crate::device::{Device, JournalCopy, Place};

/// Length of one copy. The largest possible state fits (a test makes one); 64 KiB is written in one go by any disk.
pub const COPY_LEN: usize = 64 * 1024;

/// The body's schema that this agent writes and reads.
const SCHEMA: u32 = 1;

const MAGIC: &[u8; 8] = b"UPGJRNL1";
const BODY: usize = 512;
const CRC: usize = 508;

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The data partition does not answer.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What was read back is not what was written.
    #[error("the journal reads back differently from what was written")]
    Differs,
    /// The state does not fit; the lists' limits make this impossible.
    #[error("the state has {len} bytes, a copy of the journal holds {limit}")]
    TooLong {
        /// Bytes of the state.
        len: usize,
        /// Bytes that fit.
        limit: usize,
    },
}

/// Both copies, and which one is newer.
pub struct Journal {
    one: Option<Arc<dyn Storage>>,
    two: Option<Arc<dyn Storage>>,
    newest: Option<(JournalCopy, u64)>,
    buffer: Buffer,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("newest", &self.newest).finish_non_exhaustive()
    }
}

/// What the journal said at start.
#[derive(Debug)]
pub enum Found {
    /// The newest whole copy.
    State(Box<State>),
    /// A whole copy of another schema: its job's number is known, the story is not.
    Foreign {
        /// The highest job number it names.
        id: u64,
    },
    /// No whole copy: a first start, or both are lost.
    Nothing,
}

impl Journal {
    /// Opens both copies and reads them. A copy that does not exist yet is made with its full length, so that no later
    /// write can run out of space. One copy may be lost; but two that do not answer are no empty journal.
    pub fn open(device: &dyn Device) -> Result<(Self, Found), JournalError> {
        let (one, two) =
            match (prepared(device, JournalCopy::One), prepared(device, JournalCopy::Two)) {
                (Err(error), Err(_)) => return Err(error),
                (one, two) => (one.ok(), two.ok()),
            };
        let mut journal = Self { one, two, newest: None, buffer: Buffer::zeroed(COPY_LEN) };
        let mut best: Option<(JournalCopy, u64, Found)> = None;
        let mut unread = None;
        for copy in [JournalCopy::One, JournalCopy::Two] {
            match journal.look_into(copy) {
                Ok(Some((sequence, found))) => {
                    if best.as_ref().is_none_or(|(_, newest, _)| sequence > *newest) {
                        best = Some((copy, sequence, found));
                    }
                }
                Ok(None) => {}
                Err(error) => unread = Some(error),
            }
        }
        match (best, unread) {
            // The copy that could not be read may be one newer; what is written next must be newer than both.
            (Some((copy, sequence, found)), unread) => {
                let margin = u64::from(unread.is_some());
                journal.newest = Some((copy, sequence.saturating_add(margin)));
                Ok((journal, found))
            }
            // A copy that did not answer may hold the state: that is no empty journal.
            (None, Some(error)) => Err(error),
            (None, None) => Ok((journal, Found::Nothing)),
        }
    }

    /// What one copy says; none when it is not whole.
    fn look_into(&mut self, copy: JournalCopy) -> Result<Option<(u64, Found)>, JournalError> {
        let storage = self.storage(copy)?;
        // What is believed must be durable: a process that was killed may have left it in the cache only.
        storage.sync().map_err(|e| Fault::new("sync", "the journal", e))?;
        storage.read_at(0, &mut self.buffer).map_err(|e| Fault::new("read", "the journal", e))?;
        Ok(decode(&self.buffer))
    }

    /// Makes `state` durable: in the older copy first, then in the other one too, so that at rest the loss of either copy
    /// loses nothing. The first of them must be proven; trouble with the second is told and mended by the next write.
    pub fn write(&mut self, state: &State) -> Result<(), JournalError> {
        let (first, sequence) = match self.newest {
            Some((JournalCopy::One, sequence)) => (JournalCopy::Two, sequence + 1),
            Some((JournalCopy::Two, sequence)) => (JournalCopy::One, sequence + 1),
            None => (JournalCopy::One, 1),
        };
        self.put(state, first, sequence)?;
        let second = match first {
            JournalCopy::One => JournalCopy::Two,
            JournalCopy::Two => JournalCopy::One,
        };
        if let Err(error) = self.put(state, second, sequence + 1) {
            tracing::warn!(%error, "one copy of the journal could not be written; the other one is proven");
        }
        Ok(())
    }

    /// Writes one copy, syncs it, reads it back.
    fn put(&mut self, state: &State, copy: JournalCopy, sequence: u64) -> Result<(), JournalError> {
        encode(state, sequence, &mut self.buffer)?;
        let storage = self.storage(copy)?;
        storage.write_at(0, &self.buffer).map_err(|e| Fault::new("write", "the journal", e))?;
        storage.sync().map_err(|e| Fault::new("sync", "the journal", e))?;
        let written = crc32fast::hash(&self.buffer);
        storage
            .read_at(0, &mut self.buffer)
            .map_err(|e| Fault::new("read back", "the journal", e))?;
        if crc32fast::hash(&self.buffer) != written {
            return Err(JournalError::Differs);
        }
        self.newest = Some((copy, sequence));
        Ok(())
    }

    fn storage(&self, copy: JournalCopy) -> Result<Arc<dyn Storage>, Fault> {
        let storage = match copy {
            JournalCopy::One => &self.one,
            JournalCopy::Two => &self.two,
        };
        storage.clone().ok_or_else(|| {
            let gone =
                std::io::Error::other("this copy could not be opened when the service started");
            Fault::new("use", "the journal", gone)
        })
    }
}

fn prepared(device: &dyn Device, copy: JournalCopy) -> Result<Arc<dyn Storage>, JournalError> {
    let fault = |verb| move |e| Fault::new(verb, "the journal", e);
    let storage = device.open(Place::Journal(copy)).map_err(fault("open"))?;
    if storage.len().map_err(fault("measure"))? < COPY_LEN as u64 {
        storage.write_at(0, &vec![0; COPY_LEN]).map_err(fault("make"))?;
        storage.sync().map_err(fault("sync"))?;
    }
    Ok(storage)
}

fn encode(state: &State, sequence: u64, copy: &mut [u8]) -> Result<(), JournalError> {
    let limit = COPY_LEN - BODY;
    let body =
        serde_json::to_vec(state).expect("OK because the state is plain data with string keys");
    let len = match u32::try_from(body.len()) {
        Ok(len) if body.len() <= limit => len,
        Ok(_) | Err(_) => {
            return Err(JournalError::TooLong { len: body.len(), limit });
        }
    };
    let job = state.job.as_ref();
    let last = state.last.as_ref();
    let id = job.map(|job| job.id).or(last.map(|last| last.id)).unwrap_or(0);
    let image = job.and_then(|job| job.image.as_ref());
    let slot = job.map(|job| job.target).or(last.map(|last| last.target)).unwrap_or(state.running);
    let release = image.map(|image| image.release).or(last.and_then(|last| last.to));
    copy.fill(0);
    copy[..8].copy_from_slice(MAGIC);
    copy[8..16].copy_from_slice(&sequence.to_le_bytes());
    copy[16..20].copy_from_slice(&SCHEMA.to_le_bytes());
    copy[20..24].copy_from_slice(&len.to_le_bytes());
    copy[24..32].copy_from_slice(&id.to_le_bytes());
    if let Some(image) = image {
        copy[32..64].copy_from_slice(image.digest.as_bytes());
    }
    text(&mut copy[64..65], &slot.to_string());
    text(&mut copy[65..88], state.phase.word());
    text(&mut copy[88..112], last.map_or("", |last| last.ended.word()));
    text(&mut copy[112..144], &release.map(|release| release.to_string()).unwrap_or_default());
    copy[BODY..BODY + body.len()].copy_from_slice(&body);
    let crc = crc(copy, body.len());
    copy[CRC..BODY].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn text(field: &mut [u8], text: &str) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
}

fn crc(copy: &[u8], body_len: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&copy[..CRC]);
    crc.update(&copy[BODY..BODY + body_len]);
    crc.finalize()
}

fn decode(copy: &[u8]) -> Option<(u64, Found)> {
    let number = |at: usize| Some(u32::from_le_bytes(copy.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_le_bytes(copy.get(at..at + 8)?.try_into().ok()?));
    let body_len = usize::try_from(number(20)?).ok()?;
    let whole = copy.starts_with(MAGIC) && body_len <= copy.len().checked_sub(BODY)?;
    if !whole || number(CRC)? != crc(copy, body_len) {
        return None;
    }
    let body = &copy[BODY..BODY + body_len];
    let sequence = long(8)?;
    if number(16)? == SCHEMA
        && let Ok(state) = serde_json::from_slice::<State>(body)
    {
        return Some((sequence, Found::State(Box::new(state))));
    }
    Some((sequence, Found::Foreign { id: long(24)? }))
}

#[cfg(test)]
mod tests;
