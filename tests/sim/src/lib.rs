//! A simulated appliance around the shipped driver.
//!
//! Nothing of the agent is replaced: its driver, hand, disk code, bundle reader and state machine run as shipped, over a
//! world that can be cut, torn, refused and lied to at every operation. Read in this order: [`storage`] has the fault
//! model, [`invariants`] what must never be, [`scenario`] the stories, [`exhaustive`] tries every fault at every
//! operation of every story, [`days`] plays at random from a seed.
//!
//! Invariants: one thread, no clock and no random number but the seed's, so that every run can be repeated; the firmware
//! decides with the shipped `bootloader-hooks`; what is checked never changes what happens.

mod bytes;
pub mod days;
pub mod exhaustive;
pub mod fault;
mod firmware;
pub mod image;
pub mod invariants;
mod judge;
pub mod machine;
pub mod random;
pub mod run;
pub mod scenario;
pub mod storage;
pub mod world;
