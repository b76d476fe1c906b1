//! The real world, one file a question.
//!
//! Here, and in [`crate::directory`] and the binaries, are the only calls that read a clock, start a program or open a
//! file for writing; the lints keep it so.

pub mod clock;
pub mod file;
pub mod program;
