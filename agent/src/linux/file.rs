//! A file as a storage.
//!
//! Reads go to the medium: before each one the kernel is told to drop what it has cached of that range (dirty pages
//! stay; they are not durable yet and nobody reads back before a sync). On a real disk this is what `O_DIRECT` does;
//! a file on any file system can do this much.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, PosixFadviseAdvice, posix_fadvise};

use crate::device::Storage;

/// A regular file.
#[derive(Debug)]
pub struct FileStorage {
    file: Held,
    grows: bool,
}

#[derive(Debug)]
enum Held {
    Plain(File),
    Locked(Flock<File>),
}

impl Held {
    fn file(&self) -> &File {
        match self {
            Self::Plain(file) => file,
            Self::Locked(lock) => lock,
        }
    }
}

impl FileStorage {
    /// Opens a file that must exist, for reading.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Held::Plain(OpenOptions::new().read(true).open(path)?), grows: false })
    }

    /// Opens a file that must exist and keeps its length.
    pub fn fixed(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file: Held::Plain(file), grows: false })
    }

    /// The same, for this process alone.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { file: Held::Locked(lock), grows: false }),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another upgrade-agent holds it"))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Opens or makes a file that may grow, readable by its owner only.
    pub fn growing(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let made = !path.exists();
        let file = options.open(path)?;
        if made && let Some(parent) = path.parent() {
            // The new name is durable only with its directory.
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { file: Held::Plain(file), grows: true })
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.file().metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.file.file();
        if let (Ok(at), Ok(len)) = (i64::try_from(offset), i64::try_from(bytes.len())) {
            // Only advice: a file system that ignores it answers from its cache.
            let _ = posix_fadvise(file, at, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if !self.grows && end.is_none_or(|end| self.len().is_ok_and(|len| end > len)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a write past the end"));
        }
        self.file.file().write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.file().sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.grows {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "its length is fixed"));
        }
        self.file.file().set_len(len)
    }
}
