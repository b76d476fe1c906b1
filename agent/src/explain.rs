//! What happened, in sentences, and what to do next.
//!
//! Text for people, made from the state and the outcomes alone, so that what `explain` says can be tested like any
//! other function.

use flow::{Cause, Ended, Goal, Outcome, Phase, State};

/// What a person may do about a cause; empty when there is nothing to do.
pub fn advice(cause: &Cause) -> String {
    let text = match cause {
        Cause::NotAccepted { advice, .. } => advice,
        Cause::NotReady { .. } => "upgrade check shows what was found and what to do about each",
        Cause::Trouble { code, .. } => return trouble_advice(code).to_owned(),
        Cause::FileGone => {
            "give the file again: upgrade start FILE; what is already written is not written twice"
        }
        Cause::Sick { .. }
        | Cause::Deadline
        | Cause::AgentRestarts
        | Cause::Died { .. }
        | Cause::CutAgain => {
            "the image is refused on this appliance until upgrade forgive; ask its maker for a mended release"
        }
        Cause::NobodyConfirmed => "start it again when somebody is there to confirm",
        Cause::Cut | Cause::CutWhileConfirming => {
            "start it again; what is already written is not written twice. A second cut of this image refuses it"
        }
        Cause::NotDurable => {
            "look at the kernel's log for the disk of the data partition, then start it again"
        }
        Cause::Operator => "",
        Cause::Stale => "upgrade start, or upgrade activate if it is staged",
        Cause::CounterBroken => {
            "mend the bootloader's script or its partition, then upgrade repair"
        }
        Cause::ConfirmedOutside => {
            "find out who confirmed it; the next upgrade starts from what runs now"
        }
        Cause::ChangedOutside => "find out who changed the slots; reboot into the confirmed slot",
        Cause::LastResort => {
            "the confirmed slot cannot be loaded: look at its disk; upgrade repair makes the running slot the confirmed one"
        }
        Cause::BootStateLost => {
            "look at the disk; the boot state was written anew for the running slot"
        }
        Cause::WillNotGoBack => {
            "look at the bootloader: it does not obey its boot state; reboot by hand into the confirmed slot"
        }
    };
    text.to_owned()
}

fn trouble_advice(code: &str) -> &'static str {
    match code {
        "no-space" => "free space on the data partition, then start again",
        "read-back-differs" | "boot-state-differs" => {
            "the disk does not keep what is written to it: replace it"
        }
        "file-gone" => {
            "give the file again: upgrade start FILE; what is already written is not written twice"
        }
        "storage" | "boot-state-storage" => {
            "look at the kernel's log for the disk, then upgrade retry"
        }
        "slot-too-small" => "take a bundle made for this disk layout",
        "reboot" => "find out what holds up the reboot, then upgrade start again",
        _ if ["bundle-", "chunk-", "index-", "image-", "member-"]
            .iter()
            .any(|kind| code.starts_with(kind)) =>
        {
            "get the bundle again from where it was published, then upgrade start FILE"
        }
        _ => "upgrade retry, or upgrade cancel",
    }
}

/// The command that a person would give next; empty when there is nothing to do.
pub fn next(state: &State) -> String {
    match state.phase {
        Phase::Staged => "upgrade activate".to_owned(),
        Phase::Failed => match state.job.as_ref().and_then(|job| job.cause.as_ref()) {
            Some(cause) if cause.code() == "file-gone" => {
                "upgrade start FILE, or upgrade cancel".to_owned()
            }
            Some(_) | None => "upgrade retry, or upgrade cancel".to_owned(),
        },
        Phase::OnTrial
            if state.job.as_ref().and_then(|job| job.trial).is_some_and(|trial| trial.well) =>
        {
            "upgrade confirm, or upgrade cancel".to_owned()
        }
        Phase::Idle => match &state.last {
            Some(last) if !last.ended.is_good() => format!("upgrade explain {}", last.id),
            Some(_) | None => String::new(),
        },
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::OnTrial
        | Phase::Confirming
        | Phase::Reverting => String::new(),
    }
}

/// The story of a job that ended.
pub fn outcome(outcome: &Outcome) -> Vec<String> {
    let to =
        outcome.to.map_or_else(|| "an unknown release".to_owned(), |release| release.to_string());
    let from =
        outcome.from.map_or_else(|| "an unknown release".to_owned(), |release| release.to_string());
    let asked = match outcome.goal {
        Goal::Fetch => "the fetching of a bundle".to_owned(),
        Goal::Check => "a readiness check".to_owned(),
        Goal::Stage => format!("the staging of {to} into slot {}", outcome.target),
        Goal::Upgrade => format!("the upgrade from {from} to {to} in slot {}", outcome.target),
        Goal::Revert => format!("the revert from {from} to {to} in slot {}", outcome.target),
        Goal::Repair => "a repair of the boot state".to_owned(),
    };
    let mut all = vec![format!(
        "{} was {asked}, asked for by {}. It {}.",
        number(outcome.id),
        outcome.by,
        verb(outcome)
    )];
    if let Some(cause) = &outcome.cause {
        all.push(format!("The reason: {cause} ({}).", cause.code()));
        let stays = match outcome.ended {
            Ended::RolledBack => {
                Some(format!("The appliance went back to slot {} by itself.", !outcome.target))
            }
            Ended::Interrupted | Ended::Cancelled => {
                Some(format!("Slot {} was not changed.", !outcome.target))
            }
            Ended::Refused => Some("Nothing was written.".to_owned()),
            Ended::Failed if matches!(cause, Cause::Trouble { .. } | Cause::FileGone) => {
                Some(format!("Slot {} was not touched.", !outcome.target))
            }
            Ended::Failed | Ended::Succeeded | Ended::Reverted | Ended::Skipped => None,
        };
        all.extend(stays);
        let advice = advice(cause);
        if !advice.is_empty() {
            all.push(format!("Next: {advice}."));
        }
    }
    if let (Some(digest), true) =
        (&outcome.digest, outcome.cause.as_ref().is_some_and(Cause::condemns))
    {
        all.push(format!("To try that image all the same: upgrade forgive {digest}"));
    }
    all
}

fn number(id: u64) -> String {
    format!("Number {id}")
}

fn verb(outcome: &Outcome) -> &'static str {
    match outcome.ended {
        Ended::Succeeded if outcome.goal.is_errand() => "succeeded",
        Ended::Succeeded => "succeeded: the new system was booted, was healthy, and is confirmed",
        Ended::RolledBack => "was rolled back",
        Ended::Cancelled => "was cancelled",
        Ended::Reverted => {
            "went back as asked: the previous system was booted, was healthy, and is confirmed"
        }
        Ended::Interrupted => "was interrupted",
        Ended::Failed => "failed",
        Ended::Skipped => "was skipped",
        Ended::Refused => "was refused",
    }
}

/// The story of what is going on now.
pub fn state(state: &State) -> Vec<String> {
    let Some(job) = &state.job else {
        return vec!["Nothing is going on.".to_owned()];
    };
    let to =
        job.image.as_ref().map_or_else(|| "a bundle".to_owned(), |image| image.release.to_string());
    let doing = match state.phase {
        Phase::Idle => "nothing".to_owned(),
        Phase::Fetching => "the bundle is being brought into the spool".to_owned(),
        Phase::Verifying => "name, signature and manifest are being checked".to_owned(),
        Phase::Assessing => "readiness is being judged".to_owned(),
        Phase::Writing if job.goal == Goal::Revert => {
            format!("slot {} is being read and compared; nothing is written", job.target)
        }
        Phase::Writing => format!(
            "{to} is being written into slot {}; slot {} runs and is not touched",
            job.target, !job.target
        ),
        Phase::Staged => {
            format!("{to} is written into slot {} and waits for upgrade activate", job.target)
        }
        Phase::Holding => "the peer is being asked".to_owned(),
        Phase::Arming => format!("slot {} gets its one try", job.target),
        Phase::Rebooting => format!("the appliance reboots into slot {} on trial", job.target),
        Phase::OnTrial => format!(
            "{to} runs in slot {} on trial and is being judged; a reset goes back to slot {}",
            job.target, !job.target
        ),
        Phase::Confirming => format!("{to} was healthy and becomes the confirmed system"),
        Phase::Failed => "it failed and waits for a person".to_owned(),
        Phase::Reverting => format!("the appliance goes back to slot {}", !job.target),
    };
    let mut all = vec![format!(
        "{} is in hand ({}), asked for by {}: {doing}.",
        number(job.id),
        job.goal.word(),
        job.by
    )];
    if let Some(cause) = &job.cause {
        all.push(format!("The reason: {cause} ({}).", cause.code()));
        let advice = advice(cause);
        if !advice.is_empty() {
            all.push(format!("Next: {advice}."));
        }
    }
    let next = next(state);
    if !next.is_empty() {
        all.push(format!("Commands: {next}."));
    }
    all
}
