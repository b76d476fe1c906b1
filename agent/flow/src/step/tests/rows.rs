//! What is found at start, row by row: the phase, the slot that runs, the boot, and the boot state decide.

use super::*;

/// One row: a state, what is found at start, and what becomes of it.
struct Expected {
    name: &'static str,
    state: State,
    boot: Boot,
    phase: Phase,
    cause: Option<Cause>,
    ended: Option<Ended>,
}

fn row(name: &'static str, state: State, boot: Boot, phase: Phase) -> Expected {
    Expected { name, state, boot, phase, cause: None, ended: None }
}

impl Expected {
    fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    fn ends(self, ended: Ended) -> Self {
        Self { ended: Some(ended), ..self }
    }

    fn check(self) {
        let after = step(&self.state, now(), Event::Booted(self.boot), &Rules::default()).state;
        let of_job = after.job.as_ref().and_then(|job| job.cause.clone());
        let of_last = after.last.as_ref().and_then(|last| last.cause.clone());
        let seen = (after.phase, of_job.or(of_last), after.last.map(|last| last.ended));
        assert_eq!(seen, (self.phase, self.cause, self.ended), "{}", self.name);
    }
}

/// Slot A runs, as after any boot that is no trial.
fn home(other: Other) -> Boot {
    found(Slot::A, false, Slot::A, other)
}

/// Slot B runs, as a trial.
fn trial(other: Other) -> Boot {
    found(Slot::B, true, Slot::A, other)
}

/// The phase as an earlier boot left it.
fn before(phase: Phase) -> State {
    State { boot: ELSEWHERE, ..in_phase(phase) }
}

const A_TRIAL: Trial = Trial { since: Duration::ZERO, starts: 1, well: false };

#[test]
fn what_is_found_before_the_reboot_decides() {
    use Other::{Armed, GivenUp, Spent};
    let handed = |job: &mut Upgrade| job.source = Source::Handed { name: "x".into() };
    let from_file = with_job(before(Phase::Writing), handed);
    let rows = [
        row(
            "writing from the spool goes on",
            before(Phase::Writing),
            home(GivenUp),
            Phase::Verifying,
        ),
        row("writing from a file waits for it", from_file, home(GivenUp), Phase::Failed)
            .because(Cause::FileGone),
        row(
            "a cut before arming leaves it staged",
            before(Phase::Arming),
            home(GivenUp),
            Phase::Staged,
        ),
        row("agent restarted, arming", in_phase(Phase::Arming), home(Armed), Phase::Arming),
        row(
            "agent restarted, rebooting",
            in_phase(Phase::Rebooting),
            home(Armed),
            Phase::Rebooting,
        ),
        row("a try that no boot took", before(Phase::Rebooting), home(Armed), Phase::Reverting)
            .because(Cause::CounterBroken),
        row(
            "the try was spent without a verdict",
            before(Phase::Rebooting),
            home(Spent),
            Phase::Reverting,
        )
        .because(Cause::Cut),
        row("no job, a try that nobody owns", before(Phase::Idle), home(Armed), Phase::Reverting)
            .because(Cause::Stale),
        row("no job, the confirmed slot runs", before(Phase::Idle), home(Spent), Phase::Idle),
        row(
            "no job, booted by hand",
            before(Phase::Idle),
            found(Slot::B, false, Slot::A, Other::Whole),
            Phase::Idle,
        ),
    ];
    rows.into_iter().for_each(Expected::check);
}

#[test]
fn a_slot_that_runs_because_the_confirmed_one_cannot_be_loaded_is_not_left_again() {
    let last_resort = |other| found(Slot::B, false, Slot::A, other);
    let back = found(Slot::A, false, Slot::B, Other::Whole);
    let rows = [
        row("while going back", before(Phase::Reverting), last_resort(Other::Spent), Phase::Failed)
            .because(Cause::LastResort),
        row("while on trial", before(Phase::OnTrial), last_resort(Other::Spent), Phase::Idle)
            .because(Cause::LastResort)
            .ends(Ended::Failed),
        row("after confirming", before(Phase::Confirming), back, Phase::Idle)
            .because(Cause::LastResort)
            .ends(Ended::Failed),
        row(
            "a try of an earlier job",
            before(Phase::Verifying),
            trial(Other::Spent),
            Phase::OnTrial,
        ),
    ];
    rows.into_iter().for_each(Expected::check);
}

#[test]
fn what_is_found_on_and_after_a_trial_decides() {
    use Other::{Armed, Spent, Whole};
    let confirmed = found(Slot::B, false, Slot::B, Whole);
    let panicked = Boot { evidence: Evidence::Panic, ..home(Spent) };
    let died = Cause::Died { evidence: Evidence::Panic };
    let mut cut_once = before(Phase::Rebooting);
    cut_once.stain(image().digest, Judgement::Interrupted);
    let failed = with_job(before(Phase::Failed), |job| job.trial = Some(A_TRIAL));
    let rows = [
        row("the trial began", before(Phase::Rebooting), trial(Spent), Phase::OnTrial),
        row("no job, a new slot on trial", before(Phase::Idle), trial(Spent), Phase::OnTrial),
        row(
            "on trial with an unspent try",
            before(Phase::Rebooting),
            trial(Armed),
            Phase::Reverting,
        )
        .because(Cause::CounterBroken),
        row("agent restarted on trial", in_phase(Phase::OnTrial), trial(Spent), Phase::OnTrial),
        row("cut on trial, back home", before(Phase::OnTrial), home(Spent), Phase::Reverting)
            .because(Cause::Cut),
        row("the second time without a verdict", cut_once, home(Spent), Phase::Reverting)
            .because(Cause::CutAgain),
        row("a panic is evidence at once", before(Phase::Rebooting), panicked, Phase::Reverting)
            .because(died),
        row("confirmed outside the agent", before(Phase::OnTrial), confirmed, Phase::Idle)
            .because(Cause::ConfirmedOutside)
            .ends(Ended::Interrupted),
        row("confirmed, then the power failed", before(Phase::Confirming), confirmed, Phase::Idle)
            .ends(Ended::Succeeded),
        row("well, but not yet durable", before(Phase::Confirming), home(Spent), Phase::Reverting)
            .because(Cause::CutWhileConfirming),
        row("failed on trial and then reset", failed, home(Spent), Phase::Reverting)
            .because(Cause::Operator),
        row("the way back was cut", before(Phase::Reverting), trial(Spent), Phase::Reverting)
            .because(Cause::Operator),
    ];
    rows.into_iter().for_each(Expected::check);
}
