//! What boots: the slots, the boot state, its two copies on the disk, and the bootloader's scripts.
//!
//! This crate is the one definition of what boots. The agent asks it what to write; the boot script
//! in `grub/` and [`choose`] run the same rule; the simulator plays the bootloader with
//! [`Copies::spend`]. README.md beside it is the manual for the integrator.
//!
//! Invariants:
//! * The library touches nothing: no disk, no clock, no process. Values in, values out.
//! * It knows nothing of bundles and nothing of the agent.
//! * What [`Copies::decode`] takes, the boot script takes, and the reverse, for any bytes.

mod slot;
mod state;

mod copies;
mod envblock;

mod image;

pub use copies::{BLOCK_LEN, Block, Copies, Copy, Damage, Exhausted, IMAGE_LEN, Reach, Write};
pub use image::image;
pub use slot::{NotASlot, Slot};
pub use state::{BootState, Choice, Other, Spend, choose};
