//! What `/proc` says about a process.

use std::io;

/// The fields of `/proc/PID/stat` that tell processes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Ended, and not yet reaped.
    pub(super) ended: bool,
    /// The session, which is the pid of its leader.
    pub(super) session: u32,
    /// Clock ticks after boot.
    pub(super) start_time: u64,
}

/// # Errors
/// There is no such process, or `/proc` is not mounted.
pub(super) fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: {text:?}")))
}

/// Whether any process of `session` lives.
pub(super) fn session_lives(session: u32) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| stat(pid).ok())
        .any(|stat| stat.session == session && !stat.ended)
}

/// The name, in brackets, may hold anything: everything is counted from the last bracket.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        ended: matches!(field(3)?, "Z" | "X"),
        session: field(6)?.parse().ok()?,
        start_time: field(22)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_skipped() {
        let text = "7 (a ) Z 1) S 1 7 9 0 -1 4194304 97 0 0 0 0 0 0 0 20 0 1 0 126044 3133440 381\n";
        assert_eq!(parse(text), Some(Stat { ended: false, session: 9, start_time: 126_044 }));
        assert_eq!(parse("7 (cat) R 1"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = stat(std::process::id()).unwrap();
        assert!(!own.ended && session_lives(own.session));
    }
}
