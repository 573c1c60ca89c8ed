//! `patch-now`: a rollout from flags, at once, with every limit and promise of any other.

use clap::{ArgGroup, Args, ValueEnum};
use patchmesh_common::{
    id::NodeId,
    rollout::{
        OnHookFailure, OnSuperseded, Operation, RebootOption,
        limit::{Limit, Ramp},
        spec::{Asked, DEFAULT_HOOK_TIMEOUT, MAX_BECAUSE, RolloutSpec, Targets, Urgent},
        urgent::limits,
    },
    selector::Selector,
};
use patchmesh_node::clock;

use super::{block_on, plan::plan_and_start, watch};
use crate::{
    api::document::SpecDocument,
    cli::{Output, Socket},
    fault::{Exit, Fault},
    manifest::reboot::parse_at,
};

/// Flags of `patch-now`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("targets").required(true).multiple(false).args(["all", "host", "selector", "group"])))]
pub struct PatchNowArgs {
    /// What is done
    #[arg(long, value_enum, default_value = "scan-and-install")]
    operation: Chosen,
    /// Every host
    #[arg(long)]
    all: bool,
    /// These hosts: NAME, or several with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    host: Vec<String>,
    /// Hosts with these tags, as get hosts -l takes them
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = Selector::parse)]
    selector: Option<Selector>,
    /// Hosts of these patch groups: NAME, or several with commas between them
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    group: Vec<String>,
    /// all, security, or the name of a baseline; default: that of every host's patch group, or of its operating system
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// How many hosts at once; default, as AWS has it: 1000 for a scan; for an install 1 of fewer than 25 hosts, 5% of up to 100,
    /// 8% of up to 1000, 10% of more
    #[arg(long, value_parser = super::rate::concurrency)]
    max_concurrency: Option<Limit>,
    /// How many may fail; default, as AWS has it: 1000 for a scan; for an install 1 of fewer than 25 hosts, 5 of up to 100, 10 of more
    #[arg(long)]
    max_errors: Option<Limit>,
    /// Whether hosts reboot: if-needed, never, or at:TIME (if a package asks, and not before that), such as at:2026-12-01T04:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = reboot, default_value = "if-needed")]
    reboot: RebootOption,
    /// Install although a policy waits for a window that covers a host and is closed
    #[arg(long, requires = "because")]
    outside_window: bool,
    /// Why: it is kept in the ledger
    #[arg(long, value_name = "TEXT", requires = "outside_window")]
    because: Option<String>,
    /// Name of the rollout; default patch-now-TIME
    #[arg(long)]
    name: Option<String>,
    /// Print the rollout's id and end; the work goes on
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Chosen {
    Scan,
    ScanAndInstall,
}

fn reboot(text: &str) -> Result<RebootOption, String> {
    let at = || text.strip_prefix("at:").and_then(parse_at);
    match text {
        "if-needed" => Ok(RebootOption::IfNeeded),
        "never" => Ok(RebootOption::Never),
        _ => at().ok_or_else(|| "write if-needed, never or at:TIME, such as at:2026-12-01T04:00:00Z".to_owned()),
    }
}

/// Runs `patch-now`.
///
/// # Errors
/// Exit 1 where a window covers a host and nobody said why that does not count; what the coordinator or printing says.
pub fn run(args: &PatchNowArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("patch-now", &watch::FORMATS)?;
    let client = args.socket.client();
    let targets = match &args.selector {
        _ if args.all => Targets::All,
        Some(selector) => Targets::Matching(selector.clone()),
        None if args.group.is_empty() => Targets::Names(args.host.iter().cloned().collect()),
        None => Targets::Groups(args.group.iter().cloned().collect()),
    };
    let operation = match args.operation {
        Chosen::Scan => Operation::Scan,
        Chosen::ScanAndInstall => Operation::Install,
    };
    let hosts = block_on(client.hosts())?.hosts;
    let meant = hosts
        .iter()
        .filter(|row| NodeId::parse(&row.node_id).is_some_and(|node| targets.admits(&row.host, &node, &row.tags)));
    let meant = meant.count();
    let (concurrency, errors) = limits(operation, meant);
    let time = clock::now().wall.rfc3339().replace(['-', ':'], "").to_ascii_lowercase();
    let baseline = match args.baseline.as_deref() {
        None => Asked::Group,
        Some("all") => Asked::All,
        Some("security") => Asked::Security,
        Some(name) => Asked::Baseline(name.to_owned()),
    };
    let spec = RolloutSpec {
        on_superseded: OnSuperseded::default_of(operation, &baseline),
        name: args.name.clone().unwrap_or_else(|| format!("patch-now-{time}")),
        operation,
        targets,
        baseline,
        install_list: None,
        max_concurrency: args.max_concurrency.clone().unwrap_or(concurrency),
        max_errors: args.max_errors.clone().unwrap_or(errors),
        openings: Vec::new(),
        windows: Vec::new(),
        blackouts: Vec::new(),
        reboot: args.reboot,
        hook_timeout: DEFAULT_HOOK_TIMEOUT,
        on_hook_failure: OnHookFailure::Fail,
        rings: Vec::new(),
        ramp: Ramp::Full,
        urgent: Some(Urgent { because: args.because.clone() }),
        gates: Vec::new(),
        ring_gates: Vec::new(),
    };
    spec.check().map_err(|error| {
        let remedy = format!("see patchmesh patch-now --help; --because takes up to {MAX_BECAUSE} characters");
        Fault::new("usage", error.to_string(), "nothing was planned", remedy).exit(Exit::Usage)
    })?;
    plan_and_start(&client, &SpecDocument::from(&spec), args.detach, format)
}
