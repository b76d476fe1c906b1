//! Following a job: what a person sees between `start` and the end.
//!
//! Following is only looking. Ctrl-C, a closed terminal or a lost connection ends the looking, never the upgrade.

use std::time::Duration;

use bootloader_hooks::Slot;
use flow::Phase;

use super::client::Client;
use super::show::{self, Quiet, Shown};
use super::{CommandError, Exit};
use crate::door::view::{CauseView, OutcomeView, Status};

/// How a following ended.
#[derive(Debug)]
pub(super) enum Followed {
    /// The job ended.
    Ended(OutcomeView),
    /// Ctrl-C.
    Detached,
    /// The appliance reboots; the slot it reboots into on trial, if it is one.
    Rebooting(Option<Slot>),
    /// The command was taken and the service is gone, most likely for the reboot that was asked for, before that showed.
    Gone,
    /// The job waits for the command that is named.
    Waits(String),
    /// The job failed and waits for a person.
    Failed(Option<CauseView>),
}

/// How long `status --wait` goes on asking for a service that does not answer: a reboot is under way.
const BACK_WITHIN: Duration = Duration::from_secs(300);

/// Follows job `id` to its end; none: the command was done at once.
pub(super) async fn follow(
    client: &Client,
    quiet: Quiet,
    id: Option<u64>,
) -> Result<Followed, CommandError> {
    let mut events = match client.watch().await {
        Err(CommandError::Client(_)) if id.is_some() => return Ok(Followed::Gone),
        events => events?,
    };
    let mut shown = Shown::new(quiet);
    let mut last_seen: Option<Status> = None;
    loop {
        let status = tokio::select! {
            status = events.next::<Status>() => status,
            _ = tokio::signal::ctrl_c() => {
                shown.end();
                return Ok(Followed::Detached);
            }
        };
        let Some(status) = status else {
            shown.end();
            return gone(last_seen.as_ref(), id);
        };
        if let Some(id) = id.filter(|id| is_over_and_gone(&status, *id)) {
            // Other jobs ended since: the history knows how ours did.
            shown.end();
            return Ok(Followed::Ended(client.get(&format!("/history/{id}")).await?));
        }
        if let Some(followed) = where_it_stands(&status, id) {
            // A reboot is believed when the connection ends, or when somebody looks again.
            if !matches!(followed, Followed::Rebooting(_)) {
                shown.end();
                return Ok(followed);
            }
        }
        shown.show(&status);
        last_seen = Some(status);
    }
}

/// The stream ended: a reboot if that was next, otherwise the service went away.
fn gone(last_seen: Option<&Status>, id: Option<u64>) -> Result<Followed, CommandError> {
    let unseen = match last_seen.map(|status| status.phase) {
        None => id.is_some(),
        Some(phase) => matches!(phase, Phase::Holding | Phase::Arming),
    };
    if unseen {
        return Ok(Followed::Gone);
    }
    let reboots = last_seen
        .as_ref()
        .is_some_and(|status| matches!(status.phase, Phase::Rebooting | Phase::Reverting));
    if reboots {
        let on_trial = last_seen.filter(|status| status.phase == Phase::Rebooting);
        return Ok(Followed::Rebooting(
            on_trial.and_then(|status| status.job.as_ref()).map(|job| job.target),
        ));
    }
    Err(super::ClientError::Broke("the service went away".to_owned()).into())
}

/// A later job is in hand or has ended, so that this status says nothing about job `id` any more.
fn is_over_and_gone(status: &Status, id: u64) -> bool {
    let shown =
        |outcome: &Option<OutcomeView>| outcome.as_ref().is_some_and(|outcome| outcome.id == id);
    let later =
        |outcome: &Option<OutcomeView>| outcome.as_ref().is_some_and(|outcome| outcome.id > id);
    let in_hand = status.job.as_ref().map(|job| job.id);
    let superseded =
        in_hand.is_some_and(|job| job > id) || later(&status.last) || later(&status.errand);
    superseded && in_hand != Some(id) && !shown(&status.last) && !shown(&status.errand)
}

/// None: it goes on.
fn where_it_stands(status: &Status, id: Option<u64>) -> Option<Followed> {
    match &status.job {
        Some(job) if id.is_none_or(|id| job.id == id) => match status.phase {
            Phase::Failed => Some(Followed::Failed(job.cause.clone())),
            Phase::Staged => Some(Followed::Waits(status.next.clone())),
            Phase::Rebooting => Some(Followed::Rebooting(Some(job.target))),
            _ if !status.next.is_empty() => Some(Followed::Waits(status.next.clone())),
            _ => None,
        },
        _ => {
            let ended = [&status.last, &status.errand].into_iter().flatten();
            let ours = ended
                .filter(|outcome| id.is_none_or(|id| outcome.id == id))
                .max_by_key(|outcome| outcome.id);
            ours.cloned().map(Followed::Ended)
        }
    }
}

/// Waits until nothing is in progress, over a reboot too.
pub(super) async fn wait(client: &Client, json: bool) -> Result<Exit, CommandError> {
    let mut patience = BACK_WITHIN;
    loop {
        let status = match client.get::<Status>("/status").await {
            Ok(status) => status,
            Err(CommandError::Client(error)) => {
                const AGAIN: Duration = Duration::from_millis(250);
                if patience < AGAIN {
                    return Err(error.into());
                }
                patience -= AGAIN;
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => continue,
                    _ = tokio::signal::ctrl_c() => return Ok(Exit::InProgress),
                }
            }
            Err(error) => return Err(error),
        };
        let Some(job) = &status.job else {
            show::status(json, false, &status);
            let good = status
                .last
                .as_ref()
                .is_none_or(|last| matches!(last.outcome.as_str(), "succeeded" | "reverted"));
            return Ok(if good { Exit::Done } else { Exit::Failed });
        };
        match follow(client, if json { Quiet::Json } else { Quiet::Lines }, Some(job.id)).await {
            Ok(Followed::Rebooting(_) | Followed::Ended(_)) => {}
            // The stream broke: the service is on its way out, or back.
            Ok(Followed::Gone) | Err(CommandError::Client(_)) => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(Followed::Detached) => return Ok(Exit::InProgress),
            Ok(Followed::Waits(_)) => {
                show::status(json, false, &client.get::<Status>("/status").await?);
                return Ok(Exit::InProgress);
            }
            Ok(Followed::Failed(_)) => {
                show::status(json, false, &client.get::<Status>("/status").await?);
                return Ok(Exit::Failed);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Shows each change until Ctrl-C, over reboots too.
pub(super) async fn show_for_ever(
    client: &Client,
    json: bool,
    detail: bool,
) -> Result<Exit, CommandError> {
    loop {
        let mut events = client.watch().await?;
        loop {
            tokio::select! {
                status = events.next::<Status>() => match status {
                    Some(status) => show::status(json, detail, &status),
                    None => break,
                },
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
            }
        }
        show::done(json, "the service went away; waiting for it");
        while client.get::<Status>("/status").await.is_err() {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Exit::InProgress),
            }
        }
    }
}
