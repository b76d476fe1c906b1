//! The whole road on real parts: service, command, firmware script, `grub-emu`, ext4 images, signed bundles.
//!
//! A file a subject; every test has an appliance of its own and they run beside each other. What is pretended is what
//! `tests/firmware` pretends: the reset, and that a kernel loads.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests play the world: they start programs, wait, look at the clock and make files"
)]

#[path = "../appliance/mod.rs"]
mod appliance;

mod upgrading;
