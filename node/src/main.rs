//! `patchmeshd --config FILE`: five lines around [`patchmesh_node::run`].

use std::{io::Write as _, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag, file] if flag == "--config" => patchmesh_node::run(&PathBuf::from(file)),
        _ => {
            // With a closed stderr there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "usage: patchmeshd --config /etc/patchmesh/patchmeshd.toml");
            ExitCode::from(64)
        }
    }
}
