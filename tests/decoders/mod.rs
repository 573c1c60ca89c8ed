//! Every decoder and every machine that takes bytes from outside, each behind a function that takes any bytes: none may panic,
//! and what comes out must be true. Fuzzers call them with what they invent, the test suite with the corpus.

mod baselines;
mod host;
mod machines;
mod windows;
mod wire;

/// A name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them; `tests/fuzz` has a program of the same name for each, and `tests/fuzz/corpus` a folder.
pub const TARGETS: [Target; 16] = [
    ("wire", wire::messages),
    ("journal", machines::journal),
    ("ledger", machines::ledger),
    ("dpkg_status", host::dpkg_status),
    ("apt_index", host::apt_index),
    ("apt_output", host::apt_output),
    ("log_file", host::log_file),
    ("lease", machines::lease),
    ("gossip", machines::gossip),
    ("config", host::config),
    ("versions", host::versions),
    ("baseline", baselines::baseline),
    ("overrides", baselines::overrides),
    ("inventory", baselines::inventory),
    ("snapshot", baselines::snapshot),
    ("window", windows::window),
];

/// Feeds `bytes` to the target `name`.
///
/// # Panics
/// If there is none of that name, or the target does: then the bytes show a bug.
#[expect(clippy::panic, reason = "panicking is what this is for")]
pub fn feed(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => target(bytes),
        None => panic!("there is no decoder `{name}`"),
    }
}

/// Splits `bytes` into pieces: two bytes of length, little-endian, before each. The last may be shorter than it says.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        bytes = rest;
        Some(piece)
    })
}
