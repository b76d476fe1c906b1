//! Bytes in shared pages, so that a whole disk is cheap to keep as it was at any moment.

use std::io;
use std::sync::Arc;

/// Bytes are shared between snapshots in pages of this length.
pub const PAGE: usize = 4096;

/// Bytes in shared pages: cheap to clone, cheap to change in a few places.
#[derive(Clone, Debug)]
pub struct Bytes {
    pages: Arc<Vec<Arc<[u8; PAGE]>>>,
    len: u64,
}

impl Bytes {
    /// A copy of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut made = Self { pages: Arc::new(Vec::new()), len: 0 };
        made.write(0, bytes);
        made
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out` from `offset`; an error beyond the end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(out.len() as u64) > self.len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read beyond the end"));
        }
        for (page, within, piece) in pieces(offset, out.len()) {
            let from = &self.pages[page][within..within + piece.len()];
            out[piece].copy_from_slice(from);
        }
        Ok(())
    }

    /// Writes at `offset`, growing if need be.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.set_len(self.len.max(offset + bytes.len() as u64));
        let pages = Arc::make_mut(&mut self.pages);
        for (page, within, piece) in pieces(offset, bytes.len()) {
            let to = Arc::make_mut(&mut pages[page]);
            to[within..within + piece.len()].copy_from_slice(&bytes[piece]);
        }
    }

    /// Cuts, or lengthens with zeros.
    pub fn set_len(&mut self, len: u64) {
        if len == self.len {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        let (last, within) = split(len);
        pages.resize_with(last + usize::from(within > 0), || Arc::new([0; PAGE]));
        if len < self.len && within > 0 {
            Arc::make_mut(&mut pages[last])[within..].fill(0);
        }
        self.len = len;
    }

    /// The first `len` bytes are those of `other`.
    pub fn starts_as(&self, other: &Self, len: usize) -> bool {
        let whole = len / PAGE;
        self.len >= len as u64
            && other.len >= len as u64
            && self.pages[..whole]
                .iter()
                .zip(&other.pages[..whole])
                .all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
    }
}

fn split(offset: u64) -> (usize, usize) {
    let offset = usize::try_from(offset).expect("OK because media are a few MiB");
    (offset / PAGE, offset % PAGE)
}

/// The pages that a range touches: page, place within it, and the part of the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let (page, within) = split(offset + done as u64);
        let take = (PAGE - within).min(len - done);
        let piece = done..done + take;
        done += take;
        Some((page, within, piece))
    })
}
