//! Where a bundle's bytes come from.
//!
//! A bundle is either handed over by a client (an open file or a stream) or lies in the spool. It is opened anew for
//! each task that reads it, and its signature is verified at every open: what was checked is what is used.

use std::io::{self, BufReader, Read, Seek};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bundle_format::{BundleName, Code, Opened, Refusal, Trust};
use flow::{Side, Source};

use crate::device::{Device, Place};
use crate::disk::{Fault, Storage};

/// The longest bundle that is taken: the format's own limits (8 GiB of payload, its index, scripts, headers) and some.
pub const MAX_BUNDLE: u64 = 9 << 30;

/// Reading goes in pieces of this many bytes.
const PIECE: usize = 256 * 1024;

/// Bytes that a client handed over.
pub trait Input: Read + Send {
    /// Goes back to the first byte; a stream refuses.
    fn rewind(&mut self) -> io::Result<()>;
}

impl<T: Read + Seek + Send> Input for T {
    fn rewind(&mut self) -> io::Result<()> {
        Seek::rewind(self)
    }
}

/// A handed bundle. It lives as long as its job.
#[derive(Clone)]
pub struct Handed {
    /// Its length, where the kernel knows it.
    pub len: Option<u64>,
    input: Arc<Mutex<dyn Input>>,
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handed").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Handed {
    /// An open file, or a stream of unknown length.
    pub fn new(input: impl Input + 'static, len: Option<u64>) -> Self {
        Self { len, input: Arc::new(Mutex::new(input)) }
    }

    /// The bytes, for one task at a time.
    pub fn lock(&self) -> MutexGuard<'_, dyn Input + 'static> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the other way round: a storage from its first byte to a length.
struct Sequential {
    storage: Arc<dyn Storage>,
    at: u64,
    len: u64,
}

impl Read for Sequential {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let want = left.min(bytes.len());
        self.storage.read_at(self.at, &mut bytes[..want])?;
        self.at += want as u64;
        Ok(want)
    }
}

/// A handed input behind its lock, as a reader.
struct Locked<'a>(MutexGuard<'a, dyn Input + 'static>);

impl Read for Locked<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

/// Opens a job's bundle from its first byte and verifies name, signatures and manifest; a known length must be right.
pub fn open<'a>(
    device: &dyn Device,
    trust: &Trust,
    source: &Source,
    handed: Option<&'a Handed>,
) -> Result<Opened<Box<dyn Read + 'a>>, Refusal> {
    let unreadable =
        |e: io::Error| Refusal::new(Code::Unreadable, format!("the bundle cannot be read: {e}"));
    let (name, len, reader): (&str, Option<u64>, Box<dyn Read + 'a>) = match source {
        Source::Nothing => return Err(unreadable(io::Error::other("this job has none"))),
        Source::Handed { name } => {
            let handed = handed
                .ok_or_else(|| unreadable(io::Error::other("the file is not open any more")))?;
            let mut input = handed.lock();
            input.rewind().map_err(unreadable)?;
            (name, handed.len, Box::new(Locked(input)))
        }
        Source::Spool(held) => {
            let storage = device.open(Place::Spool(held.side)).map_err(unreadable)?;
            let there = storage.len().map_err(unreadable)?;
            (&held.name, Some(there), Box::new(Sequential { storage, at: 0, len: there }))
        }
    };
    let name: BundleName = name.parse()?;
    let reader: Box<dyn Read + 'a> = Box::new(BufReader::with_capacity(PIECE, reader));
    let opened = Opened::open(&name, reader, trust)?;
    match len {
        Some(len) if len < opened.file_len() => Err(Refusal::new(
            Code::Truncated,
            format!("the bundle has {len} bytes of {}", opened.file_len()),
        )),
        Some(len) if len > opened.file_len() => Err(Refusal::new(
            Code::DataAfterEnd,
            format!("the bundle has {len} bytes, its manifest ends it at {}", opened.file_len()),
        )),
        Some(_) | None => Ok(opened),
    }
}

/// Makes a side of the spool empty, if it is not.
pub fn empty(device: &dyn Device, side: Side) -> Result<(), Fault> {
    let fault = |verb| move |e| Fault::new(verb, "the spool", e);
    let storage = device.open(Place::Spool(side)).map_err(fault("open"))?;
    if storage.len().map_err(fault("measure"))? > 0 {
        storage.set_len(0).map_err(fault("empty"))?;
        storage.sync().map_err(fault("sync"))?;
    }
    Ok(())
}
