//! What must never be said: the agent's own state and history, judged after each of its turns.
//!
//! [`crate::invariants`] judges bytes; here is what needs a memory over the appliance's lives. Each function is named as
//! the sentence that it holds the agent to.

use std::collections::{BTreeMap, BTreeSet};

use bundle_format::Digest;
use flow::{Ended, Goal, Judgement, Phase, State};

use crate::fault::Part;
use crate::image::{Holding, Temper};
use crate::invariants::copies;
use crate::machine::Machine;

/// What was said so far.
#[derive(Default, Debug)]
pub(crate) struct Judge {
    condemned: BTreeSet<Digest>,
    ended: BTreeMap<u64, Ended>,
    recorded: BTreeSet<u64>,
}

impl Judge {
    /// A person forgave this image.
    pub(crate) fn forgiven(&mut self, digest: &Digest) {
        self.condemned.remove(digest);
    }

    /// After a turn whose state is durable.
    pub(crate) fn turn(&mut self, machine: &mut Machine, state: &State) {
        self.condemned_images_stay_condemned(machine, state);
        self.an_outcome_never_changes(machine, state);
        success_is_only_said_on_a_healthy_new_slot(machine, state);
        what_is_rebooted_into_is_what_was_signed(machine, state);
    }

    fn condemned_images_stay_condemned(&mut self, machine: &mut Machine, state: &State) {
        let is = |digest: &Digest| state.judgement(digest) == Some(Judgement::Condemned);
        // A journal copy that cannot be read at all may have held the last turn: that much may be forgotten.
        if machine.journal_fails {
            self.condemned.retain(is);
        }
        if let Some(digest) = self.condemned.iter().find(|digest| !is(digest)) {
            let found = format!("{digest} is not any more");
            machine.violated("condemned_images_stay_condemned", found);
        }
        self.condemned.extend(state.judged.iter().map(|judged| judged.digest).filter(is));
    }

    fn an_outcome_never_changes(&mut self, machine: &mut Machine, state: &State) {
        let Some(last) = &state.last else { return };
        // While the history's disk is dead, only the journal's one last outcome is kept.
        if machine.failing == Some(Part::History) {
            self.ended.retain(|id, _| self.recorded.contains(id));
        }
        let told = *self.ended.entry(last.id).or_insert(last.ended);
        if told != last.ended {
            let found = format!("job {} ended as {told}, now as {}", last.id, last.ended);
            machine.violated("an_outcome_never_changes", found);
        }
    }

    /// At a start: each job that was seen to end is in the history once, with the outcome that was told.
    pub(crate) fn every_ended_job_has_one_outcome(
        &mut self,
        machine: &mut Machine,
        history: &[(u64, Ended)],
    ) {
        // A history that answered badly in this life is no evidence: it comes again at the next start.
        if machine.history_fails {
            return;
        }
        self.recorded.extend(history.iter().map(|(id, _)| *id));
        for (id, ended) in &self.ended {
            let of_this = history.iter().filter(|(known, _)| known == id);
            let found: Vec<Ended> = of_this.map(|(_, ended)| *ended).collect();
            if found != [*ended] {
                let found = format!("job {id} ended as {ended}; the history says {found:?}");
                machine.violated("every_ended_job_has_one_outcome", found);
            }
        }
    }
}

/// "Succeeded" is said on a healthy system, whose slot is durably the confirmed one.
fn success_is_only_said_on_a_healthy_new_slot(machine: &mut Machine, state: &State) {
    let running = machine.boot.running;
    let Some(last) = &state.last else { return };
    let says_so = last.ended == Ended::Succeeded && last.goal == Goal::Upgrade;
    if state.phase != Phase::Idle || !says_so || last.target != running {
        return;
    }
    let holds = machine.holding(running);
    let healthy = holds_image(machine, holds, last.digest)
        && matches!(holds, Holding::Whole(place) if machine.images.at(place).temper == Temper::Good);
    let says = copies(machine.medium(Part::BootState).durable()).state();
    if !healthy || says.is_none_or(|state| state.confirmed != running) {
        let found = format!("slot {running} holds {holds:?}, the boot state durably says {says:?}");
        machine.violated("success_is_only_said_on_a_healthy_new_slot", found);
    }
}

fn what_is_rebooted_into_is_what_was_signed(machine: &mut Machine, state: &State) {
    let Some(job) = state.job.as_ref().filter(|_| state.phase == Phase::Rebooting) else { return };
    let Some(image) = &job.image else { return };
    let holds = machine.holding(job.target);
    if !holds_image(machine, holds, Some(image.digest)) {
        let found = format!("slot {} holds {holds:?}", job.target);
        machine.violated("what_is_rebooted_into_is_what_was_signed", found);
    }
}

fn holds_image(machine: &Machine, holds: Holding, digest: Option<Digest>) -> bool {
    matches!(holds, Holding::Whole(place) if Some(machine.images.at(place).digest) == digest)
}
