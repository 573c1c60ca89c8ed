//! What people see: plans, recaps, lists, and a rollout while it moves. Pure text, except for [`Live`].

mod audit;
mod commands;
mod compliance;
mod kept;
mod live;
mod plan;
mod recap;
mod services;
mod stop;
mod tables;

pub use self::{
    audit::{audit, entry, entry_header, held_slots},
    commands::{command, commands},
    compliance::{compliance, compliance_rows, history, patch_rows, patches},
    kept::{snapshot, snapshot_rows, snapshots, step_rows, steps},
    live::Live,
    plan::{plan, survey},
    recap::{recap, recap_rows},
    services::{service, services},
    stop::stop,
    tables::{host, hosts, release, rollouts, slots, why},
};

/// Digits of a snapshot's id that a list shows: enough to find it by.
const SHORT: usize = 12;

/// Seconds as `7s`, `3m 07s`, `2h 05m`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `1 host`, `2 hosts`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Text from a host as one line that cannot move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_words() {
        assert_eq!([duration(7), duration(187), duration(7500)], ["7s", "3m 07s", "2h 05m"]);
        assert_eq!([counted(1, "host"), counted(0, "host")], ["1 host", "0 hosts"]);
        assert_eq!(one_line("a\x1b[2J\r\nb"), "a [2J b");
    }
}
