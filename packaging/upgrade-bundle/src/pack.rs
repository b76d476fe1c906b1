//! Packs an image on all cores, in order, with bounded memory.
//!
//! One thread reads and hashes the whole image, workers pack chunks, the caller's thread collects
//! them in order. Chunk `n` goes to worker `n mod threads` and comes back from it, so the order
//! needs no bookkeeping and the result does not depend on how fast anyone is. Every queue holds
//! [`QUEUE`] chunks; when one side ends, for whatever reason, its queues close and the others end.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bundle_format::writer::{IndexBuilder, Packed, Packer};
use bundle_format::{Digest, MAX_CHUNKS, MAX_STORED};
use sha2::Digest as _;

use crate::description::ImageOptions;
use crate::failure::Failure;

/// How many chunks wait before and after each worker: enough to even out chunks that are harder to
/// compress, few enough that memory stays below 5 chunks a worker.
const QUEUE: usize = 2;

/// The most workers: more than any build host has, and a limit to what a typo can start.
const MAX_THREADS: usize = 256;

/// How much to use and whom to tell.
pub struct Workshop<'a> {
    /// How many threads compress; by default as many as there are cores.
    pub threads: NonZeroUsize,
    /// Told how many bytes of the image are done.
    pub progress: &'a dyn Fn(u64),
}

impl Default for Workshop<'_> {
    fn default() -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads, progress: &|_| {} }
    }
}

impl std::fmt::Debug for Workshop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// What packing found out about an image.
pub(crate) struct PackedImage {
    pub(crate) raw_size: u64,
    pub(crate) raw_sha256: Digest,
    pub(crate) stored_size: u64,
    pub(crate) index: Vec<u8>,
}

/// Packs the image and writes its payload to `spool`.
pub(crate) fn pack(
    options: &ImageOptions,
    image: impl Read + Send,
    workshop: &Workshop<'_>,
    spool: &mut impl Write,
) -> Result<PackedImage, Failure> {
    let workers = workshop.threads.get().min(MAX_THREADS);
    thread::scope(|scope| {
        let mut tasks = Vec::new();
        let mut results = Vec::new();
        for _ in 0..workers {
            let (task, todo) = sync_channel(QUEUE);
            let (done, result) = sync_channel(QUEUE);
            scope.spawn(move || work(options.level, &todo, &done));
            tasks.push(task);
            results.push(result);
        }
        let reader = scope.spawn(move || feed(options, image, &tasks));
        let collected = collect(&results, workshop, spool);
        // The queues must close before the reader is waited for, or both would wait.
        drop(results);
        let read = reader.join().expect("OK because the reader does not panic");
        let index = match (read.as_ref(), collected) {
            (Err(_), _) => None,
            (Ok(_), collected) => Some(collected?),
        };
        let (raw_size, raw_sha256) = read?;
        let index = index.expect("OK because reading succeeded");
        Ok(PackedImage {
            raw_size,
            raw_sha256,
            stored_size: index.stored_size(),
            index: index.into_bytes(),
        })
    })
}

/// Reads the image chunk by chunk and hands the chunks out. Returns its size and digest.
fn feed(
    options: &ImageOptions,
    mut image: impl Read,
    tasks: &[SyncSender<Vec<u8>>],
) -> Result<(u64, Digest), Failure> {
    let most = u64::from(MAX_CHUNKS) * u64::from(options.chunk_size);
    let mut hash = sha2::Sha256::new();
    let mut size = 0;
    for task in tasks.iter().cycle() {
        let mut chunk = Vec::with_capacity(options.chunk_size as usize);
        let mut room = image.by_ref().take(u64::from(options.chunk_size));
        room.read_to_end(&mut chunk).map_err(Failure::Image)?;
        size += chunk.len() as u64;
        if size > most || size % 4096 != 0 || size == 0 {
            return Err(Failure::ImageSize { size, most });
        }
        hash.update(&chunk);
        // A short chunk is the last one; an empty one says that the one before was the last.
        let last = chunk.len() < options.chunk_size as usize;
        if chunk.is_empty() || task.send(chunk).is_err() || last {
            break;
        }
    }
    Ok((size, Digest::from_bytes(hash.finalize().into())))
}

fn work(level: i32, todo: &Receiver<Vec<u8>>, done: &SyncSender<io::Result<Done>>) {
    let mut packer = match Packer::new(level) {
        Ok(packer) => packer,
        Err(e) => {
            // Nobody to tell means that the collector has ended already.
            let _ = done.send(Err(e));
            return;
        }
    };
    for raw in todo {
        let result = packer.pack(&raw).map(|packed| Done { raw: raw.len() as u64, packed });
        if done.send(result).is_err() {
            return;
        }
    }
}

struct Done {
    raw: u64,
    packed: Packed,
}

/// Takes the chunks back in order, until the worker whose turn it is has no more.
fn collect(
    results: &[Receiver<io::Result<Done>>],
    workshop: &Workshop<'_>,
    spool: &mut impl Write,
) -> Result<IndexBuilder, Failure> {
    let mut index = IndexBuilder::new();
    let mut raw = 0;
    for result in results.iter().cycle() {
        let Ok(done) = result.recv() else { break };
        let done = done.map_err(Failure::Write)?;
        spool.write_all(&done.packed.stored).map_err(Failure::Write)?;
        index.push(&done.packed);
        if index.stored_size() > MAX_STORED {
            return Err(Failure::StoredSize { most: MAX_STORED });
        }
        raw += done.raw;
        (workshop.progress)(raw);
    }
    Ok(index)
}
