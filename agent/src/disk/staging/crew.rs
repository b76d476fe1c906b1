//! The crew: threads that compare, unpack and write chunks while the hand reads the bundle.
//!
//! The hand deals stored chunks in order over a short queue; buffers come back, so memory is a few chunks whatever the
//! image's size. With no workers the hand does each chunk itself, in order, which is what the simulator replays.
//!
//! Invariants: the first error is the one that is told; after it nothing more is written, and nobody waits for a thread
//! that gave up.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bundle_format::{Image, Index, Refusal, Unpacker};

use super::{Bench, Settings, StageError, Writer, chunk_len};
use crate::disk::Buffer;

/// What each worker has of its own.
pub(super) struct Tools {
    pub(super) unpacker: Unpacker,
    pub(super) raw: Buffer,
}

impl Tools {
    fn new(index: &Index) -> Result<Self, Refusal> {
        Ok(Self { unpacker: Unpacker::new()?, raw: Buffer::zeroed(chunk_len(index, 0)) })
    }
}

pub(super) fn unpack(
    index: &Index,
    n: u32,
    stored: &[u8],
    unpacker: &mut Unpacker,
    raw: &mut [u8],
) -> Result<(), Refusal> {
    if index.is_zero(n) {
        raw.fill(0);
        return Ok(());
    }
    unpacker.unpack(index, n, stored, raw)
}

/// Reads the stored chunks in order and deals them to the workers. The first chunk is unpacked into `first`.
pub(super) fn stream<R: Read>(
    writer: &Writer<'_>,
    image: &mut Image<R>,
    first: &mut Buffer,
) -> Result<(), StageError> {
    let workers = writer.bench.settings.workers.min(Settings::MAX_WORKERS);
    let mut tools = Tools::new(writer.index)?;
    let mut stored = Vec::new();
    if image.next(&mut stored)? == Some(0) {
        unpack(writer.index, 0, &stored, &mut tools.unpacker, first)?;
        writer.bench.progress.add(first.len() as u64);
    }
    let mut throttle = Throttle::new(writer.bench);
    if workers == 0 {
        while let Some(n) = image.next(&mut stored)? {
            throttle.wait(chunk_len(writer.index, n));
            writer.chunk(n, &stored, &mut tools)?;
        }
        return Ok(());
    }
    let crew = Crew { failed: AtomicBool::new(false), error: Mutex::new(None) };
    let (deal, hand) = sync_channel::<(u32, Vec<u8>)>(workers);
    let (give_back, empty) = channel::<Vec<u8>>();
    let hand = Mutex::new(hand);
    let dealt = std::thread::scope(|scope| {
        for _ in 0..workers {
            let (hand, give_back, crew) = (&hand, give_back.clone(), &crew);
            scope.spawn(move || work(writer, hand, &give_back, crew));
        }
        // The closed channel is what ends the workers.
        let dealt = deal_out(image, &deal, &empty, &crew, &mut throttle, writer.index);
        drop(deal);
        dealt
    });
    match crew.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => dealt,
    }
}

fn deal_out<R: Read>(
    image: &mut Image<R>,
    deal: &SyncSender<(u32, Vec<u8>)>,
    empty: &Receiver<Vec<u8>>,
    crew: &Crew,
    throttle: &mut Throttle<'_>,
    index: &Index,
) -> Result<(), StageError> {
    let mut stored = Vec::new();
    while let Some(n) = image.next(&mut stored)? {
        throttle.wait(chunk_len(index, n));
        // A worker that failed tells why; here it is enough to stop.
        if crew.failed.load(Ordering::SeqCst) || deal.send((n, stored)).is_err() {
            break;
        }
        stored = empty.try_recv().unwrap_or_default();
    }
    Ok(())
}

/// What the workers tell each other.
struct Crew {
    failed: AtomicBool,
    error: Mutex<Option<StageError>>,
}

impl Crew {
    /// The first error is the one that counts.
    fn keep(&self, error: StageError) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.failed.store(true, Ordering::SeqCst);
    }
}

/// Takes chunks until there are none. After a failure it goes on taking, so that the dealer never waits in vain.
fn work(
    writer: &Writer<'_>,
    hand: &Mutex<Receiver<(u32, Vec<u8>)>>,
    give_back: &Sender<Vec<u8>>,
    crew: &Crew,
) {
    let mut tools = match Tools::new(writer.index) {
        Ok(tools) => Some(tools),
        Err(refusal) => {
            crew.keep(refusal.into());
            None
        }
    };
    loop {
        let dealt = hand.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((n, stored)) = dealt else { return };
        if !crew.failed.load(Ordering::SeqCst)
            && let Some(tools) = &mut tools
            && let Err(error) = writer.chunk(n, &stored, tools)
        {
            crew.keep(error);
        }
        // Nobody may want the buffer any more; then it is simply dropped.
        drop(give_back.send(stored));
    }
}

/// Keeps the staging below the configured rate.
struct Throttle<'a> {
    bench: &'a Bench<'a>,
    began: Duration,
    bytes: u64,
}

impl<'a> Throttle<'a> {
    fn new(bench: &'a Bench<'a>) -> Self {
        Self { bench, began: bench.device.now().boottime, bytes: 0 }
    }

    fn wait(&mut self, bytes: usize) {
        let Some(rate) = self.bench.settings.max_rate.filter(|rate| *rate > 0) else {
            return;
        };
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let ms =
            u64::try_from(u128::from(self.bytes) * 1000 / u128::from(rate)).unwrap_or(u64::MAX);
        let due = self.began.saturating_add(Duration::from_millis(ms));
        let now = self.bench.device.now().boottime;
        if due > now && !self.bench.stop.is_stopped() {
            self.bench.device.pause(due.saturating_sub(now), self.bench.stop);
        }
    }
}
