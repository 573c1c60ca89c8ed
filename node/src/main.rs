//! `patchmeshd --config FILE`: a few lines around [`patchmesh_node::run`].

use std::{ffi::OsString, io::Write as _, path::Path, process::ExitCode};

fn main() -> ExitCode {
    patchmesh_node::daemon::abort_on_panic();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag, file] if flag == "--config" => patchmesh_node::run(Path::new(file)),
        [verb, flag, file] if verb == "runner" && flag == "--spec" => {
            patchmesh_node::host::runner::main(Path::new(file))
        }
        _ => {
            // With a closed stderr there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "usage: patchmeshd --config /etc/patchmesh/patchmeshd.toml");
            ExitCode::from(64)
        }
    }
}
