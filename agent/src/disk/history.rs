//! How upgrades ended: the last 256 of them, in a ring of fixed records.
//!
//! A record is written in place, synced, and carries its own CRC; a torn one is no record. Nothing is lost by that: the
//! journal still holds the last outcome, and the driver appends it again at the next start.

use std::collections::VecDeque;
use std::sync::Arc;

use flow::Outcome;

use super::{Fault, Storage};
use crate::device::{Device, Place};

/// How many outcomes are kept. At one upgrade a week that is five years.
pub const RECORDS: usize = 256;

/// Length of one record; the largest outcome fits (its texts have limits).
pub const RECORD_LEN: usize = 4096;

const HEAD: usize = 16;

/// The ring.
pub struct History {
    storage: Arc<dyn Storage>,
    /// Oldest first.
    outcomes: VecDeque<Outcome>,
    /// The record that is written next, and its sequence number.
    next: (usize, u64),
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("outcomes", &self.outcomes.len()).finish_non_exhaustive()
    }
}

impl History {
    /// Opens the ring and reads it; one that does not exist yet is made with its full length.
    pub fn open(device: &dyn Device) -> Result<Self, Fault> {
        let fault = |verb| move |e| Fault::new(verb, "the history", e);
        let storage = device.open(Place::History).map_err(fault("open"))?;
        let len = RECORDS * RECORD_LEN;
        let fresh = storage.len().map_err(fault("measure"))? < len as u64;
        if fresh {
            storage.write_at(0, &vec![0; len]).map_err(fault("make"))?;
        }
        // What is believed must be durable: a process that was killed may have left it in the cache only.
        storage.sync().map_err(fault("sync"))?;
        let mut found: Vec<(u64, usize, Outcome)> = Vec::new();
        let mut record = vec![0; RECORD_LEN];
        for place in 0..if fresh { 0 } else { RECORDS } {
            // A record that cannot be read is a lost record, not a lost history.
            let read = storage.read_at(offset(place), &mut record);
            if read.is_ok()
                && let Some((sequence, outcome)) = decode(&record)
            {
                found.push((sequence, place, outcome));
            }
        }
        found.sort_by_key(|(sequence, _, _)| *sequence);
        let next = found
            .last()
            .map_or((0, 1), |(sequence, place, _)| ((place + 1) % RECORDS, sequence + 1));
        let outcomes = found.into_iter().map(|(_, _, outcome)| outcome).collect();
        Ok(Self { storage, outcomes, next })
    }

    /// The outcomes, oldest first.
    pub fn outcomes(&self) -> impl DoubleEndedIterator<Item = &Outcome> {
        self.outcomes.iter()
    }

    /// Appends an outcome, unless it is there already.
    pub fn append(&mut self, outcome: &Outcome) -> Result<(), Fault> {
        if self.outcomes.iter().any(|known| known == outcome) {
            return Ok(());
        }
        let (place, sequence) = self.next;
        let record = encode(sequence, outcome);
        let fault = |verb| move |e| Fault::new(verb, "the history", e);
        self.storage.write_at(offset(place), &record).map_err(fault("write"))?;
        self.storage.sync().map_err(fault("sync"))?;
        self.next = ((place + 1) % RECORDS, sequence + 1);
        if self.outcomes.len() == RECORDS {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(outcome.clone());
        Ok(())
    }
}

fn offset(place: usize) -> u64 {
    (place * RECORD_LEN) as u64
}

/// A record: sequence (8), length (4), CRC-32 of all but itself (4), JSON, zeros.
fn encode(sequence: u64, outcome: &Outcome) -> Vec<u8> {
    let mut body = serde_json::to_vec(outcome).expect("OK because an outcome is plain data");
    if body.len() > RECORD_LEN - HEAD {
        // Its texts are limited, but JSON may write each of their bytes as two: then the story is shortened.
        let short = Outcome { cause: None, by: String::new(), ..outcome.clone() };
        body = serde_json::to_vec(&short).expect("OK because an outcome is plain data");
        body.truncate(RECORD_LEN - HEAD);
    }
    let len = u32::try_from(body.len()).unwrap_or(0);
    let mut record = vec![0; RECORD_LEN];
    record[..8].copy_from_slice(&sequence.to_le_bytes());
    record[8..12].copy_from_slice(&len.to_le_bytes());
    record[HEAD..HEAD + body.len()].copy_from_slice(&body);
    let crc = crc(&record, body.len());
    record[12..HEAD].copy_from_slice(&crc.to_le_bytes());
    record
}

fn crc(record: &[u8], len: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[..12]);
    crc.update(&record[HEAD..HEAD + len]);
    crc.finalize()
}

fn decode(record: &[u8]) -> Option<(u64, Outcome)> {
    let sequence = u64::from_le_bytes(record.get(..8)?.try_into().ok()?);
    let len = usize::try_from(u32::from_le_bytes(record.get(8..12)?.try_into().ok()?)).ok()?;
    let stored = u32::from_le_bytes(record.get(12..HEAD)?.try_into().ok()?);
    if len == 0 || len > record.len() - HEAD || crc(record, len) != stored {
        return None;
    }
    Some((sequence, serde_json::from_slice(&record[HEAD..HEAD + len]).ok()?))
}

#[cfg(test)]
mod tests {
    use bootloader_hooks::Slot;
    use flow::{Cause, Ended, Goal};

    use super::*;

    fn outcome(id: u64, text: &str) -> Outcome {
        Outcome {
            id,
            goal: Goal::Upgrade,
            ended: Ended::RolledBack,
            cause: Some(Cause::Sick { text: text.to_owned() }),
            from: None,
            to: None,
            target: Slot::B,
            digest: None,
            by: "uid 0".to_owned(),
            at: 0,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_torn_one_is_none() {
        let record = encode(9, &outcome(3, "probe x failed"));
        assert_eq!(decode(&record), Some((9, outcome(3, "probe x failed"))));
        for cut in [1, 8, 13, 17, 100] {
            let mut torn = record.clone();
            torn[cut..].fill(0);
            assert_eq!(decode(&torn), None, "torn at {cut}");
        }
        assert_eq!(decode(&[0; RECORD_LEN]), None);
    }

    #[test]
    fn the_largest_outcome_is_kept_if_need_be_without_its_story() {
        let text = "\"".repeat(flow::MAX_TEXT * 2);
        let cause = Cause::NotAccepted { code: text.clone(), text: text.clone(), advice: text };
        let record = encode(1, &Outcome { cause: Some(cause), ..outcome(3, "") });
        assert_eq!(decode(&record).map(|(_, outcome)| outcome.id), Some(3));
    }
}
