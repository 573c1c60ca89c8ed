//! Two states are one if they differ only in what has no meaning: absolute times, the names of drawn ids, prose.
//!
//! [`Recorder`] is a hasher that keeps what it is fed as [`Token`]s; [`Canon`] folds tokens into a fingerprint in which
//! times are ages, and ids are numbered in the order in which they are met.

use core::{
    hash::{Hash, Hasher},
    time::Duration,
};

use patchmesh_common::time::{BootTime, Now};

use crate::setup::{BOOT_BASE, DRAWN, WALL_BASE};

/// Ages above this are one: only a `Ready` is judged by its age, and this is too old.
pub(crate) const OLD: u32 = 11_000;
/// Deadlines further ahead than this are one: the longest pause between two reports is 30 s.
const FAR: i64 = 70_000;

/// One piece of a record; 16 bytes, because there are very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// As it is.
    Word(u64),
    /// Possibly the number of an act: counts are drawn names in disguise.
    Count(u64),
    /// Whole seconds of a duration.
    Pause(u64),
    /// A point of boot time.
    Boot(u64),
    /// A point of boot time whose age decides nothing above a limit in milliseconds.
    Since(u64, u32),
    /// A deadline by boot time, which decides nothing once it is over.
    Until(u64),
    /// A point of wall time. It is judged only by how the clock was set since.
    Wall(i64),
    /// A drawn id.
    Id(u64),
    /// A drawn id that is only remembered, with so many tokens that mean something only if it is met elsewhere.
    Past(u64, u32),
}

/// The meaning of one machine or message, before the present is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Vec<Token>);

impl Recorder {
    pub(crate) fn of(record: impl FnOnce(&mut Self)) -> Self {
        let mut recorder = Self::default();
        record(&mut recorder);
        recorder
    }

    /// A time whose age decides nothing above `most`.
    pub(crate) fn since(&mut self, at: BootTime, most: Duration) {
        self.0.push(Token::Since(at.0, most.as_millis() as u32));
    }

    /// A deadline.
    pub(crate) fn until(&mut self, at: BootTime) {
        self.0.push(Token::Until(at.0));
    }

    /// What is known of an id, and means something only if the id is met elsewhere.
    pub(crate) fn past(&mut self, id: [u8; 16], known: impl FnOnce(&mut Self)) {
        let known = Self::of(known).0;
        self.0.push(Token::Past(name(id), known.len() as u32));
        self.0.extend(known);
    }

    /// Forgets the timers of a run that is over. What stands right behind a wall time is the moment of a `Ready`.
    pub(crate) fn rest(&mut self) {
        for at in 0..self.0.len() {
            self.0[at] = match self.0[at] {
                Token::Boot(ready) if at > 0 && matches!(self.0[at - 1], Token::Wall(_)) => Token::Since(ready, OLD),
                Token::Boot(_) | Token::Pause(_) => Token::Word(0),
                other => other,
            };
        }
    }

    /// `whole` without the neighbouring `parts`, wherever they stand in it.
    pub(crate) fn without(whole: &impl Hash, parts: &impl Hash) -> Self {
        let (mut all, parts) = (Self::of(|r| whole.hash(r)).0, Self::of(|r| parts.hash(r)).0);
        let at = all.windows(parts.len()).position(|window| window == parts);
        let at = at.expect("the fields to leave out are neighbours, in this order");
        all.drain(at..at + parts.len());
        Self(all)
    }
}

impl Hasher for Recorder {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        let token = match <[u8; 16]>::try_from(bytes) {
            Ok(id) if id[0] == DRAWN => Token::Id(name(id)),
            // Prose.
            _ if bytes.contains(&b' ') => Token::Word(u64::from(b' ')),
            _ => Token::Word(bytes.iter().fold(bytes.len() as u64, |hash, byte| mix(hash, u64::from(*byte)))),
        };
        self.0.push(token);
    }

    fn write_u8(&mut self, value: u8) {
        self.0.push(Token::Word(u64::from(value)));
    }

    fn write_u32(&mut self, value: u32) {
        // Whole seconds before a fraction are a duration, not a count.
        if let Some(last) = self.0.last_mut()
            && let Token::Count(seconds) = *last
        {
            *last = Token::Pause(seconds);
        }
        self.0.push(Token::Word(u64::from(value)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0.push(match value {
            0 | 1_000..BOOT_BASE => Token::Word(value),
            1..1_000 => Token::Count(value),
            _ => Token::Boot(value),
        });
    }

    fn write_i64(&mut self, value: i64) {
        let wall = value.abs_diff(WALL_BASE) < BOOT_BASE;
        self.0.push(if wall { Token::Wall(value) } else { Token::Word(value as u64) });
    }

    fn write_usize(&mut self, value: usize) {
        self.0.push(Token::Word(value as u64));
    }

    fn write_isize(&mut self, value: isize) {
        self.0.push(Token::Word(value as u64));
    }
}

/// Folds records into a fingerprint.
#[derive(Default)]
pub(crate) struct Canon {
    hash: u64,
    ids: Vec<u64>,
}

impl Canon {
    pub(crate) fn word(&mut self, value: u64) {
        self.hash = mix(self.hash, value);
    }

    /// As seen at `now` by whom the record is about.
    pub(crate) fn record(&mut self, record: &Recorder, now: Now) {
        let mut counts = Vec::new();
        let mut tokens = record.0.iter();
        while let Some(token) = tokens.next() {
            let word = match *token {
                Token::Word(value) | Token::Pause(value) => value,
                Token::Count(value) => place(&mut counts, value),
                Token::Boot(at) => (now.boot.0 as i64 - at as i64).clamp(-FAR, i64::from(OLD)) as u64,
                Token::Since(at, most) => now.boot.0.saturating_sub(at).min(u64::from(most)),
                Token::Until(at) => at.saturating_sub(now.boot.0),
                Token::Wall(at) => (now.wall.0 - at).rem_euclid(1000) as u64,
                Token::Id(id) => place(&mut self.ids, id),
                Token::Past(id, known) => match self.ids.iter().position(|met| *met == id) {
                    Some(place) => 1_000 + place as u64,
                    None => {
                        tokens = tokens.as_slice()[known as usize..].iter();
                        continue;
                    }
                },
            };
            self.word(word);
        }
    }

    /// Ids that are only remembered, as a set: those that were met.
    pub(crate) fn remembered<'a>(&mut self, ids: impl IntoIterator<Item = &'a [u8; 16]>) {
        let places = ids.into_iter().filter_map(|id| self.ids.iter().position(|met| *met == name(*id)));
        let set = places.fold(0, |set, place| set | 1_u64 << place.min(63));
        self.word(set);
    }

    pub(crate) fn finish(&self) -> u64 {
        mix(self.hash, self.hash >> 32)
    }
}

/// A drawn id, shortened.
fn name(id: [u8; 16]) -> u64 {
    id.iter().fold(0, |name, byte| mix(name, u64::from(*byte)))
}

/// Where `name` was first met.
fn place<T: PartialEq>(names: &mut Vec<T>, name: T) -> u64 {
    let known = names.iter().position(|known| *known == name);
    let at = known.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    at as u64
}

fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(value ^ 0xe703_7ed1_a0b4_28db | 1);
    ((product >> 64) as u64 ^ product as u64).wrapping_add(value.rotate_left(23)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}
