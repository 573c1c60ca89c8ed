//! `patchmesh demo`: a repository, a fleet of private roots, a daemon for each, a coordinator, and one rolling wave.

pub mod repository;
pub mod roots;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Ordinary users' PATH lacks the sbin folders, and dpkg refuses to work without them.
const TOOL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest tail of a tool's output in an error, in characters.
const MAX_OUTPUT: usize = 400;

/// Why the demo could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or folder.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The demo's own folder.
    #[error("the folder {} cannot be used: {}", .0.display(), .1)]
    Folder(PathBuf, &'static str),
    /// A tool that is not there.
    #[error("{0} cannot be run")]
    Missing(String, #[source] io::Error),
    /// A tool that failed.
    #[error("{0} failed: {1}")]
    Tool(String, String),
}

impl DemoError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File(path, error)
    }
}

/// A tool with a fixed environment, so that a user's settings change nothing.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", TOOL_PATH).env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null());
    command
}

/// Runs a short-lived tool to its end; its standard output.
fn run(mut command: Command) -> Result<String, DemoError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| DemoError::Missing(name.clone(), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let tail = said.char_indices().rev().nth(MAX_OUTPUT).map_or(said, |(start, _)| &said[start..]);
    Err(DemoError::Tool(name, format!("{}: {tail}", output.status)))
}
