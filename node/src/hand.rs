//! The message in hand: its name is in a file while it is handled, so that the next life of the process learns what the last
//! one died of. What follows from that is decided in [`patchmesh_common::poison`].
//!
//! The name has to outlive the process, not the machine: a machine that lost its power did not die of a message. So a mark is
//! one `write` into the page cache, without fsync, into blocks that the file already has; it costs about a microsecond, and the
//! kernel brings at most one page to the disk every half minute, however many messages come.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use patchmesh_common::{
    id::BootId,
    poison::{Abort, MAX_IN_HAND, Name, Poison, Standing},
    time::{Now, WallTime},
    wire::{self, Malformed},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    host::boot::kernel_boot_id,
    store::{durable, lock::Locked},
};

/// What is in hand. Boot id (16), whether a panic ended the process (1), then for the actors' thread and for the mesh's how many
/// names (1) and the names.
const IN_HAND: &str = "in-hand";
/// The deaths that are remembered.
const ABORTS: &str = "aborts.json";
const PANICKED: u64 = 16;
const ACTORS: usize = 17;
const NAME: usize = 32;
const MESH: usize = ACTORS + 1 + NAME * MAX_IN_HAND;
/// The whole file: no mark needs a block that a full disk might refuse.
const SIZE: usize = MESH + 1 + NAME;
/// Longest pause before a start that follows an abort: a fleet that died of the same message does not come back as one.
const JITTER: Duration = Duration::from_secs(10);

/// The file of this process, for the panic hook.
static MARK: OnceLock<Arc<Locked>> = OnceLock::new();

/// One remembered death, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    at: String,
    in_hand: Vec<String>,
}

/// Marks what is in hand, and knows what earlier lives died of.
#[derive(Debug)]
pub struct Hand {
    /// `None` where nothing is kept between lives.
    file: Option<Arc<Locked>>,
    poison: Poison,
    aborted: bool,
    told: Mutex<BTreeSet<Name>>,
}

/// While it lives, a message is in hand.
#[derive(Debug)]
#[must_use = "the message is in hand only while this lives"]
pub struct Held<'a>(&'a Hand, usize);

/// Why a hand cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: it could not be remembered what this process dies of; nothing was started", path.display())]
pub struct HandError {
    path: PathBuf,
    source: io::Error,
}

impl Hand {
    /// A hand that marks nothing, for a process that keeps nothing between its lives.
    pub fn empty() -> Self {
        Self { file: None, poison: Poison::default(), aborted: false, told: Mutex::default() }
    }

    /// Reads in the folder `state` what the last life left, and remembers it if it was an abort. Where another process lives on
    /// the same folder this is [`Hand::empty`]: the lock of a journal will name that process.
    ///
    /// # Errors
    /// [`HandError`] names the file that cannot be read. What cannot be understood in it, or written, is no error: it is forgotten,
    /// and said.
    pub fn open(state: &Path, now: Now) -> Result<Self, HandError> {
        let (path, memory) = (state.join(IN_HAND), state.join(ABORTS));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HandError { path, source }
        };
        let boot = kernel_boot_id().map_err(failed(&path))?;
        let mut poison = Poison::fold(remembered(&memory).map_err(failed(&memory))?);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed(&path))?;
        let Some(file) = Locked::take(file).map_err(failed(&path))? else { return Ok(Self::empty()) };
        let left = left(&file, boot, now.wall).map_err(failed(&path))?;
        let aborted = left.is_some();
        if let Some(abort) = left {
            say(&abort);
            poison.push(abort);
            let stored = serde_json::to_vec(&poison.aborts().map(line).collect::<Vec<_>>()).map_err(io::Error::other);
            // A full disk is no reason to stay away: what was found still holds for this life.
            if let Err(error) = stored.and_then(|bytes| durable::write(&memory, &bytes)) {
                tracing::error!(%error, file = %memory.display(), "this abort will be forgotten");
            }
        }
        let mut fresh = vec![0; SIZE];
        fresh[..16].copy_from_slice(&boot.0);
        let file = match file.write_all_at(&fresh, 0) {
            Ok(()) => Some(Arc::new(file)),
            Err(error) => {
                tracing::error!(%error, file = %path.display(), "an abort of this process would not be remembered");
                None
            }
        };
        if let Some(until) = poison.safe_until(now.wall) {
            tracing::error!(
                until = until.rfc3339(),
                "safe mode: it aborted three times in ten minutes; no record of others is believed, no lease taken or granted, \
                 STOPs and reports go on"
            );
        }
        Ok(Self { file, poison, aborted, told: Mutex::default() })
    }

    /// From now on a panic of this process is remembered, also one without a message in hand. Once per process.
    pub fn watch_panics(&self) {
        if let Some(file) = &self.file {
            // A second hand of the same process changes nothing.
            let _ = MARK.set(Arc::clone(file));
        }
    }

    /// What is remembered of deaths.
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Whether the last life ended in an abort: what it kept may be what it died of.
    pub fn aborted(&self) -> bool {
        self.aborted
    }

    /// How long to wait before joining the mesh, by `chance`. The unit cannot: Debian's systemd (252 and 257) has no randomised
    /// restarts.
    pub fn pause(&self, chance: u64) -> Duration {
        let most = u64::try_from(JITTER.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(if self.aborted { chance % most } else { 0 })
    }

    /// Whether safe mode is on.
    pub fn is_safe(&self, now: WallTime) -> bool {
        self.poison.safe_until(now).is_some()
    }

    /// Marks `names` as in the actors' hand until the answer is dropped. Never twice at once: all actors have one thread.
    pub fn hold(&self, names: &[Name]) -> Held<'_> {
        self.take(ACTORS, &names[..names.len().min(MAX_IN_HAND)])
    }

    /// Decodes what came over the wire, with its name in the mesh's hand; `None` if it is quarantined. The mesh has one thread of
    /// its own.
    pub fn read<T: DeserializeOwned>(&self, bytes: &[u8], limit: usize) -> Option<Result<T, Malformed>> {
        let name = Name::of_bytes(bytes);
        if self.poison.standing(&name) == Standing::Quarantined {
            self.tell_dropped(&[name]);
            return None;
        }
        let _held = self.take(MESH, &[name]);
        Some(wire::decode(bytes, limit))
    }

    fn take(&self, place: usize, names: &[Name]) -> Held<'_> {
        let mut bytes = Vec::with_capacity(1 + names.len() * NAME);
        bytes.push(u8::try_from(names.len()).unwrap_or(u8::MAX));
        names.iter().for_each(|name| bytes.extend_from_slice(&name.0));
        self.mark(place, &bytes);
        Held(self, place)
    }

    /// Says, the first time for each, that messages were dropped.
    pub fn tell_dropped(&self, names: &[Name]) {
        // A name that was not noted is told twice, no worse.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            match told.insert(*name) {
                true => tracing::warn!(
                    message = %name,
                    "message dropped unread: this process died twice over it; `{ABORTS}` in its state folder remembers it"
                ),
                false => tracing::debug!(message = %name, "message dropped unread again"),
            }
        }
    }

    /// Nothing is in hand any more: what was decided is about to be saved, and a disk that is slow or full is no message's fault.
    pub fn put_down(&self) {
        self.mark(ACTORS, &[0]);
    }

    fn mark(&self, place: usize, bytes: &[u8]) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(bytes, place as u64)) {
            tracing::warn!(%error, "what is in hand cannot be marked: an abort over it would not be remembered");
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A process that unwinds dies of what it holds.
        if !std::thread::panicking() {
            self.0.mark(self.1, &[0]);
        }
    }
}

/// For the panic hook: the process is about to abort.
pub(crate) fn note_panic() {
    if let Some(file) = MARK.get() {
        // It dies either way.
        let _ = file.write_all_at(&[1], PANICKED);
    }
}

/// The abort that the last life left in `file`, if it was of this boot.
fn left(file: &File, boot: BootId, now: WallTime) -> io::Result<Option<Abort>> {
    let mut bytes = Vec::with_capacity(SIZE);
    file.take(SIZE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() != SIZE || bytes[..16] != boot.0 {
        return Ok(None);
    }
    let names = |at: usize, end: usize| {
        let count = usize::from(bytes[at]);
        bytes[at + 1..end].chunks_exact(NAME).take(count).filter_map(|name| name.try_into().ok().map(Name))
    };
    let in_hand: Vec<_> = names(ACTORS, MESH).chain(names(MESH, SIZE)).collect();
    if in_hand.is_empty() && bytes[PANICKED as usize] == 0 {
        return Ok(None);
    }
    // The last write was the mark, or the panic's.
    let written = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = WallTime::default().plus(written).min(now);
    Ok(Some(Abort { at, in_hand }))
}

fn say(abort: &Abort) {
    let names: Vec<_> = abort.in_hand.iter().map(Name::to_string).collect();
    let at = abort.at.rfc3339();
    tracing::error!(at, in_hand = names.join(" "), "the last life of this process aborted");
}

fn line(abort: &Abort) -> Line {
    Line { at: abort.at.rfc3339_millis(), in_hand: abort.in_hand.iter().map(Name::to_string).collect() }
}

fn remembered(path: &Path) -> io::Result<Vec<Abort>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let abort = |line: Line| {
        let in_hand = line.in_hand.iter().map(|name| Name::parse(name)).collect::<Option<_>>()?;
        Some(Abort { at: WallTime::parse(&line.at)?, in_hand })
    };
    let lines: Option<Vec<Line>> = serde_json::from_slice(&text).ok();
    Ok(lines.and_then(|lines| lines.into_iter().map(abort).collect()).unwrap_or_else(|| {
        tracing::warn!(file = %path.display(), "earlier aborts are forgotten: the file is not what it was");
        Vec::new()
    }))
}

#[cfg(test)]
mod tests {
    use patchmesh_common::poison::Standing;

    use super::*;
    use crate::clock;

    fn name(n: u8) -> Name {
        Name([n; 32])
    }

    /// A life that ends while `names` are in hand.
    fn dies(state: &Path, names: &[Name]) {
        let hand = Hand::open(state, clock::now()).unwrap();
        std::mem::forget(hand.hold(names));
    }

    #[test]
    fn what_was_handled_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        let hand = Hand::open(state.path(), clock::now()).unwrap();
        drop(hand.hold(&[name(1)]));
        let next = Hand::open(state.path(), clock::now()).unwrap();
        assert!(!next.aborted() && next.poison().aborts().len() == 0);
        assert_eq!(next.pause(77), Duration::ZERO);
    }

    #[test]
    fn two_deaths_over_one_message_are_remembered_by_every_later_life() {
        let state = tempfile::tempdir().unwrap();
        dies(state.path(), &[name(1), name(2)]);
        dies(state.path(), &[name(2)]);
        for life in 0..2 {
            let hand = Hand::open(state.path(), clock::now()).unwrap();
            assert_eq!(hand.aborted(), life == 0, "an abort is counted once");
            assert_eq!(hand.poison().standing(&name(2)), Standing::Quarantined);
            assert_eq!(hand.poison().standing(&name(1)), Standing::Suspect);
            assert!(!hand.is_safe(clock::now().wall));
        }
    }

    #[test]
    fn the_third_death_is_safe_mode_and_starts_are_spread() {
        let state = tempfile::tempdir().unwrap();
        (1..=3).for_each(|n| dies(state.path(), &[name(n)]));
        let hand = Hand::open(state.path(), clock::now()).unwrap();
        assert!(hand.is_safe(clock::now().wall) && hand.poison().quarantined().is_empty());
        assert_eq!([7, 10_007, 9999].map(|chance| hand.pause(chance).as_millis()), [7, 7, 9999]);
    }

    #[test]
    fn what_kills_its_decoder_is_not_decoded_a_third_time() {
        let state = tempfile::tempdir().unwrap();
        let bytes = wire::encode(&7u32);
        for _ in 0..2 {
            let hand = Hand::open(state.path(), clock::now()).unwrap();
            assert_eq!(hand.read::<u32>(&bytes, 8), Some(Ok(7)));
            std::mem::forget(hand.take(MESH, &[Name::of_bytes(&bytes)]));
        }
        let hand = Hand::open(state.path(), clock::now()).unwrap();
        assert!(hand.read::<u32>(&bytes, 8).is_none());
        assert_eq!(hand.read::<u32>(&wire::encode(&8u32), 8), Some(Ok(8)));
    }

    #[test]
    fn a_second_process_takes_nothing_from_the_first() {
        let state = tempfile::tempdir().unwrap();
        let first = Hand::open(state.path(), clock::now()).unwrap();
        let held = first.hold(&[name(1)]);
        let second = Hand::open(state.path(), clock::now()).unwrap();
        assert!(!second.aborted());
        drop(held);
        drop(first);
        assert!(!Hand::open(state.path(), clock::now()).unwrap().aborted());
    }

    #[test]
    fn another_boot_did_not_die_of_a_message() {
        let state = tempfile::tempdir().unwrap();
        dies(state.path(), &[name(1)]);
        let path = state.path().join(IN_HAND);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(!Hand::open(state.path(), clock::now()).unwrap().aborted());
    }

    #[test]
    fn rubbish_in_its_files_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(IN_HAND), "short").unwrap();
        fs::write(state.path().join(ABORTS), "[{\"at\":\"now\",\"inHand\":[]}]").unwrap();
        assert_eq!(Hand::open(state.path(), clock::now()).unwrap().poison().aborts().len(), 0);
    }

    #[test]
    fn a_full_hand_is_read_back_whole() {
        let state = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..=u8::try_from(MAX_IN_HAND).unwrap()).map(name).collect();
        dies(state.path(), &names);
        let hand = Hand::open(state.path(), clock::now()).unwrap();
        assert_eq!(hand.poison().aborts().next().unwrap().in_hand, names[..MAX_IN_HAND]);
        assert_eq!(fs::metadata(state.path().join(IN_HAND)).unwrap().len(), SIZE as u64);
    }
}
