//! Logs of policies' runs: asks which files are owed, and writes them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use patchmesh_common::rollout::{
    ledger::RolloutState as Standing,
    policy::{
        Policy,
        logs::{Logs, Owed},
    },
};
use patchmesh_node::clock;

use super::{Coordinator, commands};
use crate::{api::document::HostLogDocument, fault::Fault, logs::LogFolder, status::View};

/// How often it is asked what is owed.
const LOOK: Duration = Duration::from_secs(2);

/// What this process has written, and where it could not.
#[derive(Debug, Default)]
pub(super) struct Writing(Mutex<Logs>);

impl Writing {
    /// Nothing of it could be left half done by a panic elsewhere.
    fn all(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why `folder` could not be written when it was last tried.
    pub(super) fn fault(&self, folder: &str) -> Option<String> {
        self.all().fault(folder).map(str::to_owned)
    }
}

/// A file: whose, in which folder of the run, its name, and what it says.
struct Page {
    owed: Owed,
    run: String,
    name: String,
    text: String,
}

impl Coordinator {
    /// Writes the logs that are owed, for as long as it is polled.
    pub async fn follow_logs(self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            looks.tick().await;
            let failed = self.write_owed().await.err().map(|fault| fault.chain());
            if let Some(error) = failed.as_ref().filter(|error| told.as_ref() != Some(*error)) {
                tracing::error!("no logs of policies are written: {error}");
            }
            told = failed;
        }
    }

    /// Writes some of what is owed now.
    async fn write_owed(&self) -> Result<(), Fault> {
        let kept = self.kept_policies().await?;
        let policies: Vec<Policy> = kept.into_iter().map(|one| one.policy).filter(|one| one.logs.is_some()).collect();
        let writing = self.writing.clone();
        let pages = self.ask(move |actor, _| {
            let view = actor.status();
            let owed = writing.all().owed(&policies.iter().collect::<Vec<_>>(), view.ledger, view.now);
            owed.into_iter().filter_map(|owed| page(&view, owed)).collect::<Vec<_>>()
        });
        let pages = pages.await?;
        if pages.is_empty() {
            return Ok(());
        }
        let writing = self.writing.clone();
        self.on_disk(move |_| {
            write(&writing, pages);
            Ok(())
        })
        .await
    }
}

/// The file that is owed; `None` if its rollout is not there.
fn page(view: &View<'_>, owed: Owed) -> Option<Page> {
    let state = view.ledger.rollouts.get(&owed.rollout)?;
    let document = HostLogDocument::new(owed.rollout, state, commands::whole(state, owed.at));
    // Of what this process made itself nothing can fail to be written down.
    let text = serde_json::to_string_pretty(&document).ok()? + "\n";
    Some(Page { run: state.plan.name.clone(), name: file_name(state, owed.at), owed, text })
}

/// `HOST.json`; of a name that is no file name, or that two hosts of the run have, `KEY.json`.
fn file_name(state: &Standing, at: usize) -> String {
    let host = &state.plan.hosts[at];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let good = host.name.len() <= MAX_NAME && !host.name.starts_with('.') && host.name.bytes().all(plain);
    let twice = || state.plan.hosts.iter().filter(|other| other.name == host.name).count() > 1;
    if good && !host.name.is_empty() && !twice() {
        format!("{}.json", host.name)
    } else {
        format!("{}.json", host.node)
    }
}

/// Longest name of a host, in bytes, that is a file name with what stands around it.
const MAX_NAME: usize = 200;

/// What was told before is not told again.
fn warn(news: bool, folder: &str, fault: &Fault) {
    if news {
        tracing::warn!(folder, remedy = fault.remedy, "{}", fault.chain());
    }
}

fn write(writing: &Writing, pages: Vec<Page>) {
    let mut folders: BTreeMap<String, Vec<Page>> = BTreeMap::new();
    for page in pages {
        folders.entry(page.owed.folder.clone()).or_default().push(page);
    }
    for (folder, pages) in folders {
        // A run or a file that cannot be written keeps the others from nothing.
        let now = clock::now().boot;
        let open = match LogFolder::open(&folder) {
            Ok(open) => open,
            Err(fault) => {
                let news = writing.all().failed(&folder, fault.chain(), now);
                warn(news, &folder, &fault);
                continue;
            }
        };
        for page in &pages {
            match open.write(&page.run, &page.name, page.text.as_bytes()) {
                Ok(_) => writing.all().written(&page.owed),
                Err(fault) => {
                    let news = writing.all().run_failed(&page.owed, fault.chain(), now);
                    warn(news, &folder, &fault);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use patchmesh_common::{
        rollout::policy::{LogsText, PatchPolicy, predefined::host_management},
        run::message::Outcome,
    };

    use super::*;
    use crate::status::tests::{ID, World};

    fn policy(folder: &str) -> Policy {
        let mut written = PatchPolicy { name: "nightly".into(), ..host_management() };
        written.spec.logs = Some(LogsText { folder: folder.into() });
        written.check().unwrap()
    }

    fn look(writing: &Writing, world: &World, policy: &Policy) -> usize {
        let view = world.view();
        let owed = writing.all().owed(&[policy], view.ledger, view.now);
        let pages: Vec<_> = owed.into_iter().filter_map(|owed| page(&view, owed)).collect();
        let count = pages.len();
        write(writing, pages);
        count
    }

    fn run(hosts: u8) -> World {
        let mut world = World::new(hosts, 1, vec![]);
        let state = world.ledger.rollouts.get_mut(&ID).unwrap();
        (state.plan.name, state.by) = ("nightly-install-19700101t000000z".into(), "policy nightly".into());
        world
    }

    #[test]
    fn what_a_host_said_is_written_when_it_has_ended_and_after_a_restart_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(dir.path()).unwrap();
        let (policy, mut world) = (policy(folder.to_str().unwrap()), run(2));
        let (one, two) = (["host-1", "host-2"]
            .map(|host| folder.join(format!("nightly-install-19700101t000000z/{host}.json"))))
        .into();
        let read =
            |path: &std::path::Path| -> HostLogDocument { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let writing = Writing::default();
        world.grant(1);
        assert_eq!(look(&writing, &world, &policy), 0);
        world.report(1, Outcome::Failed);
        assert_eq!(look(&writing, &world, &policy), 1);
        let said = read(&one);
        assert_eq!(
            (said.id, said.host.host, said.host.code),
            (ID.to_string(), "host-1".into(), Some("hook-failed".into()))
        );
        world.grant(2);
        world.pass(61, &[2]);
        world.end();
        assert_eq!(look(&writing, &world, &policy), 1);
        assert_eq!(read(&two).host.status, "TimedOut", "it was lost");
        // A late report renews it.
        world.report(2, Outcome::Succeeded);
        assert_eq!(look(&writing, &world, &policy), 1);
        assert_eq!(read(&two).host.status, "Success");
        assert_eq!(look(&writing, &world, &policy), 0);
        fs::remove_file(&one).unwrap();
        let before = fs::metadata(&two).unwrap().modified().unwrap();
        let again = Writing::default();
        assert_eq!(look(&again, &world, &policy), 2);
        assert_eq!(read(&one).host.status, "Failed");
        assert_eq!(fs::metadata(&two).unwrap().modified().unwrap(), before, "what is as it should be is left alone");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(dir.path()).unwrap().join("later");
        let path = folder.to_str().unwrap();
        let (policy, mut world, writing) = (policy(path), run(1), Writing::default());
        world.end();
        assert_eq!(look(&writing, &world, &policy), 1);
        let fault = writing.fault(path).unwrap();
        assert!(fault.starts_with(&format!("logs cannot be written to {path}")), "{fault}");
        fs::create_dir(&folder).unwrap();
        assert_eq!(look(&writing, &world, &policy), 0, "not at once");
        // As the clock of the machine goes on, which is not the world's.
        world.now.boot = clock::now().boot.plus(patchmesh_common::rollout::policy::logs::PAUSE);
        assert_eq!(look(&writing, &world, &policy), 1);
        assert_eq!(writing.fault(path), None);
    }

    #[test]
    fn a_name_that_is_no_file_name_or_that_two_hosts_have_is_replaced_by_the_key() {
        let mut world = run(3);
        let state = world.ledger.rollouts.get_mut(&ID).unwrap();
        assert_eq!(file_name(state, 0), "host-1.json");
        for (name, at) in [("../../etc/cron.d/x", 0), (".hidden", 0), ("a/b", 0), ("", 0), ("host-2", 2)] {
            state.plan.hosts[at].name = name.into();
            assert_eq!(file_name(state, at), format!("{}.json", state.plan.hosts[at].node), "{name}");
        }
        state.plan.hosts[0].name = "n".repeat(MAX_NAME + 1);
        assert_eq!(file_name(state, 0).len(), 64 + ".json".len());
    }
}
