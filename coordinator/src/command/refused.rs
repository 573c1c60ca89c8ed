//! Verbs and kinds that the design names and that are not built yet: refused by name, with what to use instead.

use std::ffi::OsString;

use crate::fault::{Exit, Fault};

/// Verb, and what to use instead.
const VERBS: [(&str, &str); 4] = [
    ("simulate", "use patchmesh plan -f FILE, which changes nothing"),
    ("diff", "use patchmesh plan -f FILE"),
    ("token", "use patchmesh mesh sign with the owner key"),
    ("join", "use patchmesh mesh sign with the owner key"),
];

/// Longest echo of what was typed, in characters.
const MAX_ECHO: usize = 60;

/// The fault for a verb that is not there.
pub fn verb(words: &[OsString]) -> Fault {
    let word = words.first().map(|word| word.to_string_lossy().chars().take(MAX_ECHO).collect::<String>());
    let word = word.unwrap_or_default();
    match VERBS.iter().find(|(verb, _)| *verb == word) {
        Some((verb, instead)) => Fault::not_built(&format!("the verb {verb}"), instead),
        None => Fault::new("usage", format!("there is no verb {word:?}"), "nothing was done", "see patchmesh --help")
            .exit(Exit::Usage),
    }
}

/// The fault for a kind that `verb` does not know: `built` are those that it knows, `to_come` those that it will know.
pub fn kind(verb: &str, words: &[OsString], built: &str, to_come: &[(&str, &str)]) -> Fault {
    let word = words.first().map(|word| word.to_string_lossy().chars().take(MAX_ECHO).collect::<String>());
    let word = word.unwrap_or_default();
    match to_come.iter().find(|(kind, _)| *kind == word) {
        Some((kind, instead)) => Fault::not_built(&format!("{verb} {kind}"), instead),
        None => Fault::new(
            "usage",
            format!("{verb} knows no kind {word:?}"),
            "nothing was done",
            format!("use patchmesh {verb} {built}"),
        )
        .exit(Exit::Usage),
    }
}
