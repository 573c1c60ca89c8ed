//! Other simulators under the same load: one ping per node and second. They live in a package of their own, because one of them
//! wants to be compiled in its own way.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde::{Deserialize, Serialize};

use super::Fault;

/// turmoil's cost grows with the square of the nodes: beyond this it would take all day.
const TURMOIL_HOSTS: u32 = 300;
/// And for the same reason it runs no longer than this.
const TURMOIL_SECONDS: u64 = 5;
/// madsim runs at least so long: a few milliseconds of its time would say little.
const MADSIM_SECONDS: u64 = 300;

/// Another simulator.
#[derive(Clone, Copy)]
pub(super) enum Engine {
    Madsim,
    Turmoil,
}

/// What its harness prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    engine: String,
    hosts: u32,
    virtual_seconds: u64,
    cpu_seconds: f64,
    messages_per_host_second: f64,
    host_seconds_per_second: f64,
}

/// Another simulator's speed beside ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    pub(super) engine: String,
    pub(super) hosts: u32,
    virtual_seconds: u64,
    cpu_seconds: f64,
    pub(super) messages_per_host_second: f64,
    pub(super) host_seconds_per_second: f64,
    /// Ours divided by theirs.
    pub(super) ratio: f64,
}

fn run(command: &mut Command, folder: &Path) -> Result<Output, Fault> {
    let failed = |source| Fault::File { doing: "run cargo or a harness in", path: folder.to_owned(), source };
    command.current_dir(folder).stdin(Stdio::null()).output().map_err(failed)
}

fn format(folder: &Path, what: &'static str, why: &[u8]) -> Fault {
    Fault::Format { path: folder.to_owned(), what, why: String::from_utf8_lossy(why).trim().to_owned() }
}

/// Builds the harnesses in `folder`.
pub(super) fn build(folder: &Path) -> Result<(), Fault> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--bins", "--target-dir", "target"]);
    // Only madsim's own crate looks at it.
    cargo.env("RUSTFLAGS", "--cfg madsim").env_remove("CARGO_TARGET_DIR");
    let built = run(&mut cargo, folder)?;
    if built.status.success() { Ok(()) } else { Err(format(folder, "package of harnesses that builds", &built.stderr)) }
}

impl Engine {
    pub(super) const ALL: [Self; 2] = [Self::Madsim, Self::Turmoil];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Madsim => "madsim",
            Self::Turmoil => "turmoil",
        }
    }

    /// Whether it can be asked for so many nodes.
    pub(super) fn bears(self, hosts: u32) -> bool {
        matches!(self, Self::Madsim) || hosts <= TURMOIL_HOSTS
    }

    /// Runs it; `ours` is how many host-seconds a second we simulate under the same load.
    pub(super) fn measure(self, folder: &Path, hosts: u32, seconds: u64, ours: f64) -> Result<Measured, Fault> {
        let seconds = match self {
            Self::Madsim => seconds.max(MADSIM_SECONDS),
            Self::Turmoil => seconds.min(TURMOIL_SECONDS),
        };
        let failed = |source| Fault::File { doing: "find", path: folder.to_owned(), source };
        let program = folder.canonicalize().map_err(failed)?.join("target/release").join(self.word());
        let done = run(Command::new(program).args([hosts.to_string(), seconds.to_string()]), folder)?;
        if !done.status.success() {
            return Err(format(folder, "package of harnesses that run", &done.stderr));
        }
        let wrong = |_| format(folder, "package of harnesses that print a line", &done.stdout);
        let line: Line = serde_json::from_slice(&done.stdout).map_err(wrong)?;
        Ok(Measured {
            ratio: ours / line.host_seconds_per_second,
            engine: line.engine,
            hosts: line.hosts,
            virtual_seconds: line.virtual_seconds,
            cpu_seconds: line.cpu_seconds,
            messages_per_host_second: line.messages_per_host_second,
            host_seconds_per_second: line.host_seconds_per_second,
        })
    }
}
