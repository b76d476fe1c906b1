//! The doors: how people and programs come in.
//!
//! Two sockets in the service's run directory: `api.sock` speaks REST ([`rest`]), `file.sock` takes an open file
//! ([`mod@file`]), so that root never opens a path for somebody else and a client may go once it handed the file over.
//! [`view`] is what all doors show; it is a type of its own, because the journal's form belongs to the agent alone.
//!
//! Invariants: a door never decides; it asks the driver and shows its answer. A slow, huge or vanished client costs a
//! bounded amount of memory and never holds up the upgrade. Which door a command came through does not matter to the
//! machine, but who asked is written into the history.

pub mod file;
pub mod rest;
pub mod view;

use std::path::Path;

/// The longest path a unix socket can have, in bytes (`sun_path` of unix(7), less its final zero).
pub const MAX_SOCKET_PATH: usize = 107;

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The kernel's limit for the paths of sockets.
    #[error(
        "{path} has {len} bytes, a socket's path may have {MAX_SOCKET_PATH}; use a shorter directory"
    )]
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        len: usize,
    },
    /// Another service answers there.
    #[error("another upgrade-agent serves {0} already")]
    Taken(String),
    /// The socket cannot be made.
    #[error("cannot make {path}: {source}")]
    Socket {
        /// The path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Binds a unix socket for its owner and group. One that a dead service left behind is replaced, one that answers is not.
pub fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, DoorError> {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    let shown = path.display().to_string();
    if shown.len() > MAX_SOCKET_PATH {
        return Err(DoorError::TooLong { len: shown.len(), path: shown });
    }
    if UnixStream::connect(path).is_ok() {
        return Err(DoorError::Taken(shown));
    }
    let failed = |source| DoorError::Socket { path: shown.clone(), source };
    #[expect(
        clippy::disallowed_methods,
        reason = "a dead service's socket stands in the way of its successor"
    )]
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
