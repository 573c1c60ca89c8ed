//! The `patchmesh` command: coordinator, CLI and demo, and the daemon as a hidden verb.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First: an actor that died silently inside a live process is the worst failure there is.
    patchmesh_node::daemon::abort_on_panic();
    patchmesh_coordinator::cli::main(std::env::args_os())
}
