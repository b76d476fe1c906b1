//! REST over the unix socket, under `/api/v1`.
//!
//! | resource | verbs |
//! | --- | --- |
//! | `/status` | GET; `?watch` as server-sent events, one `status` event at each change and while a task counts |
//! | `/bundle` | GET: the bundle in the spool |
//! | `/bundle/{name}` | PUT: bring one (the body is the file); DELETE: let it go |
//! | `/check` | POST: judge readiness; GET: the last report |
//! | `/upgrade` | POST: start from the spool; GET: the job in hand |
//! | `/upgrade/cancel` `/upgrade/retry` `/upgrade/activate` `/upgrade/confirm` | POST |
//! | `/revert` `/repair` `/forgive` | POST |
//! | `/history`, `/history/{id}`, `/explain`, `/explain/{id}` | GET |
//!
//! A command that was taken answers 202 with the job's number. Errors are [`Problem`]s. Every body but a bundle's is at
//! most [`MAX_BODY`] bytes.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use flow::readiness::CheckId;
use flow::{Command, Goal, Request};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, watch};
use tokio_stream::Stream;

use super::view::{self, JobView, OutcomeView, Problem, ReportView, Status, Taken};
use crate::driver::Driver;
use crate::source::{Handed, MAX_BUNDLE};
use crate::{explain, source};

/// The longest body of a command.
pub const MAX_BODY: usize = 64 * 1024;

/// How often a watcher hears about a task that counts.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// What every handler needs.
#[derive(Clone)]
struct Door {
    driver: Arc<Driver>,
    changes: watch::Receiver<u64>,
}

/// Who is at the other end of the socket.
#[derive(Clone, Copy, Debug)]
struct Caller {
    uid: Option<u32>,
}

impl Caller {
    fn name(self) -> String {
        self.uid.map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}"))
    }
}

/// How many connections are served at the same time; the next one is closed at once. A management plane needs a few, and
/// each costs a descriptor that the upgrade itself may need.
const CONNECTIONS: usize = 64;

/// A connection on which no request begins for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// An upload that stands still for so long is broken off.
const STALLED: Duration = Duration::from_secs(60);

/// Serves until the process ends.
pub async fn serve(listener: UnixListener, driver: Arc<Driver>, changes: watch::Receiver<u64>) {
    let app = router(Door { driver, changes });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is free, most likely; asking again at once would only burn a core.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let caller = Caller { uid: stream.peer_cred().ok().map(|cred| cred.uid()) };
        let service = TowerToHyperService::new(app.clone().layer(Extension(caller)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // Its error is the client's: gone, too slow, or not speaking HTTP.
            drop(connection.await);
            drop(place);
        });
    }
}

fn router(door: Door) -> Router {
    let api = Router::new()
        .route("/status", get(status))
        .route("/bundle", get(bundle))
        .route("/check", post(check).get(last_check))
        .route("/upgrade", post(start).get(job))
        .route("/upgrade/cancel", post(cancel))
        .route("/upgrade/retry", post(retry))
        .route("/upgrade/activate", post(activate))
        .route("/upgrade/confirm", post(confirm))
        .route("/revert", post(revert))
        .route("/repair", post(repair))
        .route("/forgive", post(forgive))
        .route("/history", get(history))
        .route("/history/{id}", get(one_of_history))
        .route("/explain", get(explain_now))
        .route("/explain/{id}", get(explain_one))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route("/bundle/{name}", put(bring).delete(discard).layer(DefaultBodyLimit::disable()));
    Router::new()
        .nest("/api/v1", api)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_verb)
        .with_state(door)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

fn problem(status: u16, code: &str, detail: impl Into<String>) -> Problem {
    Problem { status, code: code.to_owned(), detail: detail.into(), possible: Vec::new() }
}

async fn nothing_here() -> Problem {
    problem(404, "no-such-resource", "there is nothing here; the resources are under /api/v1")
}

async fn wrong_verb() -> Problem {
    problem(405, "wrong-method", "this resource does not take that method")
}

/// Runs something that may wait for a disk, off the threads that serve.
async fn blocking<T: Send + 'static>(
    door: &Door,
    deed: impl FnOnce(&Driver) -> T + Send + 'static,
) -> Result<T, Problem> {
    let driver = Arc::clone(&door.driver);
    tokio::task::spawn_blocking(move || deed(&driver))
        .await
        .map_err(|_| problem(500, "internal", "the service could not answer"))
}

async fn ask(door: &Door, command: Command) -> Result<(StatusCode, Json<Taken>), Problem> {
    let taken = blocking(door, move |driver| {
        let id = driver.ask(command, None)?;
        Ok::<_, flow::Refusal>(Taken { id, phase: driver.look().state.phase })
    })
    .await??;
    Ok((StatusCode::ACCEPTED, Json(taken)))
}

/// A command's body; an empty one means all defaults.
fn parse<T: for<'de> Deserialize<'de> + Default>(body: &Bytes) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    // A list would do for a struct of defaults, so an object is asked for.
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
    object
        .and_then(|object| serde_json::from_value(object.into()))
        .map_err(|e| problem(400, "body", format!("the body is not what this resource takes: {e}")))
}

/// A command's body, at most [`MAX_BODY`] bytes of it; what the framework says of a larger one becomes a problem too.
struct Small(Bytes);

impl<S: Send + Sync> FromRequest<S> for Small {
    type Rejection = Problem;
    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => problem(
                413,
                "too-long",
                format!("the body of a command has at most {MAX_BODY} bytes"),
            ),
            _ => problem(400, "body", "the body could not be read"),
        })
    }
}

/// A number in a path.
fn number(text: Result<Path<String>, PathRejection>) -> Result<u64, Problem> {
    let text = text.map(|Path(text)| text).unwrap_or_default();
    text.parse().map_err(|_| problem(404, "no-such-number", "a number like 12 is expected here"))
}

#[derive(Deserialize)]
struct Watch {
    watch: Option<String>,
}

async fn status(State(door): State<Door>, Query(query): Query<Watch>) -> Result<Response, Problem> {
    if query.watch.is_some() {
        let events = statuses(door).map(|status| {
            let event = Event::default().event("status");
            Ok::<_, Infallible>(event.json_data(status).unwrap_or_default())
        });
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    let status = blocking(&door, view::status).await?;
    Ok(Json(status).into_response())
}

/// The status now, then at each change, and often while a task counts.
fn statuses(door: Door) -> impl Stream<Item = Status> {
    futures_util::stream::unfold((door, None::<Status>), |(mut door, shown)| async move {
        loop {
            let counts = shown
                .as_ref()
                .is_none_or(|s| s.job.as_ref().is_some_and(|job| job.progress.is_some()));
            if shown.is_some() {
                let every = if counts { WATCH_EVERY } else { Duration::from_secs(5) };
                // Either a change or the time; a service that ends closes the stream.
                if let Ok(Err(_)) = tokio::time::timeout(every, door.changes.changed()).await {
                    return None;
                }
            }
            let status = blocking(&door, view::status).await.ok()?;
            if shown.as_ref() != Some(&status) {
                return Some((status.clone(), (door, Some(status))));
            }
        }
    })
}

async fn bundle(State(door): State<Door>) -> Result<Json<serde_json::Value>, Problem> {
    let held = blocking(&door, Driver::look).await?.state.held;
    Ok(Json(
        serde_json::json!({ "held": held.map(|held| serde_json::json!({ "name": held.name, "len": held.len })) }),
    ))
}

async fn job(State(door): State<Door>) -> Result<Json<Option<JobView>>, Problem> {
    Ok(Json(blocking(&door, view::status).await?.job))
}

/// What `/check` and `/upgrade` take.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Checks to override.
    pub(crate) force: Vec<String>,
    /// Write it, then wait for `activate`.
    pub(crate) stage_only: bool,
    /// Stay on a sick trial for a person.
    pub(crate) no_auto_cancel: bool,
}

impl Options {
    /// The checks, by id.
    pub(crate) fn forced(&self) -> Result<BTreeSet<CheckId>, Problem> {
        let parsed: Result<_, _> = self.force.iter().map(|word| word.parse::<CheckId>()).collect();
        parsed.map_err(|e| problem(400, "no-such-check", e.to_string()))
    }
}

async fn check(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Small(body): Small,
) -> Result<impl IntoResponse, Problem> {
    let options: Options = parse(&body)?;
    ask(&door, Command::Start(request(&door, Goal::Check, &options, caller)?)).await
}

async fn start(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Small(body): Small,
) -> Result<impl IntoResponse, Problem> {
    let options: Options = parse(&body)?;
    let goal = if options.stage_only { Goal::Stage } else { Goal::Upgrade };
    ask(&door, Command::Start(request(&door, goal, &options, caller)?)).await
}

fn request(door: &Door, goal: Goal, options: &Options, caller: Caller) -> Result<Request, Problem> {
    Ok(Request {
        goal,
        file: None,
        forced: options.forced()?,
        auto_cancel: !options.no_auto_cancel,
        origin: door.driver.origin(caller.name()),
    })
}

async fn last_check(State(door): State<Door>) -> Result<Json<ReportView>, Problem> {
    let report = blocking(&door, Driver::look).await?.state.report;
    let report = report.ok_or_else(|| problem(404, "no-report", "no check was made yet"))?;
    Ok(Json(ReportView::from(&report)))
}

async fn cancel(State(door): State<Door>) -> Result<impl IntoResponse, Problem> {
    ask(&door, Command::Cancel).await
}

async fn retry(State(door): State<Door>) -> Result<impl IntoResponse, Problem> {
    ask(&door, Command::Retry).await
}

async fn activate(State(door): State<Door>) -> Result<impl IntoResponse, Problem> {
    ask(&door, Command::Activate).await
}

async fn confirm(State(door): State<Door>) -> Result<impl IntoResponse, Problem> {
    ask(&door, Command::Confirm).await
}

async fn revert(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Problem> {
    ask(&door, Command::Revert(door.driver.origin(caller.name()))).await
}

async fn repair(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Problem> {
    ask(&door, Command::Repair(door.driver.origin(caller.name()))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgive {
    digest: bundle_format::Digest,
}

async fn forgive(
    State(door): State<Door>,
    Small(body): Small,
) -> Result<impl IntoResponse, Problem> {
    let forgive: Forgive = serde_json::from_slice(&body).map_err(|e| {
        problem(400, "body", format!("the body must be {{\"digest\": \"<64 hex digits>\"}}: {e}"))
    })?;
    ask(&door, Command::Forgive(forgive.digest)).await
}

async fn discard(
    State(door): State<Door>,
    name: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let held = blocking(&door, Driver::look).await?.state.held;
    if held.is_none_or(|held| held.name != name) {
        return Err(problem(404, "no-bundle", format!("no bundle of the name {name} is held")));
    }
    ask(&door, Command::Discard).await
}

async fn history(State(door): State<Door>) -> Result<Json<Vec<OutcomeView>>, Problem> {
    let all = blocking(&door, Driver::history).await?;
    Ok(Json(all.iter().map(OutcomeView::from).collect()))
}

async fn one_of_history(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<OutcomeView>, Problem> {
    let id = number(id)?;
    let all = blocking(&door, Driver::history).await?;
    let found = all.into_iter().find(|outcome| outcome.id == id);
    found.map(|outcome| Json(OutcomeView::from(&outcome))).ok_or_else(|| no_number(id))
}

fn no_number(id: u64) -> Problem {
    problem(
        404,
        "no-such-number",
        format!("number {id} is not in the history; upgrade history lists what is"),
    )
}

async fn explain_now(State(door): State<Door>) -> Result<Json<Vec<String>>, Problem> {
    let state = blocking(&door, Driver::look).await?.state;
    Ok(Json(match (&state.job, &state.last) {
        (None, Some(last)) => explain::outcome(last),
        (Some(_), _) | (None, None) => explain::state(&state),
    }))
}

async fn explain_one(
    State(door): State<Door>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Vec<String>>, Problem> {
    let id = number(id)?;
    let (state, all) = blocking(&door, |driver| (driver.look().state, driver.history())).await?;
    if state.job.as_ref().is_some_and(|job| job.id == id) {
        return Ok(Json(explain::state(&state)));
    }
    let known = state.last.into_iter().chain(state.errand).chain(all.into_iter().rev());
    let found = known.into_iter().find(|outcome| outcome.id == id);
    found.map(|outcome| Json(explain::outcome(&outcome))).ok_or_else(|| no_number(id))
}

/// Brings a bundle: the body goes through a pipe to the hand, which puts it into the spool and verifies it. Answers when
/// that ended.
async fn bring(
    State(door): State<Door>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<OutcomeView>), Problem> {
    let len =
        headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if len.is_some_and(|len| len > source::MAX_BUNDLE) {
        return Err(problem(413, "too-long", format!("a bundle has at most {MAX_BUNDLE} bytes")));
    }
    let (ours, theirs) =
        pipe2(OFlag::O_CLOEXEC).map_err(|e| problem(503, "pipe", e.to_string()))?;
    let request = Request {
        goal: Goal::Fetch,
        file: Some(name),
        forced: BTreeSet::new(),
        auto_cancel: true,
        origin: door.driver.origin(caller.name()),
    };
    let handed = Handed::new(std::fs::File::from(ours), len);
    let id =
        blocking(&door, move |driver| driver.ask(Command::Start(request), Some(handed))).await??;
    let id = id.unwrap_or_default();
    // On its own, because a client that goes away takes this handler with it.
    tokio::spawn(upload(door.clone(), id, theirs, body))
        .await
        .map_err(|_| problem(500, "internal", "the service could not answer"))??;
    let errand = blocking(&door, Driver::look).await?.state.errand.filter(|errand| errand.id == id);
    let errand =
        errand.ok_or_else(|| problem(410, "superseded", "another job came after this one"))?;
    let view = OutcomeView::from(&errand);
    match &view.cause {
        None => Ok((StatusCode::CREATED, Json(view))),
        Some(cause) => Err(problem(
            if cause.code == "no-space" { 507 } else { 422 },
            &cause.code,
            format!("{}; {}", cause.text, cause.advice),
        )),
    }
}

/// Pours the body to the hand, and comes back when the job has ended, however the client behaves.
async fn upload(door: Door, id: u64, pipe: OwnedFd, body: Body) -> Result<(), Problem> {
    let mut changes = door.changes.clone();
    let broken = |e: std::io::Error| problem(503, "pipe", e.to_string());
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| broken(e.into()))?;
    let mut pipe = pipe::Sender::from_owned_fd(pipe).map_err(broken)?;
    tokio::select! {
        poured = pour(&mut pipe, body) => if let Err(what) = poured {
            // The client is gone or the hand does not read any more; the job must not wait for the rest for ever.
            tracing::info!(id, %what, "the upload ended early");
            blocking(&door, move |driver| driver.cancel(id)).await?;
        },
        gone = ended(&door, id, &mut changes) => gone?,
    }
    // Only now: the hand takes the end of the pipe for the end of the bundle.
    drop(pipe);
    ended(&door, id, &mut changes).await
}

/// Waits until job `id` is not in hand any more.
async fn ended(door: &Door, id: u64, changes: &mut watch::Receiver<u64>) -> Result<(), Problem> {
    loop {
        changes.mark_unchanged();
        let state = blocking(door, Driver::look).await?.state;
        if state.job.is_none_or(|job| job.id != id) || changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Pours the body into the pipe, as fast as the hand takes it. A body that breaks off is an error, not an end.
async fn pour(pipe: &mut pipe::Sender, mut body: Body) -> Result<(), String> {
    loop {
        let frame = tokio::time::timeout(STALLED, body.frame()).await;
        let frame = frame.map_err(|_| format!("nothing came for {} s", STALLED.as_secs()))?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|e| format!("the client broke off: {e}"))?;
        if let Some(data) = frame.data_ref() {
            pipe.write_all(data).await.map_err(|e| e.to_string())?;
        }
    }
}
