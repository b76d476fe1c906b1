//! Every decision of the upgrade, and nothing else.
//!
//! The agent brings an event, this crate says what the state becomes ([`step`]) and what that state owes ([`duty`]).
//! The agent writes the state down, does the owed task, and brings its end as the next event.
//!
//! What must hold here:
//! * No clock, no path, no thread, no `async`, no I/O: time comes in as [`Now`], the world as an [`Event`].
//! * [`step`] is total and cannot fail: a command may be refused, a fact never is.
//! * No `_` arm: a new phase does not compile until every event was answered in it.
//! * All types are plain data (`Clone Eq Ord Hash Debug`, no floats), so that a model checker can run them as they are.

#![deny(clippy::wildcard_enum_match_arm)]
// Each row of the machine is a decision of its own, also where two of them decide the same.
#![allow(clippy::match_same_arms)]

mod asked;
mod booted;
mod cause;
mod duty;
mod ended;
mod event;
pub mod readiness;
mod state;
mod step;
pub mod trial;

pub use asked::possible;
pub use cause::{Cause, Ended};
pub use duty::{CONFIRM_WITHIN, Duty, HAND_GRACE, Task, Until, duty};
pub use event::{
    Boot, BootId, Command, End, Event, Evidence, Now, Origin, Refusal, Request, Verdict,
};
pub use state::{
    Goal, Held, Holding, Image, Judged, Judgement, MAX_TEXT, Outcome, Phase, Side, Source, State,
    Trial, Upgrade,
};
pub use step::{Rules, Turned, step};
