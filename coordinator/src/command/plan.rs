//! `plan` freezes what would be done; `apply` does exactly that.

use std::{
    io::Read,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::Args;
use tokio::time::Instant;

use super::{
    block_on,
    groups::{print_change, print_kept},
    watch,
};
use crate::{
    api::{
        MAX_BODY,
        client::Client,
        document::{AppliedDocument, PlanDocument, ServiceRequest, SpecDocument},
        server::check_plan,
    },
    cli::{Output, Socket},
    fault::{Exit, Fault},
    manifest::{self, Manifest},
    output::{self, Format},
    render,
};

/// Hosts that answer at once are waited for in silence.
const FIRST_WORD: Duration = Duration::from_secs(3);
/// How often it is told who has not answered.
const NEXT_WORD: Duration = Duration::from_secs(10);

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The Rollout manifest; - reads stdin
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// End with 2 if the plan would change a host, with 0 if not
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A plan from `patchmesh plan -o json`; - reads stdin
    #[arg(value_name = "PLAN.json", required_unless_present = "file", conflicts_with = "file")]
    plan: Option<PathBuf>,
    /// A Rollout manifest: plan it and apply the plan at once. A PatchBaseline, MaintenanceWindow, PatchPolicy or Service: the
    /// coordinator
    /// keeps it. - reads stdin
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not ask the hosts again whether they would still do what the plan says: each refuses by itself if not
    #[arg(long, conflicts_with = "file")]
    no_recheck: bool,
    /// Print the rollout's id and end; the work goes on
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Runs `plan`.
///
/// # Errors
/// What the manifest, the coordinator or printing says.
pub fn plan(args: &PlanArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("plan", &[Format::Table, Format::Json, Format::Yaml])?;
    let (spec, labels) = manifest::read_rollout(&args.file)?;
    let client = args.socket.client();
    let plan = block_on(asked(&client, &spec.name, client.plan(&SpecDocument::labelled(&spec, labels))))?;
    warn(&plan);
    match format {
        Format::Table => output::print(&render::plan(&plan))?,
        _ => output::print_document(&plan, format)?,
    }
    Ok(if args.detailed_exitcode && plan.has_changes() { Exit::Changes } else { Exit::Done })
}

/// Runs `apply`.
///
/// # Errors
/// What the manifest, the plan, the coordinator or printing says.
pub fn apply(args: &ApplyArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("apply", &watch::FORMATS)?;
    let client = args.socket.client();
    let read = match (&args.plan, &args.file) {
        (Some(path), _) => Ok(read_plan(path)?),
        (None, Some(path)) => match manifest::read_any(path)? {
            Manifest::Rollout(spec, labels) => Err(SpecDocument::labelled(&spec, labels)),
            other => return keep(args, &client, other),
        },
        (None, None) => return Err(no_input()),
    };
    match read {
        Ok(plan) => block_on(async {
            let applied = if args.no_recheck {
                client.apply_unasked(&plan).await?
            } else {
                asked(&client, &plan.rollout, client.apply(&plan)).await?
            };
            follow(&client, &applied, args.detach, format).await
        }),
        Err(spec) => plan_and_start(&client, &spec, args.detach, format),
    }
}

/// Plans `spec`, shows the plan, starts it and watches it.
///
/// # Errors
/// What the coordinator or printing says.
pub(super) fn plan_and_start(
    client: &Client,
    spec: &SpecDocument,
    detach: bool,
    format: Format,
) -> Result<Exit, Fault> {
    block_on(async {
        let plan = asked(client, &spec.name, client.plan(spec)).await?;
        output::talk(&render::plan(&plan));
        warn(&plan);
        let applied = client.apply_unasked(&plan).await?;
        follow(client, &applied, detach, format).await
    })
}

/// `work`, for which the hosts of `rollout` are asked; meanwhile stderr says which of them have not answered.
async fn asked<T>(client: &Client, rollout: &str, work: impl Future<Output = T>) -> T {
    let say = async || {
        // A coordinator that does not say that says nothing: what is wrong is said by the plan itself.
        let surveys = client.surveys().await.map(|found| found.surveys).unwrap_or_default();
        let own = surveys.iter().find(|survey| survey.rollout == rollout && !survey.waits_for.is_empty());
        own.into_iter().for_each(|survey| output::talk(&render::survey(survey)));
    };
    telling(work, FIRST_WORD, NEXT_WORD, say).await
}

/// `work`, and what there is to `say` meanwhile: after `first`, and then every `next`.
async fn telling<T>(work: impl Future<Output = T>, first: Duration, next: Duration, say: impl AsyncFn()) -> T {
    let mut work = pin!(work);
    let mut words = tokio::time::interval_at(Instant::now() + first, next);
    loop {
        tokio::select! {
            // Of what is done nothing more is said.
            biased;
            done = &mut work => return done,
            _ = words.tick() => say().await,
        }
    }
}

/// What is no reason to refuse the plan, and somebody should know all the same.
fn warn(plan: &PlanDocument) {
    if let Some(warning) = plan.warning() {
        output::talk(&format!("warning: {warning}\n"));
    }
}

async fn follow(client: &Client, applied: &AppliedDocument, detach: bool, format: Format) -> Result<Exit, Fault> {
    let id = &applied.id;
    let ended = if applied.started { None } else { client.rollout(id).await?.ended_at };
    if !applied.started {
        let stands = ended.map_or_else(|| "is under way".to_owned(), |at| format!("ended at {at}"));
        output::talk(&format!(
            "the plan was applied before and {stands}: nothing was started; to run it again, plan again\n"
        ));
    }
    if detach {
        match format {
            Format::Table => output::print(&format!("{id}\n"))?,
            _ => output::print_document(applied, format)?,
        }
        return Ok(Exit::Done);
    }
    let detaches = if ended.is_none() { "; Ctrl-C detaches, the work goes on" } else { "" };
    output::talk(&format!("rollout {id}{detaches}\n"));
    watch::follow(client, id, format).await
}

/// Hands a manifest that is no rollout to the coordinator.
fn keep(args: &ApplyArgs, client: &Client, manifest: Manifest) -> Result<Exit, Fault> {
    let format = args.output.format.among("apply of this kind", &[Format::Table, Format::Json, Format::Yaml])?;
    match manifest {
        Manifest::Window(window) => {
            let (name, written) = (window.name.clone(), manifest::window::Written::from(*window));
            print_kept(&block_on(client.put_window(&name, &written))?, format)
        }
        Manifest::Policy(policy) => {
            let (name, written) = (policy.name.clone(), manifest::policy::Written::from(*policy));
            print_kept(&block_on(client.put_policy(&name, &written))?, format)
        }
        Manifest::Baseline(baseline) => {
            let (name, written) = (baseline.name.clone(), manifest::baseline::Written::from(*baseline));
            print_change(&block_on(client.put_baseline(&name, &written))?, format)
        }
        Manifest::Service(spec) => {
            let name = spec.name.clone();
            print_kept(&block_on(client.keep_service(&name, &ServiceRequest::new(*spec)))?, format)
        }
        Manifest::Rollout(..) | Manifest::Override(_) | Manifest::InstallList(_) => Err(Fault::new(
            "manifest-invalid",
            "a list of AWS's is nothing that is applied",
            "nothing was changed",
            "name it in a Rollout as baselineOverride or installOverrideList",
        )),
    }
}

fn no_input() -> Fault {
    let try_this = "name a plan, or a manifest with -f FILE";
    Fault::new("usage", "apply needs a plan", "nothing was done", try_this).exit(Exit::Usage)
}

fn read_plan(path: &Path) -> Result<PlanDocument, Fault> {
    let shown = path.display();
    let fault = |message: String| {
        Fault::new(
            "plan-unreadable",
            message,
            "no rollout was started",
            "make the plan with patchmesh plan -f FILE -o json > PLAN.json",
        )
    };
    let mut bytes = Vec::new();
    let limit = MAX_BODY as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| fault(format!("cannot read {shown}")).because(error))?;
    if bytes.len() > MAX_BODY {
        return Err(fault(format!("{shown} is larger than {MAX_BODY} bytes")));
    }
    let plan: PlanDocument =
        serde_json::from_slice(&bytes).map_err(|error| fault(format!("{shown} is no plan")).because(error))?;
    check_plan(plan)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_takes_its_time_is_told_until_it_is_done() {
        let said = Cell::new(0);
        let (enough, mut is_enough) = tokio::sync::mpsc::channel(1);
        let say = async || {
            said.set(said.get() + 1);
            if said.get() == 3 {
                enough.try_send(()).unwrap();
            }
        };
        let short = Duration::from_millis(1);
        let work = async { is_enough.recv().await };
        let done = block_on(async { Ok(telling(work, short, short, say).await) }).unwrap();
        assert_eq!((done, said.get()), (Some(()), 3));
        let quick = block_on(async { Ok(telling(async { 7 }, Duration::ZERO, short, async || said.set(9)).await) });
        assert!(matches!(quick, Ok(7)));
    }
}
