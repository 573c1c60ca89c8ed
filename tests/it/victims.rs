//! Finding processes to kill, and killing them for good.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use crate::fleet::json;

/// What a kill did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// It was there.
    Killed,
    /// It had ended.
    Gone,
}

/// Ends a process as the kernel does when memory runs out.
pub(crate) fn slay(pid: u64) -> Victim {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    match kill_process(pid, Signal::KILL) {
        Ok(()) => Victim::Killed,
        Err(_) => Victim::Gone,
    }
}

/// Lets a process stand still.
pub(crate) fn stop(pid: u64) {
    signal(pid, Signal::STOP);
}

/// Lets it go on.
pub(crate) fn resume(pid: u64) {
    signal(pid, Signal::CONT);
}

fn signal(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    // One that has ended stands still too.
    let _ = kill_process(pid, signal);
}

/// Whether every thread of `pid` stands still.
pub(crate) fn has_stopped(pid: u64) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default())
        .all(|stat| stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T')))
}

/// Fields of `/proc/PID/stat` from the state on.
fn stat(pid: u64) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// The living runner of the host whose files are in `home`.
pub(crate) fn runner_of(home: &Path) -> Option<u64> {
    let leases = fs::read_dir(home.join("state/run")).ok()?.flatten();
    let attempts = leases.filter_map(|lease| fs::read_dir(lease.path()).ok()).flat_map(Iterator::flatten);
    let mut runners =
        attempts.filter_map(|attempt| json(&attempt.path().join("claim.json"))?["runner"]["pid"].as_u64());
    // A pid that another process has by now leads no session of its own with this name.
    runners.find(|pid| {
        let named = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("runner") && line.contains(&home.display().to_string())
        });
        named && stat(*pid).is_some_and(|fields| fields[0] != "Z")
    })
}

/// Every process of the session that `leader` leads, the leader first.
pub(crate) fn members_of(leader: u64) -> Vec<u64> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let session = leader.to_string();
    let members = pids.filter(|pid| *pid != leader && stat(*pid).is_some_and(|fields| fields[3] == session));
    std::iter::once(leader).chain(members).collect()
}
