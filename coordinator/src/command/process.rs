//! The long-running verbs: `serve`, and the hidden `daemon` and `runner`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    api::DEFAULT_SOCKET,
    fault::{Exit, Fault},
    serve,
};

/// Where a coordinator keeps its ledger unless told otherwise.
pub(super) const DEFAULT_DIR: &str = "/var/lib/patchmesh/coordinator";

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Folder of ledger, key and API socket; default /var/lib/patchmesh/coordinator
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Configuration; default DIR/coordinator.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// API socket; default /run/patchmesh/api.sock, or DIR/api.sock if --dir is given
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Flags of `daemon`.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Configuration of the host
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Flags of `runner`.
#[derive(Debug, Args)]
pub struct RunnerArgs {
    /// What to run, as the daemon wrote it down
    #[arg(long, value_name = "FILE")]
    pub spec: PathBuf,
}

/// Runs the coordinator until it is told to end.
///
/// # Errors
/// What keeps it from starting.
pub fn serve(args: &ServeArgs) -> Result<Exit, Fault> {
    let socket = match (&args.socket, &args.dir) {
        (Some(socket), _) => socket.clone(),
        (None, Some(dir)) => dir.join("api.sock"),
        (None, None) => DEFAULT_SOCKET.into(),
    };
    let dir = args.dir.clone().unwrap_or_else(|| DEFAULT_DIR.into());
    serve::serve(&dir, args.config.as_deref(), &socket)
}

/// Runs the daemon of one host until it is told to end.
pub fn daemon(args: &DaemonArgs) -> ExitCode {
    patchmesh_node::run(&args.config)
}

/// Runs one transaction.
pub fn runner(args: &RunnerArgs) -> ExitCode {
    patchmesh_node::host::runner::main(&args.spec)
}
