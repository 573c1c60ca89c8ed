//! `rollout status|steps|watch|pause|resume|stop`.

use clap::{Args, Subcommand};

use super::{block_on, watch};
use crate::{
    cli::{Output, Socket},
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

/// Which rollout, and flags.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// Its id, or its name (the newest of that name)
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Which rollout's steps, and flags.
#[derive(Debug, Args)]
pub struct StepsArgs {
    /// Its id, or its name (the newest of that name)
    id: String,
    /// Only this host, and every line that its steps said
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Which rollout to stop, and flags.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Its id, or its name (the newest of that name)
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// Every rollout (not built yet)
    #[arg(long, hide = true, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// What to do with a rollout.
#[derive(Debug, Subcommand)]
pub enum RolloutVerb {
    /// Show where it stands, host by host
    #[command(after_help = "Example:\n  patchmesh rollout status weekly -o json")]
    Status(RolloutArgs),
    /// Show what its hosts did, step by step, and what the steps said
    #[command(
        after_help = "Examples:\n  patchmesh rollout steps weekly\n  patchmesh rollout steps weekly --host web-1\n  patchmesh rollout steps weekly -o json"
    )]
    Steps(StepsArgs),
    /// Watch it to its end. Ctrl-C detaches; the work goes on
    #[command(after_help = "Example:\n  patchmesh rollout watch weekly")]
    Watch(RolloutArgs),
    /// Start no more hosts until resume; hosts at work finish
    #[command(after_help = "Example:\n  patchmesh rollout pause weekly")]
    Pause(RolloutArgs),
    /// End a pause
    #[command(after_help = "Example:\n  patchmesh rollout resume weekly")]
    Resume(RolloutArgs),
    /// End it: nothing new starts, and hosts at work begin no further disruptive step
    #[command(after_help = "Example:\n  patchmesh rollout stop weekly")]
    Stop(StopArgs),
}

/// Runs the verb.
///
/// # Errors
/// What the coordinator or printing says.
pub fn run(verb: &RolloutVerb) -> Result<Exit, Fault> {
    let (id, act, output, socket) = match verb {
        RolloutVerb::Status(args) => return status(args),
        RolloutVerb::Steps(args) => return steps(args),
        RolloutVerb::Watch(args) => {
            let format = args.output.format.among("rollout watch", &watch::FORMATS)?;
            return block_on(async {
                // The stream ends with this very rollout even if another one takes its name meanwhile.
                let id = args.socket.client().rollout(&args.id).await?.id;
                watch::follow(&args.socket.client(), &id, format).await
            });
        }
        RolloutVerb::Stop(StopArgs { id: None, .. }) => {
            let instead = "use patchmesh stop --all with an operator's key";
            return Err(Fault::not_built("rollout stop --all", instead));
        }
        RolloutVerb::Stop(StopArgs { id: Some(id), output, socket, .. }) => (id, "stop", output, socket),
        RolloutVerb::Pause(args) => (&args.id, "pause", &args.output, &args.socket),
        RolloutVerb::Resume(args) => (&args.id, "resume", &args.output, &args.socket),
    };
    let formats = [Format::Table, Format::Json, Format::Yaml];
    let format = output.format.among(&format!("rollout {act}"), &formats)?;
    let rollout = block_on(socket.client().act(id, act))?;
    match format {
        Format::Table => {
            let reason = rollout.reason.as_ref().map_or("-", |reason| reason.text.as_str());
            output::print(&format!("{} ({}) is {}: {reason}\n", rollout.name, rollout.id, rollout.state.as_str()))?;
        }
        _ => output::print_document(&rollout, format)?,
    }
    Ok(Exit::Done)
}

fn steps(args: &StepsArgs) -> Result<Exit, Fault> {
    let format =
        args.output.format.among("rollout steps", &[Format::Table, Format::Json, Format::Yaml, Format::Csv])?;
    let document = block_on(args.socket.client().steps(&args.id, args.host.as_deref()))?;
    match format {
        Format::Table => output::print(&render::steps(&document, args.host.is_some()))?,
        _ => output::print_rows(&document, &render::step_rows(&document), format)?,
    }
    Ok(Exit::Done)
}

fn status(args: &RolloutArgs) -> Result<Exit, Fault> {
    let formats = [Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv, Format::Name];
    let format = args.output.format.among("rollout status", &formats)?;
    let rollout = block_on(args.socket.client().rollout(&args.id))?;
    match format {
        Format::Table | Format::Wide => output::print(&render::recap(&rollout))?,
        _ => output::print_rows(&rollout, &render::recap_rows(&rollout), format)?,
    }
    Ok(Exit::Done)
}
