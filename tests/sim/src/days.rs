//! Random days: a seed chooses what is asked, what fails, and when. The same seed is the same day.

use flow::{Goal, Phase};

use crate::fault::{Fault, Plan};
use crate::image::{Images, RELEASES, Temper};
use crate::machine::Machine;
use crate::random::Random;
use crate::run::{Appliance, Wish};
use crate::scenario::{Aim, Report, factory, reach};
use crate::storage::{Landing, Tear};

/// How many things are asked in a day.
const WISHES: u64 = 14;

/// A fault comes within so many operations after a wish: an upgrade has about a thousand, most of them reads of the
/// history at each start.
const WITHIN: [u64; 3] = [40, 200, 1200];

/// Plays the day of this seed. `change` is done to the machine before it is switched on.
pub fn day(seed: u64, change: fn(&mut Machine)) -> Report {
    let mut random = Random::new(seed);
    let mut machine = factory();
    change(&mut machine);
    let confirm_within = random.once_in(4).then_some(std::time::Duration::from_secs(3600));
    let mut appliance = Appliance::new(machine, confirm_within);
    let mut alive = appliance.rest();
    for _ in 0..WISHES {
        if !alive {
            break;
        }
        let count = appliance.world.machine().count;
        appliance.world.machine().plan = faults(&mut random, count);
        let phase = appliance.look().map_or(Phase::Idle, |look| look.state.phase);
        match random.below(12) {
            0 => appliance.reboot(),
            1 => appliance.restart(),
            _ => {
                let wish = wish(&mut random, phase);
                appliance.ask(wish);
            }
        }
        alive = appliance.rest();
    }
    let mut report = Report::default();
    if alive {
        let mut machine = appliance.world.machine();
        machine.tell("--- the faults are over ---");
        machine.plan.clear();
        machine.failing = None;
        drop(machine);
        appliance.restart();
        reach(&mut appliance, Aim::Upgrade(Images::place(RELEASES, Temper::Good)), &mut report);
    }
    let mut machine = appliance.world.machine();
    report.violations = std::mem::take(&mut machine.violations);
    report.log = std::mem::take(&mut machine.log);
    report
}

fn wish(random: &mut Random, phase: Phase) -> Wish {
    let temper = if random.once_in(2) {
        Temper::Good
    } else {
        random.pick(&Temper::ALL).unwrap_or(Temper::Good)
    };
    let release = 3 + u32::try_from(random.below(u64::from(RELEASES) - 3)).unwrap_or(0);
    let place = Images::place(release, temper);
    let patient = !random.once_in(4);
    if phase != Phase::Idle && !random.once_in(4) {
        let usual = [
            Wish::Activate,
            Wish::Cancel,
            Wish::Confirm,
            Wish::Retry,
            Wish::File(Goal::Upgrade, place, patient),
        ];
        return random.pick(&usual).unwrap_or(Wish::Cancel);
    }
    let rare = [
        Wish::Revert,
        Wish::Discard,
        Wish::Forgive(place),
        Wish::Repair,
        Wish::Cancel,
        Wish::Confirm,
    ];
    match random.below(10) {
        0..4 => Wish::File(Goal::Upgrade, place, patient),
        4 => Wish::File(Goal::Stage, place, patient),
        5 => Wish::File(Goal::Fetch, place, patient),
        6 => Wish::Spool(Goal::Upgrade),
        7 => Wish::Spool(Goal::Stage),
        _ => random.pick(&rare).unwrap_or(Wish::Cancel),
    }
}

/// None, one or two faults after this operation.
fn faults(random: &mut Random, count: u64) -> Plan {
    let mut plan = Plan::new();
    while plan.len() < 2 && random.once_in(2) {
        let within = random.pick(&WITHIN).unwrap_or(WITHIN[0]);
        let at = count + random.below(within);
        plan.push((at, fault(random)));
    }
    plan
}

fn fault(random: &mut Random) -> Fault {
    let torn = random.once_in(2).then(|| {
        let n = u32::try_from(random.below(3)).unwrap_or(0);
        (n, random.pick(&Tear::ALL).unwrap_or(Tear::Head))
    });
    let landing = Landing { mask: random.next(), torn };
    let all = [
        Fault::CutBefore(landing),
        Fault::CutAfter(landing),
        Fault::CutAfter(Landing::NOTHING),
        Fault::KillBefore,
        Fault::KillAfter,
        Fault::Io,
        Fault::IoFromHere,
        Fault::NoSpace,
        Fault::Flip,
        Fault::FlipEarly,
        Fault::Lose,
        Fault::Cancel,
        Fault::NoReboot,
    ];
    random.pick(&all).unwrap_or(Fault::Io)
}
