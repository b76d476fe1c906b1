//! Firmware and bootloader: what happens between the power and the agent.
//!
//! Which slot boots is decided by the shipped `bootloader-hooks` on the bytes of the boot-state partition. The
//! bootloader's only write is an operation like all others, so it can be cut, torn, refused, lost.

use bootloader_hooks::{Choice, Copies, Other, Slot, Spend, choose};
use flow::{BootId, Evidence};

use crate::fault::{Deed, Part};
use crate::image::{Holding, Temper};
use crate::invariants::{self, copies};
use crate::machine::{Boot, Flaw, Machine, Power};
use crate::world::World;

/// A system that dies is reset; one that is still not up after this many boots will never be.
const BOOTS_MAX: u32 = 6;

/// Before the first agent's deadline unit resets a system whose agent never starts, this much time passes.
const DEADLINE_UNIT: std::time::Duration = std::time::Duration::from_secs(700);

impl World {
    /// Switches on, and waits until a system runs that could start the agent, or until it is clear that none will.
    pub fn switch_on(&self) -> Power {
        let mut evidence = Evidence::None;
        for _ in 0..BOOTS_MAX {
            let choice = self.bootloader();
            let mut machine = self.machine();
            if machine.gone.is_some() {
                return Power::Off;
            }
            let Some((slot, place)) = machine.load(choice) else { break };
            evidence = match place.map(|place| machine.images.at(place).temper) {
                Some(Temper::Good | Temper::Sick) => {
                    machine.starts(slot, choice, evidence);
                    return Power::On;
                }
                Some(Temper::Mute) => {
                    machine.clock += DEADLINE_UNIT;
                    Evidence::None
                }
                Some(Temper::Hangs) => Evidence::Watchdog,
                Some(Temper::Panics) | None => Evidence::Panic,
            };
            machine.dies(slot, choice, evidence);
        }
        let mut machine = self.machine();
        machine.power = Power::Bricked;
        machine.violated(
            "some_slot_always_boots",
            "it was switched on, and no system came up".to_owned(),
        );
        Power::Bricked
    }

    /// The boot script: reads, takes the try if there is one, decides.
    fn bootloader(&self) -> Choice {
        let (copies, flaw) = {
            let mut machine = self.machine();
            machine.boots += 1;
            (copies(machine.medium(Part::BootState).live()), machine.flaw)
        };
        let state = copies.state();
        let armed = state.is_some_and(|state| state.other == Other::Armed);
        let spend = match flaw {
            Flaw::None if armed => self.spend(&copies),
            Flaw::NeverSpends | Flaw::None => Spend::Durable,
        };
        choose(state, spend)
    }

    fn spend(&self, before: &Copies) -> Spend {
        let Some(write) = before.spend() else { return Spend::Failed };
        let deed = Deed::Spend(write.offset, write.block.len());
        let written = self.op(deed, |machine, twist| {
            machine.write(Part::BootState, write.offset, &write.block[..], twist)
        });
        let mut machine = self.machine();
        if machine.gone.is_some() {
            return Spend::Failed; // Nobody is there to act on it.
        }
        machine.medium_mut(Part::BootState).sync();
        // The script loads the file again and compares what it finds.
        let found = copies(machine.medium(Part::BootState).live()).state();
        let spent = found.is_some_and(|state| state.other == Other::Spent);
        if written.is_ok() && spent { Spend::Durable } else { Spend::Failed }
    }
}

impl Machine {
    /// Which of the chosen slots can be loaded; the image is none if the rest of it is broken.
    fn load(&mut self, choice: Choice) -> Option<(Slot, Option<usize>)> {
        for slot in std::iter::once(choice.slot).chain(choice.last_resort) {
            match self.holding(slot) {
                Holding::Whole(place) => return Some((slot, Some(place))),
                Holding::Broken(_) => return Some((slot, None)),
                Holding::Nothing => self.tell(format!("slot {slot} cannot be loaded")),
            }
        }
        None
    }

    fn count_boot(&mut self, slot: Slot, choice: Choice) -> bool {
        let trial = choice.trial && slot == choice.slot;
        let says = copies(self.medium(Part::BootState).live()).state();
        let unproven = says.is_none_or(|state| state.confirmed != self.boot.running);
        let went_back = self.boot.trial && self.boot.running != slot && unproven;
        self.trials += u32::from(trial);
        self.rollbacks += u32::from(went_back);
        trial
    }

    fn starts(&mut self, slot: Slot, choice: Choice, evidence: Evidence) {
        let trial = self.count_boot(slot, choice);
        let id = BootId(u128::from(self.boots));
        self.boot = Boot { id, running: slot, trial, evidence, began: self.clock };
        self.power = Power::On;
        let word = if trial { ", on trial" } else { "" };
        self.tell(format!("boot {}: slot {slot} runs{word} ({evidence:?})", self.boots));
        invariants::on_boot(self);
    }

    /// A system came up far enough to spend the boot, and no further.
    fn dies(&mut self, slot: Slot, choice: Choice, evidence: Evidence) {
        let trial = self.count_boot(slot, choice);
        self.boot = Boot { running: slot, trial, ..self.boot };
        self.tell(format!("boot {}: slot {slot} starts and dies ({evidence:?})", self.boots));
        self.cut(crate::storage::Landing::NOTHING);
        invariants::on_boot(self);
    }
}
