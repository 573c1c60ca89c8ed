//! `compliance`, and what reports of one host say: `describe host NAME --patches` and `--history`.

use clap::Args;
use patchmesh_common::{patch::evaluation::State, selector::Selector};

use super::{
    block_on,
    get::{LIST, ListArgs},
};
use crate::{
    api::{client::Client, document::PatchesDocument},
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

/// What can be asked of one host's report.
const REPORT: [Format; 5] = [Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv];

/// Flags of `compliance`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  patchmesh compliance\n  patchmesh compliance -l 'Patch Group=prod' -o json")]
pub struct ComplianceArgs {
    /// Only hosts with these tags, as in get hosts: KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY, !KEY
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = checked)]
    selector: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// The text of a selector, which the coordinator reads again.
fn checked(text: &str) -> Result<String, String> {
    Selector::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Runs `compliance`.
///
/// # Errors
/// What the coordinator or printing says.
pub fn run(args: &ComplianceArgs) -> Result<Exit, Fault> {
    let format = args.list.output.format.among("compliance", &LIST)?;
    let document = block_on(args.list.socket.client().compliance(args.selector.as_deref()))?;
    let wide = format != Format::Table;
    match format {
        Format::Table | Format::Wide => {
            output::print(&render::compliance(&document, wide, output::is_stdout_coloured()))?;
        }
        _ => output::print_rows(&document, &render::compliance_rows(&document, wide), format)?,
    }
    Ok(Exit::Done)
}

/// A state by its word.
pub(super) fn state(word: &str) -> Result<State, String> {
    let known = State::ALL.iter().find(|state| state.as_str().eq_ignore_ascii_case(word));
    known.copied().ok_or_else(|| {
        let words: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("the states are {}", words.join(", "))
    })
}

/// Prints the patches of the host `name`: those in the states `only`, or all if it names none.
pub(super) fn patches(client: &Client, name: &str, only: &[State], format: Format) -> Result<(), Fault> {
    let format = format.among("describe host --patches", &REPORT)?;
    let mut document: PatchesDocument = block_on(client.patches(name))?;
    document.patches.retain(|patch| only.is_empty() || only.contains(&patch.state));
    let wide = format != Format::Table;
    match format {
        Format::Table | Format::Wide => output::print(&render::patches(&document, only, wide)),
        _ => output::print_rows(&document, &render::patch_rows(&document, wide), format),
    }
}

/// Prints the standings of the host `name`.
pub(super) fn history(client: &Client, name: &str, format: Format) -> Result<(), Fault> {
    let format = format.among("describe host --history", &REPORT)?;
    let document = block_on(client.history(name))?;
    output::print_rows(&document, &render::history(&document), format)
}
