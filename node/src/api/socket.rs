//! A unix socket for its owner only.

use std::{
    io,
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::net::UnixListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Why a socket was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another service answers on {}", .0.display())]
    InUse(PathBuf),
    /// The system said no.
    #[error("cannot {what} the API socket {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SocketError {
    /// What the system said.
    pub fn into_cause(self) -> io::Error {
        match self {
            Self::InUse(_) => io::ErrorKind::AddrInUse.into(),
            Self::Io { source, .. } => source,
        }
    }
}

/// Opens a socket at `path`, readable by its owner only. That of a service that is gone is replaced; one on which somebody
/// answers is not. Call it on a tokio runtime.
///
/// # Errors
/// [`SocketError`].
pub fn open(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |what, source| SocketError::Io { what, path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed("create the folder of", error))?;
    }
    match StdStream::connect(path) {
        Ok(_) => return Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A file that is no socket refuses too, and is somebody's.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            std::fs::remove_file(path).map_err(|error| failed("replace the stale", error))?;
        }
        Err(error) => return Err(failed("look at", error)),
    }
    listener(path).map_err(|error| failed("open", error))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn listener(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name: bind takes the mode over, so that there is no moment in which others could connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    UnixListener::from_std(StdListener::from(socket))
}
