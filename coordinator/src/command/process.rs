//! The long-running verbs: `serve`, and the hidden `daemon` and `runner`.

use std::path::PathBuf;

use clap::Args;

use crate::fault::{Exit, Fault};

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Folder of ledger, keys and API socket
    #[arg(long, value_name = "DIR", default_value = "/var/lib/patchmesh/coordinator")]
    pub dir: PathBuf,
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
    Err(Fault::not_built(&format!("serve in {}", args.dir.display()), "build from a later commit"))
}

/// Runs the daemon of one host until it is told to end.
///
/// # Errors
/// What keeps it from starting.
pub fn daemon(args: &DaemonArgs) -> Result<Exit, Fault> {
    Err(Fault::not_built(&format!("daemon with {}", args.config.display()), "build from a later commit"))
}

/// Runs one transaction.
///
/// # Errors
/// What keeps it from starting.
pub fn runner(args: &RunnerArgs) -> Result<Exit, Fault> {
    Err(Fault::not_built(&format!("runner with {}", args.spec.display()), "build from a later commit"))
}
