//! Talking to the service: HTTP over its unix socket, and handing over an open file.

use std::io::{BufRead, BufReader, IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bundle_format::BundleName;
use flow::Goal;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::CommandError;
use crate::door::file::{Answer, Ask};
use crate::door::view::{Problem, Taken};

/// The longest answer that is read: a whole history fits many times.
const MAX_ANSWER: usize = 4 << 20;

/// The service answers a handed file at once; reading it comes later.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("the service does not answer at {path}: {source}")]
    Connect { path: PathBuf, source: std::io::Error },
    #[error("the connection to the service broke: {0}")]
    Broke(String),
    #[error("the service answered something else than expected: {0}")]
    Answer(String),
}

impl ClientError {
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Connect { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                "only root and members of the group upgrade may".to_owned()
            }
            Self::Connect { .. } => {
                "is it running? systemctl status upgrade-agent; or name its socket with --socket"
                    .to_owned()
            }
            Self::Broke(_) | Self::Answer(_) => {
                "upgrade status shows whether it is back".to_owned()
            }
        }
    }
}

/// A client of one service.
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Reads a resource.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandError> {
        parse(&whole(self.request(Method::GET, path, Vec::new()).await?).await?)
    }

    /// Gives a command that needs no more than its name.
    pub(super) async fn command(&self, path: &str) -> Result<Option<u64>, CommandError> {
        let taken: Taken =
            parse(&whole(self.request(Method::POST, path, Vec::new()).await?).await?)?;
        Ok(taken.id)
    }

    /// Gives a command with a body.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Option<u64>, CommandError> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::Answer(e.to_string()))?;
        let taken: Taken = parse(&whole(self.request(Method::POST, path, body).await?).await?)?;
        Ok(taken.id)
    }

    /// Lets a resource go.
    pub(super) async fn delete(&self, path: &str) -> Result<(), CommandError> {
        whole(self.request(Method::DELETE, path, Vec::new()).await?).await.map(drop)
    }

    /// A resource as a stream of server-sent events.
    pub(super) async fn watch(&self) -> Result<Events, CommandError> {
        let answer = self.request(Method::GET, "/status?watch", Vec::new()).await?;
        Ok(Events { body: answer.into_body(), left: Vec::new() })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, CommandError> {
        let connect = |source| ClientError::Connect { path: self.socket.clone(), source };
        let broke = |e: hyper::Error| ClientError::Broke(e.to_string());
        let stream = UnixStream::connect(&self.socket).await.map_err(connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        // It ends with the connection; its error reaches us through the answer.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "upgrade-agent")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| ClientError::Answer(e.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broke)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = collect(answer).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(CommandError::Problem(problem)),
            Err(_) => Err(ClientError::Answer(format!("HTTP {status}")).into()),
        }
    }

    /// Hands an open bundle over and gives back the number of the job.
    pub(super) fn hand_over(
        &self,
        path: &Path,
        goal: Goal,
        force: &[String],
        no_auto_cancel: bool,
    ) -> Result<Option<u64>, CommandError> {
        let name = BundleName::of_path(path)?.to_string();
        let file = super::open_regular(path)?;
        let socket = self.socket.with_file_name("file.sock");
        let stream = StdUnixStream::connect(&socket)
            .map_err(|source| ClientError::Connect { path: socket.clone(), source })?;
        let broke = |e: std::io::Error| ClientError::Broke(e.to_string());
        stream.set_read_timeout(Some(PATIENCE)).map_err(broke)?;
        let ask = Ask { goal, name, force: force.to_vec(), no_auto_cancel };
        let mut line = serde_json::to_vec(&ask).map_err(|e| ClientError::Answer(e.to_string()))?;
        line.push(b'\n');
        let files = [file.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&files)];
        let sent = sendmsg::<UnixAddr>(
            stream.as_raw_fd(),
            &[IoSlice::new(&line)],
            &control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|e| ClientError::Broke(e.to_string()))?;
        if sent != line.len() {
            return Err(ClientError::Broke(
                "the service took only a part of the request".to_owned(),
            )
            .into());
        }
        let mut answer = String::new();
        BufReader::new(stream.take(MAX_ANSWER as u64)).read_line(&mut answer).map_err(broke)?;
        match serde_json::from_str::<Answer>(&answer) {
            Ok(Answer::Taken(taken)) => Ok(taken.id),
            Ok(Answer::Problem(problem)) => Err(CommandError::Problem(problem)),
            Err(_) => Err(ClientError::Broke(
                "the service closed the connection without an answer".to_owned(),
            )
            .into()),
        }
    }
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes, CommandError> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    Ok(body.map_err(|e| ClientError::Broke(e.to_string()))?.to_bytes())
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, CommandError> {
    collect(answer).await
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, CommandError> {
    serde_json::from_slice(body).map_err(|e| ClientError::Answer(e.to_string()).into())
}

/// Server-sent events (HTML standard, section 9.2): only `data:` lines matter here, one a status.
pub(super) struct Events {
    body: Incoming,
    left: Vec<u8>,
}

impl Events {
    /// The next event's data; none when the service ended the stream.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            while let Some(end) = self.left.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.left.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data:")
                    && let Ok(status) = serde_json::from_slice(data)
                {
                    return Some(status);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.left.extend_from_slice(data);
            }
            if self.left.len() > MAX_ANSWER {
                return None;
            }
        }
    }
}
