//! Services on the command line.

use super::{
    block_on,
    get::{ListArgs, NameArgs},
    groups::print_kept,
};
use crate::{
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

/// Runs `get services`.
///
/// # Errors
/// What the coordinator or printing says.
pub(super) fn list(args: &ListArgs) -> Result<(), Fault> {
    let format = args.output.format.among("get services", &super::get::LIST)?;
    let document = block_on(args.socket.client().services())?;
    output::print_rows(&document, &render::services(&document, format != Format::Table), format)?;
    if let Some(limit) = document.fleet_limit {
        output::talk(&format!("limits.fleet: {limit} hosts at once, over all rollouts\n"));
    }
    Ok(())
}

/// Runs `describe service`.
///
/// # Errors
/// As [`list`].
pub(super) fn show(args: &NameArgs) -> Result<(), Fault> {
    let format = args.output.format.among("describe service", &super::get::ONE)?;
    let document = block_on(args.socket.client().service(&args.name))?;
    match format {
        Format::Table => output::print(&render::service(&document)),
        _ => output::print_document(&document, format),
    }
}

/// Runs `delete service`.
///
/// # Errors
/// As [`list`].
pub(super) fn delete(args: &NameArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("delete service", &[Format::Table, Format::Json, Format::Yaml])?;
    print_kept(&block_on(args.socket.client().drop_service(&args.name))?, format)
}
