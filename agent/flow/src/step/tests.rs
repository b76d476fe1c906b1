//! All states times all events, every run: the machine is small enough to be walked whole.

mod rows;

use std::collections::BTreeSet;
use std::time::Duration;

use bootloader_hooks::{BootState, Other, Slot};
use bundle_format::{Digest, Release};

use super::*;
use crate::asked::possible;
use crate::readiness::{CheckId, Grade, Report, Row};
use crate::{
    Boot, BootId, Command, End, Evidence, Goal, Held, Holding, Image, Judgement, Origin, Request,
    Side, Source, Task, Trial, Upgrade, duty,
};

const HERE: BootId = BootId(1);
const ELSEWHERE: BootId = BootId(2);

fn now() -> Now {
    Now {
        boot_id: HERE,
        boottime: Duration::from_secs(50),
        wall: 1_700_000_000,
        wall_is_trusted: true,
    }
}

fn release(text: &str) -> Release {
    text.parse().expect("OK because the test wrote it")
}

fn image() -> Image {
    Image { release: release("7.4.2-90"), digest: Digest::from_bytes([7; 32]), raw_size: 4096 }
}

fn held() -> Held {
    Held { name: "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar".to_owned(), len: 9000, side: Side::Left }
}

fn origin() -> Origin {
    Origin { by: "uid 0".to_owned(), from: Some(release("7.4.1-172")) }
}

fn request(goal: Goal, file: Option<&str>) -> Request {
    Request {
        goal,
        file: file.map(str::to_owned),
        forced: BTreeSet::new(),
        auto_cancel: true,
        origin: origin(),
    }
}

/// A state in `phase` with a job against slot B, as an upgrade that began in this boot would have it.
fn in_phase(phase: Phase) -> State {
    let mut state = State::new(HERE, Slot::A);
    state.held = Some(held());
    state.holds_b = Some(Holding { image: image(), proven: true });
    state.next_id = 8;
    state.phase = phase;
    if phase == Phase::Idle {
        return state;
    }
    let on_trial = matches!(phase, Phase::OnTrial | Phase::Confirming);
    if on_trial {
        state.running = Slot::B;
    }
    state.job = Some(Upgrade {
        id: 7,
        goal: Goal::Upgrade,
        source: Source::Spool(held()),
        from: Some(release("7.4.1-172")),
        image: Some(image()),
        target: Slot::B,
        by: "uid 0".to_owned(),
        decided: HERE,
        forced: BTreeSet::new(),
        auto_cancel: true,
        armed: on_trial || matches!(phase, Phase::Arming | Phase::Rebooting | Phase::Reverting),
        trial: on_trial.then_some(Trial { since: Duration::from_secs(40), starts: 1, well: false }),
        cause: matches!(phase, Phase::Failed | Phase::Reverting).then_some(Cause::Operator),
    });
    state
}

/// What the agent finds at start, without evidence.
fn found(running: Slot, trial: bool, confirmed: Slot, other: Other) -> Boot {
    let state = Some(BootState { confirmed, other });
    Boot { id: HERE, running, trial, state, evidence: Evidence::None }
}

fn with_job(mut state: State, change: impl FnOnce(&mut Upgrade)) -> State {
    if let Some(job) = &mut state.job {
        change(job);
    }
    state
}

/// Every phase, each with every variation of its job that some row looks at.
fn states() -> Vec<State> {
    let mut all = Vec::new();
    for phase in Phase::ALL {
        let plain = in_phase(phase);
        all.push(plain.clone());
        for goal in [Goal::Fetch, Goal::Check, Goal::Stage, Goal::Revert, Goal::Repair] {
            all.push(with_job(plain.clone(), |job| job.goal = goal));
        }
        for source in [Source::Nothing, Source::Handed { name: "x".into() }] {
            all.push(with_job(plain.clone(), |job| job.source = source.clone()));
            all.push(with_job(plain.clone(), |job| {
                job.source = source;
                job.goal = Goal::Fetch;
            }));
        }
        all.push(with_job(plain.clone(), |job| job.auto_cancel = false));
        all.push(with_job(plain.clone(), |job| job.decided = ELSEWHERE));
        all.push(with_job(plain.clone(), |job| job.image = None));
        all.push(with_job(plain.clone(), |job| job.cause = None));
        all.push(with_job(plain.clone(), |job| {
            job.cause = Some(Cause::Stale);
        }));
        for (well, starts) in [(true, 1), (false, 2)] {
            let trial = Trial { since: Duration::from_secs(40), starts, well };
            all.push(with_job(plain.clone(), |job| job.trial = Some(trial)));
        }
        let mut stained = plain.clone();
        stained.stain(image().digest, Judgement::Interrupted);
        all.push(stained);
        let mut bare = plain;
        bare.held = None;
        bare.holds_b = None;
        all.push(bare);
    }
    let elsewhere: Vec<State> =
        all.iter().map(|s| State { boot: ELSEWHERE, ..s.clone() }).collect();
    all.extend(elsewhere);
    all
}

fn boots() -> Vec<Boot> {
    let mut all = Vec::new();
    for running in Slot::ALL {
        for state in BootState::ALL.map(Some).into_iter().chain([None]) {
            for trial in [false, true] {
                for evidence in [Evidence::None, Evidence::Panic, Evidence::Watchdog] {
                    all.push(Boot { id: HERE, running, trial, state, evidence });
                }
            }
        }
    }
    all
}

fn commands() -> Vec<Command> {
    let mut all: Vec<Command> = [Goal::Fetch, Goal::Check, Goal::Stage, Goal::Upgrade]
        .into_iter()
        .flat_map(|goal| [request(goal, None), request(goal, Some("f"))])
        .map(Command::Start)
        .collect();
    all.extend([
        Command::Cancel,
        Command::Retry,
        Command::Activate,
        Command::Confirm,
        Command::Revert(origin()),
        Command::Discard,
        Command::Forgive(image().digest),
        Command::Repair(origin()),
    ]);
    all
}

fn report(grade: Grade) -> Report {
    let row = Row {
        id: CheckId::Clock,
        grade,
        found: "x".into(),
        advice: String::new(),
        forceable: true,
        forced: false,
    };
    Report { rows: vec![row], release: None, at: 0 }
}

fn ends() -> Vec<End> {
    vec![
        End::Fetched(held()),
        End::Verified(image()),
        End::NotAccepted { code: "c".into(), text: "t".into(), advice: "a".into() },
        End::Assessed(report(Grade::Pass)),
        End::Assessed(report(Grade::Unknown)),
        End::Written,
        End::Granted,
        End::Armed,
        End::Well,
        End::Sick("s".into()),
        End::Confirmed,
        End::Reverted,
        End::Trouble { code: "c".into(), text: "t".into() },
    ]
}

fn events() -> Vec<Event> {
    let mut all: Vec<Event> = boots().into_iter().map(Event::Booted).collect();
    all.extend(commands().into_iter().map(Event::Asked));
    all.extend(ends().into_iter().map(Event::Ended));
    all.extend([Event::Due, Event::PeerSays(Verdict::Granted), Event::PeerSays(Verdict::Denied)]);
    all
}

fn rules() -> Vec<Rules> {
    vec![
        Rules::default(),
        Rules { confirm_within: Some(Duration::from_secs(60)), ..Rules::default() },
    ]
}

/// Walks everything and hands each turn to `check`.
fn walk(mut check: impl FnMut(&State, &Event, &Turned, &Rules)) {
    let (states, events) = (states(), events());
    let mut seen = 0_u32;
    for rules in rules() {
        for state in &states {
            for event in &events {
                let turned = step(state, now(), event.clone(), &rules);
                check(state, event, &turned, &rules);
                seen += 1;
            }
        }
    }
    assert!(seen > 50_000, "the walk became short: {seen}");
}

#[test]
fn a_job_exists_exactly_outside_idle() {
    walk(|state, event, turned, _| {
        let idle = turned.state.phase == Phase::Idle;
        assert_eq!(idle, turned.state.job.is_none(), "{:?} + {event:?}", state.phase);
    });
}

#[test]
fn a_fact_is_never_refused_and_a_refused_command_changes_nothing() {
    walk(|state, event, turned, _| {
        if turned.answer.is_err() {
            assert!(matches!(event, Event::Asked(_)), "{event:?} was refused");
            assert_eq!(turned.state, State { boot: HERE, ..state.clone() });
        }
    });
}

#[test]
fn the_phases_that_a_refusal_names_are_those_that_take_the_command() {
    for command in commands() {
        let word = command.word();
        for phase in Phase::ALL {
            // The state that lacks nothing the command needs: then only the phase decides.
            let mut state = in_phase(phase);
            state.stain(image().digest, Judgement::Interrupted);
            let waits_for_a_person = word == "confirm";
            if waits_for_a_person || phase == Phase::OnTrial {
                let trial = Trial { since: Duration::ZERO, starts: 1, well: true };
                state = with_job(state, |job| job.trial = Some(trial));
            }
            let needs_file = matches!(&command, Command::Start(request) if request.goal == Goal::Fetch && request.file.is_none());
            if needs_file {
                continue;
            }
            let taken = step(&state, now(), Event::Asked(command.clone()), &Rules::default())
                .answer
                .is_ok();
            assert_eq!(taken, possible(word).contains(&phase), "{word} in {phase}");
        }
    }
}

#[test]
fn after_another_boot_the_home_slot_never_owes_a_reboot_into_the_other_one() {
    walk(|state, event, turned, rules| {
        let Event::Booted(boot) = event else { return };
        let Some(job) = &turned.state.job else { return };
        if state.boot == ELSEWHERE && boot.running != job.target {
            let task = duty(&turned.state, rules).task;
            assert!(
                !matches!(task, Task::Hold | Task::Arm | Task::Reboot),
                "{:?} + {boot:?} owes {task:?}",
                state.phase
            );
        }
    });
}

#[test]
fn an_upgrade_succeeds_only_out_of_confirming() {
    walk(|state, event, turned, _| {
        let (Some(outcome), true) = (&turned.state.last, turned.state.last != state.last) else {
            return;
        };
        if outcome.ended.is_good() {
            assert_eq!(state.phase, Phase::Confirming, "{event:?} made {:?}", outcome.ended);
            let durable = matches!(event, Event::Ended(End::Confirmed))
                || matches!(event, Event::Booted(boot) if boot.state.is_some_and(|s| s.confirmed == outcome.target));
            assert!(durable, "{event:?} made {:?}", outcome.ended);
        }
    });
}

#[test]
fn a_slot_is_armed_only_after_it_was_written_and_permitted() {
    walk(|state, event, turned, _| {
        let (before, after) = (state.phase, turned.state.phase);
        if before == after {
            return;
        }
        match after {
            Phase::Holding => assert!(matches!(
                (before, event),
                (Phase::Writing, Event::Ended(End::Written))
                    | (Phase::Staged, Event::Asked(Command::Activate))
            )),
            Phase::Arming => {
                assert!(matches!((before, event), (Phase::Holding, Event::Ended(End::Granted))));
            }
            Phase::Rebooting => {
                assert!(matches!((before, event), (Phase::Arming, Event::Ended(End::Armed))));
            }
            Phase::Confirming => assert!(matches!(
                (before, event),
                (Phase::OnTrial, Event::Ended(End::Well) | Event::Asked(Command::Confirm))
            )),
            Phase::Idle
            | Phase::Fetching
            | Phase::Verifying
            | Phase::Assessing
            | Phase::Writing
            | Phase::Staged
            | Phase::OnTrial
            | Phase::Failed
            | Phase::Reverting => {}
        }
    });
}

#[test]
fn a_trial_begins_only_where_the_target_runs() {
    walk(|state, event, turned, _| {
        if turned.state.phase == Phase::OnTrial && state.phase != Phase::OnTrial {
            let booted = matches!((event, &turned.state.job), (Event::Booted(boot), Some(job)) if boot.running == job.target && boot.trial);
            let retried =
                matches!(event, Event::Asked(Command::Retry)) && state.phase == Phase::Failed;
            assert!(booted || retried, "{:?} + {event:?}", state.phase);
        }
    });
}

#[test]
fn a_way_back_that_did_not_work_is_not_tried_for_ever() {
    let back = BootState { confirmed: Slot::A, other: Other::GivenUp };
    let boot = Boot {
        id: HERE,
        running: Slot::B,
        trial: false,
        state: Some(back),
        evidence: Evidence::None,
    };
    let state = State { boot: ELSEWHERE, ..in_phase(Phase::Reverting) };
    let turned = step(&state, now(), Event::Booted(boot), &Rules::default());
    assert_eq!(turned.state.phase, Phase::Failed);
    assert_eq!(turned.state.job.and_then(|job| job.cause), Some(Cause::WillNotGoBack));
}

#[test]
fn job_numbers_only_grow() {
    walk(|state, _, turned, _| assert!(turned.state.next_id >= state.next_id));
}

#[test]
fn a_condemned_image_is_forgotten_only_when_forgiven() {
    walk(|state, event, turned, _| {
        for judged in &state.judged {
            let kept = turned.state.judgement(&judged.digest) >= Some(judged.judgement);
            assert!(kept || matches!(event, Event::Asked(Command::Forgive(_))), "{event:?}");
        }
    });
}

#[test]
fn a_third_start_within_one_trial_is_sick() {
    let mut state = in_phase(Phase::OnTrial);
    let boot = found(Slot::B, true, Slot::A, Other::Spent);
    state = step(&state, now(), Event::Booted(boot), &Rules::default()).state;
    assert_eq!(state.phase, Phase::OnTrial);
    state = step(&state, now(), Event::Booted(boot), &Rules::default()).state;
    assert_eq!(state.phase, Phase::Reverting);
    assert_eq!(state.judgement(&image().digest), Some(Judgement::Condemned));
}

#[test]
fn a_revert_goes_only_to_a_system_that_was_confirmed_there() {
    let ask = |state: &State| {
        step(state, now(), Event::Asked(Command::Revert(origin())), &Rules::default())
    };
    let mut state = in_phase(Phase::Idle);
    assert_eq!(ask(&state).state.phase, Phase::Assessing);
    state.holds_b = Some(Holding { image: image(), proven: false });
    assert_eq!(ask(&state).answer.map_err(|no| no.code), Err("slot-unproven"));
    state.holds_b = Some(Holding { image: image(), proven: true });
    state.stain(image().digest, Judgement::Condemned);
    assert_eq!(ask(&state).answer.map_err(|no| no.code), Err("slot-condemned"));
    state.holds_b = None;
    assert_eq!(ask(&state).answer.map_err(|no| no.code), Err("slot-unproven"));
}

#[test]
fn a_job_that_may_have_left_a_try_behind_is_only_left_over_the_boot_state() {
    let failed = with_job(in_phase(Phase::Failed), |job| job.armed = true);
    let start = Event::Asked(Command::Start(request(Goal::Upgrade, None)));
    let refused = step(&failed, now(), start, &Rules::default());
    assert_eq!(refused.answer.map_err(|no| no.code), Err("cancel-first"));
    let cancelled = step(&failed, now(), Event::Asked(Command::Cancel), &Rules::default());
    assert_eq!(cancelled.state.phase, Phase::Reverting);
}

#[test]
fn auto_cancel_off_leaves_a_sick_trial_where_it_is() {
    let state = with_job(in_phase(Phase::OnTrial), |job| job.auto_cancel = false);
    let turned = step(&state, now(), Event::Ended(End::Sick("probe x".into())), &Rules::default());
    assert_eq!(turned.state.phase, Phase::Failed);
}

#[test]
fn the_list_of_stained_images_is_limited_and_forgets_the_oldest() {
    let mut state = State::new(HERE, Slot::A);
    for n in 0..=State::MAX_JUDGED {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
        state.stain(Digest::from_bytes(digest), Judgement::Condemned);
    }
    assert_eq!(state.judged.len(), State::MAX_JUDGED);
    assert_eq!(state.judgement(&Digest::from_bytes([0; 32])), None);
}

#[test]
fn a_long_text_is_cut_at_a_character_and_keeps_no_control_characters() {
    let text = crate::state::clip("ä".repeat(1000));
    assert!(text.len() <= crate::state::MAX_TEXT && text.ends_with(" ..."));
    assert_eq!(crate::state::clip("red\u{1b}[31m\n"), "red [31m ");
}
