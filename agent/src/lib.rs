//! The upgrade agent: the road between a decision and an appliance.
//!
//! `flow` decides; this crate acts. Read it in this order: [`device`] is the outside world on one page, [`disk`] is
//! everything durable, [`hand`] does one task, [`driver`] is the only loop, [`directory`] is an appliance to try it on,
//! [`door`] lets people and programs in. ARCHITECTURE.md beside `src` tells why.
//!
//! Invariants of absence: the driver, the hand and the disk know no runtime, no socket and no configuration file; nothing
//! but [`config`] knows all settings; nothing here can sign a bundle.

pub mod command;
pub mod config;
pub mod device;
pub mod directory;
pub mod disk;
pub mod door;
pub mod driver;
pub mod explain;
pub mod hand;
pub mod linux;
pub mod os_release;
pub mod progress;
pub mod service;
pub mod source;
