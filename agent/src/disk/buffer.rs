//! A block of memory whose address suits `O_DIRECT`.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Alignment of the address: the largest logical block size of disks in use.
const ALIGN: usize = 4096;

/// Zeroed bytes at an address that is a multiple of 4096.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + ALIGN];
        // The vector is never resized, so the distance stays right.
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { bytes, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn a_buffer_lies_where_direct_writes_want_it() {
        for len in [1, 4096, 65_536] {
            let buffer = Buffer::zeroed(len);
            assert_eq!((buffer.as_ptr() as usize % 4096, buffer.len()), (0, len));
        }
    }
}
