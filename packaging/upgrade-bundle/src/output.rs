//! A file that appears under its name only when it is whole and on disk.
//!
//! The bytes go to a file without a name (`O_TMPFILE`), which is synced, given its name, and the
//! directory synced. A full disk, Ctrl-C or even `kill -9` therefore leaves nothing behind: the
//! kernel frees what has no name. Where a file system lacks `O_TMPFILE` a hidden temporary name is
//! used instead, removed on every failure but not when the process is killed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

use crate::failure::Failure;

/// A file on its way to a name.
#[derive(Debug)]
pub struct Output {
    file: File,
    temporary: Option<TempPath>,
    directory: PathBuf,
}

impl Output {
    /// A file in this directory, without its name yet.
    pub fn new(directory: &Path) -> Result<Self, Failure> {
        let mode = Mode::from_raw_mode(0o644);
        let unnamed = open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode);
        let (file, temporary) = match unnamed {
            Ok(file) => (File::from(file), None),
            // The second is how kernels and file systems that do not know O_TMPFILE see it: an attempt to write a
            // directory.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let named = NamedTempFile::new_in(directory)
                    .map_err(Failure::file("create a file in", directory))?;
                let (file, path) = named.into_parts();
                (file, Some(path))
            }
            Err(e) => return Err(Failure::file("create a file in", directory)(e.into())),
        };
        Ok(Self { file, temporary, directory: directory.to_owned() })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs it and gives it its name. With `replace` a file of that name is replaced at once.
    pub fn publish(self, name: &str, replace: Replace) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        let write = Failure::file("write", &path);
        self.file.set_permissions(Permissions::from_mode(0o644)).map_err(&write)?;
        self.file.sync_all().map_err(&write)?;
        let aside = self.directory.join(format!(".{name}.new"));
        let first = match replace {
            Replace::No => &path,
            Replace::Yes => {
                remove_if_there(&aside).map_err(Failure::file("remove", &aside))?;
                &aside
            }
        };
        link(&self.file, self.temporary, first).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Failure::BundleExists { path: path.clone() },
            _ => write(e),
        })?;
        if replace == Replace::Yes {
            rename(&aside, &path).map_err(&write)?;
        }
        sync_directory(&path)?;
        Ok(path)
    }
}

/// Whether a file of the same name may be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replace {
    /// It may not.
    No,
    /// It is replaced.
    Yes,
}

/// Gives the file a name; never replaces one.
fn link(file: &File, temporary: Option<TempPath>, path: &Path) -> io::Result<()> {
    if let Some(temporary) = temporary {
        // A file system without `O_TMPFILE`, say on a USB stick, often has no hard links either.
        return temporary.persist_noclobber(path).map_err(|e| e.error);
    }
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, unnamed.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the maker runs on a build host, not on a device")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

#[expect(clippy::disallowed_methods, reason = "the maker runs on a build host, not on a device")]
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes a new name in the directory of this file durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Failure> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(Failure::file("sync", directory))
}
