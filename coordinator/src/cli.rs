//! `patchmesh <verb> [kind] [name] [flags]`: parses, runs one verb, prints an error chain once, and ends with a documented
//! exit code.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use crate::{
    api::{DAEMON_SOCKET, DEFAULT_SOCKET, client::Client},
    command, demo,
    fault::{Exit, Fault},
    output::{self, Format},
};

/// Patches a fleet of hosts in rolling waves, over a mesh of its own.
#[derive(Debug, Parser)]
#[command(name = "patchmesh", version, disable_help_subcommand = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  patchmesh demo                                 watch a fleet of 12 private roots being patched
  patchmesh plan -f weekly.yaml -o json > p.json freeze what would be done
  patchmesh apply p.json                         do exactly that, and watch
  patchmesh why host web-1                       ask why a host is not moving

Exit codes: 0 done, 1 error, 2 plan has changes, 3 stopped, 4 failed hosts, 5 lost hosts, 6 plan stale,
7 no coordinator, 64 usage or not built yet, 130 detached.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a fleet of private roots in a folder, and patch it in a rolling wave with the real apt and dpkg.
    #[command(after_help = "Example:\n  patchmesh demo --hosts 8 --max-concurrency 2 --keep --dir ./demo")]
    Demo(demo::DemoArgs),
    /// Show what is missing on this machine or in a private root. Changes nothing, needs no daemon.
    Scan(command::scan::Args),
    /// Show what is installed and offered on this machine or in a private root. Needs no daemon.
    Inventory(command::inventory::Args),
    /// Ask every target what it would do, and freeze the answers. Changes nothing.
    #[command(after_help = "Example:\n  patchmesh plan -f weekly.yaml --detailed-exitcode")]
    Plan(command::plan::PlanArgs),
    /// Start a plan, and watch it to its end. Ctrl-C detaches; the work goes on. Or hand a manifest to the coordinator.
    #[command(
        after_help = "Examples:\n  patchmesh apply plan.json\n  patchmesh apply -f weekly.yaml --detach\n  patchmesh apply -f patch-tuesday.yaml"
    )]
    Apply(command::plan::ApplyArgs),
    /// Scan or patch hosts at once, with every limit and promise of a rollout. Never all hosts by default.
    #[command(
        after_help = "Examples:\n  patchmesh patch-now --group prod --baseline security\n  patchmesh patch-now --operation scan --all\n  patchmesh patch-now --host web-1,web-2 --outside-window --because \"CVE-2026-0001 is exploited\""
    )]
    PatchNow(command::patch_now::PatchNowArgs),
    /// Look at or steer a rollout.
    #[command(subcommand, after_help = "Example:\n  patchmesh rollout watch weekly")]
    Rollout(command::rollout::RolloutVerb),
    /// Stop everything, or one rollout, at any member, with an operator's key and without a coordinator.
    #[command(
        after_help = "Examples:\n  patchmesh stop --all --key ~/operator/key\n  patchmesh stop --rollout 0807060504030201 --key ~/operator/key --wait 30s -o json"
    )]
    Stop(command::stop::StopArgs),
    /// End a STOP, with an operator's key. A rollout that has ended meanwhile stays as it ended.
    #[command(after_help = "Example:\n  patchmesh resume --all --key ~/operator/key")]
    Resume(command::stop::StopArgs),
    /// Let a ring of a rollout begin that waits for approvals, with an operator's key. One key counts once.
    #[command(after_help = "Example:\n  patchmesh approve weekly --ring fleet --key ~/operator/key")]
    Approve(command::verdict::VerdictArgs),
    /// Say no to a ring that waits for approvals, with an operator's key: nothing more of the rollout starts, hosts at work finish.
    #[command(
        after_help = "Example:\n  patchmesh reject weekly --ring fleet --key ~/operator/key --because \"the canaries swap\""
    )]
    Reject(command::verdict::VerdictArgs),
    /// See who holds a slot of a rollout, or release one by name.
    #[command(subcommand, after_help = "Example:\n  patchmesh slots ls")]
    Slots(command::slots::SlotsVerb),
    /// Check a ledger file: its chain, every seal, and every promise that it can show; or print it.
    #[command(subcommand, after_help = "Example:\n  patchmesh audit verify")]
    Audit(command::audit::AuditVerb),
    /// Show how rollouts and slots stood at a time, by the ledger file.
    #[command(after_help = "Example:\n  patchmesh state --at 2026-12-01T02:30:00Z")]
    State(command::audit::StateArgs),
    /// See rollouts in the words of AWS Run Command: commands, invocations and their statuses.
    #[command(subcommand, after_help = "Example:\n  patchmesh commands show weekly")]
    Commands(command::commands::CommandsVerb),
    /// Cancel a command: nothing new starts, and hosts at work begin no further disruptive step. A package manager at work is
    /// never killed.
    #[command(after_help = "Example:\n  patchmesh cancel weekly")]
    Cancel(command::commands::CommandArgs),
    /// List things.
    #[command(subcommand, after_help = "Example:\n  patchmesh get hosts -o wide")]
    Get(command::get::GetKind),
    /// Show everything known of one thing.
    #[command(subcommand, after_help = "Example:\n  patchmesh describe host web-1")]
    Describe(command::get::DescribeKind),
    /// Show which hosts lack what their baselines want, the worst first, and the fleet in numbers.
    Compliance(command::compliance::ComplianceArgs),
    /// Ask why something is where it is.
    #[command(subcommand, after_help = "Example:\n  patchmesh why host web-1")]
    Why(command::get::WhyKind),
    /// Judge an inventory by a baseline, offline.
    #[command(
        subcommand,
        after_help = "Example:\n  patchmesh baseline evaluate --baseline web.yaml --inventory inventory.json"
    )]
    Baseline(command::baseline::BaselineVerb),
    /// Take a baseline from AWS Patch Manager, or a manifest of one, into the coordinator or into a folder of manifests.
    #[command(
        after_help = "Examples:\n  aws ssm get-patch-baseline --baseline-id pb-0123456789abcdef0 > web.json\n  patchmesh import web.json\n  patchmesh import web.json --dir baselines\n  patchmesh import web.yaml -o json"
    )]
    Import(command::transfer::ImportArgs),
    /// Print something in a format of others.
    #[command(subcommand, after_help = "Example:\n  patchmesh export baseline web --format aws")]
    Export(command::transfer::ExportKind),
    /// Delete something that the coordinator keeps.
    #[command(subcommand, after_help = "Example:\n  patchmesh delete baseline web")]
    Delete(command::groups::DeleteKind),
    /// Give a patch group a baseline: it judges the hosts whose tag "Patch Group" or PatchGroup has that value.
    #[command(
        after_help = "Examples:\n  patchmesh register web --group prod\n  patchmesh register web --group prod --os DEBIAN -o json"
    )]
    Register(command::groups::RegisterArgs),
    /// Take a baseline from a patch group. Its hosts are judged by the default of their operating system then.
    #[command(after_help = "Example:\n  patchmesh deregister web --group prod")]
    Deregister(command::groups::DeregisterArgs),
    /// Make a baseline the default of its operating system: it judges the hosts whose patch group has none.
    #[command(after_help = "Examples:\n  patchmesh default web\n  patchmesh default AWS-DebianDefaultPatchBaseline")]
    Default(command::groups::DefaultArgs),
    /// Check a manifest, a file of AWS's, or a folder of them, offline.
    #[command(after_help = "Examples:\n  patchmesh validate -f web.yaml\n  patchmesh validate -f manifests -o json")]
    Validate(command::validate::ValidateArgs),
    /// Show what is kept otherwise than manifests say. Changes nothing.
    #[command(
        after_help = "Examples:\n  patchmesh diff -f web.yaml\n  patchmesh diff -f manifests --detailed-exitcode\n  patchmesh diff -f web.yaml --dir baselines"
    )]
    Diff(command::diff::DiffArgs),
    /// Explain a kind of manifest or a field of one; with -o json, its JSON Schema.
    #[command(
        after_help = "Examples:\n  patchmesh explain Rollout\n  patchmesh explain Rollout.spec.openings\n  patchmesh explain PatchBaseline -o json"
    )]
    Explain(command::explain::ExplainArgs),
    /// Run the coordinator: a mesh peer, the ledger, and the API on a unix socket.
    #[command(after_help = "Example:\n  patchmesh serve --dir /var/lib/patchmesh")]
    Serve(command::process::ServeArgs),
    /// Make a mesh, and sign who belongs to it.
    #[command(after_help = "Example:\n  patchmesh mesh init --dir ~/mesh")]
    Mesh(command::mesh::MeshArgs),
    /// Resolve limits for a number of hosts, offline.
    #[command(after_help = "Example:\n  patchmesh rate --targets 50 --max-concurrency 10% --max-errors 10% --ramp aws")]
    Rate(command::rate::RateArgs),
    /// Look at maintenance windows, offline.
    #[command(subcommand, after_help = "Example:\n  patchmesh windows next -f patch-tuesday.yaml -n 3")]
    Windows(command::windows::WindowsVerb),
    /// Compare two version numbers as a package manager does.
    Version(command::version::Args),
    /// Run the daemon of one host (what patchmeshd does).
    #[command(hide = true, after_help = "Example:\n  patchmesh daemon --config /etc/patchmesh/patchmesh.toml")]
    Daemon(command::process::DaemonArgs),
    /// Run one transaction in a process of its own.
    #[command(hide = true, after_help = "Example:\n  patchmesh runner --spec /var/lib/patchmesh/run/ID/spec")]
    Runner(command::process::RunnerArgs),
    /// A verb that is not built yet, or none at all.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// `-o`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// How to print: table, wide, json, yaml, jsonl, csv or name
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "FORMAT"
    )]
    pub format: Format,
}

/// Which member is asked.
#[derive(Clone, Debug, Args)]
pub struct Socket {
    /// Socket of a coordinator's or a daemon's API; default /run/patchmesh/api.sock (a coordinator's), or where there is none
    /// /var/lib/patchmesh/daemon.sock (a host's)
    #[arg(long, env = "PATCHMESH_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Socket {
    /// Whether somebody said which one.
    pub fn is_named(&self) -> bool {
        self.socket.is_some()
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let usual = || {
            let (coordinator, daemon) = (Path::new(DEFAULT_SOCKET), Path::new(DAEMON_SOCKET));
            if !coordinator.exists() && daemon.exists() { daemon } else { coordinator }
        };
        Client::new(self.socket.as_deref().unwrap_or_else(usual))
    }
}

/// Runs one command line, `args[0]` being the program. Talks to stdout and stderr.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let json = wants_json(&args);
    let ended = match Cli::try_parse_from(&args) {
        // These have exit codes and messages of their own: a supervisor reads them, not a person at a prompt.
        Ok(Cli { verb: Verb::Daemon(args) }) => return command::process::daemon(&args),
        Ok(Cli { verb: Verb::Runner(args) }) => return command::process::runner(&args),
        Ok(cli) => run(cli.verb),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                output::print(&error.to_string()).map(|()| Exit::Done)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                if !json {
                    output::talk(&format!("{error}\n"));
                }
                let fault =
                    Fault::new("usage", "a verb or kind is missing", "nothing was done", "choose one of the commands");
                Err(fault.exit(Exit::Usage))
            }
            _ => Err(usage(&error, json, &args)),
        },
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(fault) => {
            report(&fault, json);
            fault.exit.into()
        }
    }
}

fn run(verb: Verb) -> Result<Exit, Fault> {
    match verb {
        Verb::Version(args) => command::version::run(&args),
        Verb::Scan(args) => command::block_on(command::scan::run(args)),
        Verb::Inventory(args) => command::block_on(command::inventory::run(args)),
        Verb::Mesh(args) => command::block_on(command::mesh::run(args)),
        Verb::Rate(args) => command::rate::run(&args),
        Verb::Windows(verb) => command::windows::run(&verb),
        Verb::Baseline(verb) => command::baseline::run(&verb),
        Verb::Import(args) => command::transfer::import(&args),
        Verb::Export(kind) => command::transfer::export(&kind),
        Verb::Delete(kind) => command::groups::delete(&kind),
        Verb::Register(args) => command::groups::register(&args),
        Verb::Deregister(args) => command::groups::deregister(&args),
        Verb::Default(args) => command::groups::default(&args),
        Verb::Validate(args) => command::validate::run(&args),
        Verb::Diff(args) => command::diff::run(&args),
        Verb::Explain(args) => command::explain::run(&args),
        Verb::Serve(args) => command::process::serve(&args),
        Verb::Plan(args) => command::plan::plan(&args),
        Verb::Apply(args) => command::plan::apply(&args),
        Verb::PatchNow(args) => command::patch_now::run(&args),
        Verb::Rollout(verb) => command::rollout::run(&verb),
        Verb::Stop(args) => command::block_on(command::stop::run(&args, true)),
        Verb::Resume(args) => command::block_on(command::stop::run(&args, false)),
        Verb::Approve(args) => command::verdict::run(&args, true),
        Verb::Reject(args) => command::verdict::run(&args, false),
        Verb::Slots(verb) => command::slots::run(&verb),
        Verb::Audit(verb) => command::audit::run(&verb),
        Verb::State(args) => command::audit::state(&args),
        Verb::Commands(verb) => command::commands::run(&verb),
        Verb::Cancel(args) => command::commands::cancel(&args),
        Verb::Get(kind) => command::get::get(&kind),
        Verb::Describe(kind) => command::get::describe(&kind),
        Verb::Compliance(args) => command::compliance::run(&args),
        Verb::Why(kind) => command::get::why(&kind),
        Verb::Demo(args) => demo::run(&args),
        Verb::Daemon(_) | Verb::Runner(_) => Ok(Exit::Done),
        Verb::Other(words) => Err(command::refused::verb(&words)),
    }
}

/// Prints a fault once. Nothing if there is nobody to read or nothing to say.
fn report(fault: &Fault, json: bool) {
    if fault.exit == Exit::Done {
        return;
    }
    match serde_json::to_string(&fault.document()) {
        Ok(document) if json => output::talk(&(document + "\n")),
        _ => output::talk(&fault.text()),
    }
}

/// What clap says, as a fault: the whole text for people, its first line for scripts.
fn usage(error: &clap::Error, json: bool, args: &[OsString]) -> Fault {
    let text = error.to_string();
    let text = text
        .trim_start_matches("error: ")
        .trim_end()
        .trim_end_matches("For more information, try '--help'.")
        .trim_end();
    let first = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    let message = if json { first.as_str() } else { text };
    Fault::new("usage", message, "nothing was done", format!("see {} --help", verb(args))).exit(Exit::Usage)
}

/// The program and the verb that `args` begin with, as somebody types them.
fn verb(args: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut words = vec![command.get_name().to_owned()];
    for word in args.iter().skip(1) {
        if let Some(found) = command.find_subcommand(word).cloned() {
            words.push(found.get_name().to_owned());
            command = found;
        }
    }
    words.join(" ")
}

/// Whether the command line asks for JSON, even if the rest of it cannot be parsed.
fn wants_json(args: &[OsString]) -> bool {
    let is_json = |word: &str| matches!(word, "json" | "jsonl");
    let mut words = args.iter().map(|arg| arg.to_str().unwrap_or("")).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let found = match word {
            "-o" | "--output" => words.next().is_some_and(is_json),
            _ => ["--output=", "-o=", "-o"].iter().any(|flag| word.strip_prefix(flag).is_some_and(is_json)),
        };
        if found {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_verb_has_an_example() {
        fn every(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !help.contains("Example") {
                missing.push(path.to_owned());
            }
            for sub in command.get_subcommands() {
                every(sub, &format!("{path} {}", sub.get_name()), missing);
            }
        }
        let command = Cli::command();
        command.clone().debug_assert();
        let mut missing = Vec::new();
        every(&command, "patchmesh", &mut missing);
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn help_is_named_by_the_verb_that_was_typed() {
        for (line, known) in [
            ("/usr/bin/patchmesh slots --socket plan release", "patchmesh slots release"),
            ("patchmesh plan -f", "patchmesh plan"),
            ("patchmesh paln plan.json", "patchmesh"),
        ] {
            assert_eq!(verb(&line.split(' ').map(OsString::from).collect::<Vec<_>>()), known, "{line}");
        }
    }

    #[test]
    fn json_is_found_wherever_it_is_asked_for() {
        let asks = |line: &str| wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in
            ["p plan -o json", "p plan -ojsonl -f x", "p get hosts --output=json", "p -o=json", "p --output jsonl"]
        {
            assert!(asks(line), "{line}");
        }
        for line in ["p plan -o table", "p plan -f json", "p why host -- -o json", "p plan -o"] {
            assert!(!asks(line), "{line}");
        }
    }
}
