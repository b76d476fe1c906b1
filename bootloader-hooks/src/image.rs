//! The image of the boot-state partition, written to it once, by the factory or an installer.
//!
//! It is an ext2 file system because that is the smallest thing GRUB can both find a file on by its
//! name and write to; nothing else ever treats it as one. It is never mounted, so no kernel marks it
//! dirty, and never checked, so nothing moves its files. The agent writes the two copies by offset.
//!
//! ```text
//! block   offset    what
//!     0        0    boot area, superblock at 1024
//!     1     4096    descriptor of the only block group
//!     2     8192    bitmap of blocks
//!     3    12288    bitmap of inodes
//!     4    16384    32 inodes
//!     5    20480    root directory
//!     6    24576    lost+found, empty, because e2fsck misses it otherwise
//!    64   262144    env1
//!   192   786432    env2
//! ```
//!
//! Invariants:
//! * The same state gives the same bytes, for ever: no clock, no random identifier.
//! * Each copy is alone in its block, and that block is the whole file.
//! * No feature that GRUB's driver or a kernel could want to replay, grow or convert.

use crate::copies::{IMAGE_LEN, encode};
use crate::{BLOCK_LEN, BootState, Copy};

/// The file system's identifier: fixed, because every appliance has the same image, and nothing
/// ever looks the partition up by it.
const UUID: [u8; 16] = *b"boot-state-v1\0\0\0";

/// The file system's label, for a person who looks at the partition.
const LABEL: &[u8] = b"boot-state";

const BLOCKS: u16 = 256;
/// Blocks of a full group, which is what a block of bitmap can describe; ours ends early.
const GROUP_BLOCKS: u32 = 8 * 4096;
/// Blocks 0 to 6, and the two copies.
const FREE_BLOCKS: u16 = BLOCKS - 9;
const INODES: u16 = 32;
/// The inodes up to the second copy's, the reserved ones among them.
const FREE_INODES: u16 = INODES - 13;
const INODE_LEN: u16 = 128;
const ROOT_INODE: u32 = 2;
const LOST_AND_FOUND_INODE: u32 = 11;

const GROUP_BLOCK: u32 = 1;
const BLOCK_BITMAP_BLOCK: u32 = 2;
const INODE_BITMAP_BLOCK: u32 = 3;
const INODE_TABLE_BLOCK: u32 = 4;
const ROOT_BLOCK: u32 = 5;
const LOST_AND_FOUND_BLOCK: u32 = 6;

/// The whole partition, saying `state`.
///
/// Both copies count, and copy two is the newer one. It says `state`; copy one says the same without
/// a try, as after every arming.
pub fn image(state: BootState) -> Vec<u8> {
    let mut image = Image::zeros();
    image.superblock();
    image.group();
    image.bitmap(BLOCK_BITMAP_BLOCK, u32::from(BLOCKS), |block| {
        block <= LOST_AND_FOUND_BLOCK || Copy::ALL.iter().any(|copy| copy.block_number() == block)
    });
    image.bitmap(INODE_BITMAP_BLOCK, u32::from(INODES), |bit| {
        bit < u32::from(INODES - FREE_INODES) // inode numbers start at 1
    });
    image.directories();
    for (copy, sequence, says) in [(Copy::One, 1, state.disarm()), (Copy::Two, 2, state)] {
        let block = encode(sequence, says).expect("OK because 1 and 2 are in range");
        image.inode(inode_of(copy), FILE_MODE, 1, copy.block_number());
        image.put(start(copy.block_number()), &block[..]);
    }
    image.bytes
}

/// A regular file and a directory, for root only.
const FILE_MODE: u16 = 0o100_600;
const DIRECTORY_MODE: u16 = 0o040_700;

/// The inode of a copy's file.
fn inode_of(copy: Copy) -> u32 {
    match copy {
        Copy::One => 12,
        Copy::Two => 13,
    }
}

/// The place of a block in the image.
fn start(block: u32) -> usize {
    usize::try_from(block).expect("OK because no block number exceeds 256") * BLOCK_LEN
}

/// The image while it is filled in: zeros, and little-endian numbers at places.
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn zeros() -> Self {
        let length = usize::try_from(IMAGE_LEN).expect("OK because 1 MiB fits");
        Self { bytes: vec![0; length] }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn superblock(&mut self) {
        const BASE: usize = 1024;
        let words = [
            (0, u32::from(INODES)),
            (4, u32::from(BLOCKS)),
            (12, u32::from(FREE_BLOCKS)),
            (16, u32::from(FREE_INODES)),
            (24, 2), // blocks of 1024 << 2 bytes
            (28, 2), // fragments are as long
            (32, GROUP_BLOCKS),
            (36, GROUP_BLOCKS),
            (40, u32::from(INODES)),
            (76, 1), // the revision whose features and inode length are believed
            (84, LOST_AND_FOUND_INODE), // the first inode that is not reserved
            (96, 2), // the only feature: directory entries say what they name
        ];
        for (at, value) in words {
            self.put_u32(BASE + at, value);
        }
        self.put_u16(BASE + 54, u16::MAX); // never due for a check because of mounts
        self.put_u16(BASE + 56, 0xEF53); // the magic number
        self.put_u16(BASE + 58, 1); // unmounted cleanly
        self.put_u16(BASE + 60, 1); // an error changes nothing
        self.put_u16(BASE + 88, INODE_LEN);
        self.put(BASE + 104, &UUID);
        self.put(BASE + 120, LABEL);
    }

    fn group(&mut self) {
        let base = start(GROUP_BLOCK);
        self.put_u32(base, BLOCK_BITMAP_BLOCK);
        self.put_u32(base + 4, INODE_BITMAP_BLOCK);
        self.put_u32(base + 8, INODE_TABLE_BLOCK);
        self.put_u16(base + 12, FREE_BLOCKS);
        self.put_u16(base + 14, FREE_INODES);
        self.put_u16(base + 16, 2); // directories
    }

    /// Sets the bits in use, and those beyond the end, which ext2 wants set.
    fn bitmap(&mut self, block: u32, end: u32, in_use: impl Fn(u32) -> bool) {
        let at = start(block);
        for bit in (0..GROUP_BLOCKS).filter(|&bit| bit >= end || in_use(bit)) {
            self.bytes[at + start(bit) / BLOCK_LEN / 8] |= 1 << (bit % 8);
        }
    }

    /// An inode whose data is one block; owner root, every time 1970.
    fn inode(&mut self, number: u32, mode: u16, links: u16, block: u32) {
        let index = usize::try_from(number - 1).expect("OK because no inode exceeds 13");
        let base = start(INODE_TABLE_BLOCK) + index * usize::from(INODE_LEN);
        self.put_u16(base, mode);
        self.put_u32(base + 4, 4096); // length in bytes
        self.put_u16(base + 26, links);
        self.put_u32(base + 28, 8); // length in sectors of 512
        self.put_u32(base + 40, block);
    }

    fn directories(&mut self) {
        self.inode(ROOT_INODE, DIRECTORY_MODE, 3, ROOT_BLOCK);
        self.inode(LOST_AND_FOUND_INODE, DIRECTORY_MODE, 2, LOST_AND_FOUND_BLOCK);
        let root = [
            (ROOT_INODE, ".", Kind::Directory),
            (ROOT_INODE, "..", Kind::Directory),
            (LOST_AND_FOUND_INODE, "lost+found", Kind::Directory),
            (inode_of(Copy::One), Copy::One.file_name(), Kind::File),
            (inode_of(Copy::Two), Copy::Two.file_name(), Kind::File),
        ];
        self.directory(ROOT_BLOCK, &root);
        let lost_and_found =
            [(LOST_AND_FOUND_INODE, ".", Kind::Directory), (ROOT_INODE, "..", Kind::Directory)];
        self.directory(LOST_AND_FOUND_BLOCK, &lost_and_found);
    }

    /// One block of entries; the last one reaches to the block's end.
    fn directory(&mut self, block: u32, entries: &[(u32, &str, Kind)]) {
        let mut at = start(block);
        let end = at + BLOCK_LEN;
        for (index, &(inode, name, kind)) in entries.iter().enumerate() {
            let is_last = index + 1 == entries.len();
            let length = if is_last { end - at } else { (8 + name.len()).next_multiple_of(4) };
            self.put_u32(at, inode);
            self.put_u16(at + 4, u16::try_from(length).expect("OK because a block is 4096 bytes"));
            self.put(at + 6, &[u8::try_from(name.len()).expect("OK because our names are short")]);
            self.put(at + 7, &[kind as u8]);
            self.put(at + 8, name.as_bytes());
            at += length;
        }
    }
}

/// What a directory entry names, in ext2's numbers.
#[derive(Clone, Copy)]
enum Kind {
    File = 1,
    Directory = 2,
}
