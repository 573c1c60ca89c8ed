//! Finding a runner again: its result, its process, or neither.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use patchmesh_common::run::message::MAX_TEXT;

use super::{
    boot, process,
    runner::{CLAIM, Claim, Identity, OUTPUT, RESULT, RunnerResult},
};
use crate::store::durable;

/// How often a runner that is not our child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A package manager that prints nothing for so long may hang. It is not killed, but it is told.
const LONG_SILENCE: Duration = Duration::from_secs(5 * 60);
/// How long processes that a killed runner left in its session are waited for. A package manager among them still holds its
/// lock; a service that a maintainer script left there by mistake must not hold up the host for ever.
const ORPHANS_MAY_TAKE: Duration = Duration::from_secs(30 * 60);

/// What became of a runner.
#[derive(Debug)]
pub enum Adopted {
    /// It ended and left its result.
    Finished(RunnerResult),
    /// It, or what a killed runner left behind, still works.
    Running(Running),
    /// It started and is gone without a result.
    Dead,
    /// It never started, and from now on never will.
    NeverStarted,
}

/// A runner that still works.
#[derive(Debug)]
pub struct Running {
    folder: PathBuf,
    identity: Identity,
}

/// What became of the runner of `folder`. If none has claimed it, the claim is revoked for ever.
///
/// # Errors
/// The folder cannot be read or written; nothing was changed.
pub fn adopt(folder: &Path) -> io::Result<Adopted> {
    std::fs::create_dir_all(folder)?;
    let claim = folder.join(CLAIM);
    if durable::create_once(&claim, &serde_json::to_vec(&Claim::Revoked)?)? {
        return Ok(Adopted::NeverStarted);
    }
    let identity = match serde_json::from_slice(&std::fs::read(&claim)?)? {
        Claim::Revoked => return Ok(Adopted::NeverStarted),
        Claim::Runner(identity) => identity,
    };
    // The process first: a result that is written while we look is then found by the second look.
    let lives = lives(&identity)?;
    match std::fs::read(folder.join(RESULT)) {
        Ok(bytes) => Ok(Adopted::Finished(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if lives || orphans(&identity)? => Ok(Adopted::Running(Running { folder: folder.to_owned(), identity })),
        Err(_) => Ok(Adopted::Dead),
    }
}

impl Running {
    /// Waits for its end. Only `Finished` and `Dead` are left then.
    ///
    /// # Errors
    /// The folder or `/proc` cannot be read.
    pub async fn ended(self) -> io::Result<Adopted> {
        let mut orphaned = Duration::ZERO;
        while orphaned < ORPHANS_MAY_TAKE {
            match adopt(&self.folder)? {
                Adopted::Running(_) => {
                    if !lives(&self.identity)? {
                        orphaned += LOOK_EVERY;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                ended => return Ok(ended),
            }
        }
        Ok(Adopted::Dead)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }
}

fn lives(identity: &Identity) -> io::Result<bool> {
    if boot::kernel_boot_id()?.to_string() != identity.boot_id {
        return Ok(false);
    }
    Ok(process::stat(identity.pid).is_ok_and(|stat| !stat.ended && stat.start_time == identity.start_time))
}

/// Whether a killed runner left processes behind. A reused pid cannot lead the old session while that has members.
fn orphans(identity: &Identity) -> io::Result<bool> {
    Ok(boot::kernel_boot_id()?.to_string() == identity.boot_id
        && process::stat(identity.pid).map_or(true, |stat| stat.ended)
        && process::session_lives(identity.pid))
}

/// The tail of what the runner of `folder` printed: at most [`MAX_TEXT`] bytes, no control characters but line ends and tabs.
/// Empty if nothing can be read.
pub fn output(folder: &Path) -> String {
    tail(&folder.join(OUTPUT), MAX_TEXT as u64).unwrap_or_default()
}

/// The last whole or started line of that output that is not empty; and for how long nothing has been printed, if that is
/// long enough to wonder.
pub fn last_line(folder: &Path) -> String {
    let text = tail(&folder.join(OUTPUT), 512).unwrap_or_default();
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let printed = std::fs::metadata(folder.join(OUTPUT)).and_then(|meta| meta.modified()).ok();
    match printed.and_then(|at| at.elapsed().ok()).filter(|silent| *silent >= LONG_SILENCE) {
        // The progress of a run shows the beginning of it.
        Some(silent) => format!("nothing printed for {} min; last: {line}", silent.as_secs() / 60),
        None => line.to_owned(),
    }
}

fn tail(path: &Path, most: u64) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(printable(&bytes))
}

/// Lossy UTF-8 of at most [`MAX_TEXT`] bytes (the last ones), without control characters but line ends and tabs.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c == '\r' { '\n' } else { c })
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let from = text.len().saturating_sub(MAX_TEXT);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(claim: &Claim) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CLAIM), serde_json::to_vec(claim).unwrap()).unwrap();
        folder
    }

    fn identity(pid: u32) -> Identity {
        Identity {
            pid,
            start_time: process::stat(pid).map_or(0, |stat| stat.start_time),
            boot_id: boot::kernel_boot_id().unwrap().to_string(),
            argv_hash: String::new(),
        }
    }

    #[test]
    fn who_looks_first_revokes_and_it_stays_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run");
        assert!(matches!(adopt(&folder).unwrap(), Adopted::NeverStarted));
        assert!(matches!(adopt(&folder).unwrap(), Adopted::NeverStarted));
        assert!(!durable::create_once(&folder.join(CLAIM), b"{}").unwrap(), "a late runner finds it taken");
    }

    #[test]
    fn only_the_same_process_of_the_same_boot_is_running() {
        let own = identity(std::process::id());
        assert!(matches!(adopt(claimed(&Claim::Runner(own.clone())).path()).unwrap(), Adopted::Running(_)));
        let reused = Identity { start_time: own.start_time + 1, ..own.clone() };
        assert!(matches!(adopt(claimed(&Claim::Runner(reused)).path()).unwrap(), Adopted::Dead));
        let before = Identity { boot_id: "00".repeat(16), ..own };
        assert!(matches!(adopt(claimed(&Claim::Runner(before)).path()).unwrap(), Adopted::Dead));
    }

    #[test]
    fn output_is_capped_and_printable() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![b'x'; 3 * MAX_TEXT];
        bytes.extend(b"\xff\x1b[1mdone\r\nlast \x07line\n\n");
        std::fs::write(folder.path().join(OUTPUT), bytes).unwrap();
        let text = output(folder.path());
        assert!(
            text.len() <= MAX_TEXT && text.ends_with("\u{fffd}[1mdone\n\nlast line\n\n"),
            "{:?}",
            &text[text.len() - 40..]
        );
        assert_eq!(last_line(folder.path()), "last line");
        let past = std::time::SystemTime::now() - Duration::from_secs(7 * 60);
        std::fs::File::open(folder.path().join(OUTPUT)).unwrap().set_modified(past).unwrap();
        assert_eq!(last_line(folder.path()), "nothing printed for 7 min; last: last line");
        assert_eq!(output(Path::new("/nowhere")), "");
    }
}
