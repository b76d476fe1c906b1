//! Bringing a bundle into the spool, and letting go of what nobody holds.

use bundle_format::BundleName;
use flow::{End, Held, Phase, Side, Source, State, Upgrade};

use super::{Order, not_accepted, trouble};
use crate::device::{Device, Place};
use crate::disk::Fault;
use crate::source;

/// Copying goes in pieces of this many bytes.
const PIECE: usize = 256 * 1024;

/// Free space is looked at so often while a stream of unknown length comes in.
const LOOK_EVERY: u64 = 1 << 22;

/// Room that stays free beside the bundle, for logs and the system itself.
const RESERVE: u64 = 8 << 20;

/// Copies the handed bytes to the side of the spool that is not held.
pub(super) fn fetch(device: &dyn Device, order: &Order<'_>, job: &Upgrade) -> End {
    let (Source::Handed { name }, Some(handed)) = (&job.source, order.handed) else {
        return trouble("file-gone", "the handed file is not open any more");
    };
    if let Err(refusal) = name.parse::<BundleName>() {
        return not_accepted(&refusal);
    }
    let side = order.state.held.as_ref().map_or(Side::Left, |held| !held.side);
    if let Err(fault) = source::empty(device, side) {
        return trouble(fault.code(), &fault.to_string());
    }
    if let Some(len) = handed.len {
        order.progress.of(len);
        match device.free_space() {
            Ok(free) if free < len.saturating_add(RESERVE) => {
                let needed = len.saturating_add(RESERVE);
                let text = format!(
                    "the spool needs {needed} bytes, {free} are free; free {} more, or start the file without fetching it",
                    needed - free
                );
                return trouble("no-space", &text);
            }
            Ok(_) => {}
            Err(e) => return trouble("storage", &format!("cannot ask for free space: {e}")),
        }
    }
    match copy(device, order, side) {
        Ok(Some(len)) => End::Fetched(Held { name: name.clone(), len, side }),
        Ok(None) => trouble("stopped", "stopped"),
        Err(fault) => {
            // What is half there is of no use and takes the room that is missing.
            let text = match source::empty(device, side) {
                Ok(()) => fault.to_string(),
                Err(also) => format!("{fault}; then: {also}"),
            };
            trouble(fault.code(), &text)
        }
    }
}

/// None: stopped.
fn copy(device: &dyn Device, order: &Order<'_>, side: Side) -> Result<Option<u64>, Fault> {
    let Some(handed) = order.handed else {
        return Ok(None);
    };
    let storage =
        device.open(Place::Spool(side)).map_err(|e| Fault::new("open", "the spool", e))?;
    let mut input = handed.lock();
    let mut piece = vec![0; PIECE];
    let mut at = 0_u64;
    loop {
        if order.stop.is_stopped() {
            return Ok(None);
        }
        let got = match input.read(&mut piece) {
            Ok(got) => got,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fault::new("read", "the handed file", e)),
        };
        if got == 0 {
            if let Some(len) = handed.len.filter(|len| *len != at) {
                let short = std::io::Error::other(format!("it ended after {at} of {len} bytes"));
                return Err(Fault::new("take", "the handed file", short));
            }
            storage.sync().map_err(|e| Fault::new("sync", "the spool", e))?;
            return Ok(Some(at));
        }
        if at.saturating_add(got as u64) > source::MAX_BUNDLE {
            let too_long = format!("a bundle has at most {} bytes", source::MAX_BUNDLE);
            return Err(Fault::new("take", "the handed file", std::io::Error::other(too_long)));
        }
        if at.is_multiple_of(LOOK_EVERY) && device.free_space().is_ok_and(|free| free < RESERVE) {
            let full = std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                format!("less than {RESERVE} bytes are free after {at} of the bundle"),
            );
            return Err(Fault::new("write", "the spool", full));
        }
        storage.write_at(at, &piece[..got]).map_err(|e| Fault::new("write", "the spool", e))?;
        at += got as u64;
        order.progress.add(got as u64);
        order.progress.wrote(got as u64);
    }
}

/// Empties the sides of the spool that nobody holds. Trouble here costs only space; the next rest tries again.
pub(super) fn tidy(device: &dyn Device, state: &State) {
    if state.phase != Phase::Idle {
        return;
    }
    for side in [Side::Left, Side::Right] {
        let is_held = state.held.as_ref().is_some_and(|held| held.side == side);
        if !is_held && let Err(fault) = source::empty(device, side) {
            tracing::warn!(%fault, "the spool could not be emptied");
        }
    }
}
