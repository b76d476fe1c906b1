//! The whole road on real parts: service, command, firmware script, `grub-emu`, ext4 images, signed bundles.
//!
//! A file a subject; every test has an appliance of its own and they run beside each other. What is pretended is what
//! `tests/firmware` pretends: the reset, and that a kernel loads.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests play the world: they start programs, wait, look at the clock and make files"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

#[path = "../appliance/mod.rs"]
mod appliance;

mod upgrading;

mod cuts;

mod clients;

mod trials;

mod readiness;

mod refusals;

mod full_disk;

mod journal;

mod rest;

mod handing;

mod answers;

mod starting;

mod memory;
