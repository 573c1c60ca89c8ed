//! `patchmeshd`.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [verb, flag, spec] = arguments.as_slice()
        && verb == "runner"
        && flag == "--spec"
    {
        return patchmesh_node::host::runner::main(Path::new(spec));
    }
    patchmesh_node::run();
    ExitCode::SUCCESS
}
