//! `patchmesh-sim`: see [`patchmesh_simulations::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    patchmesh_simulations::cli::main()
}
