//! Policies and maintenance windows, with what became of them.

use patchmesh_common::rollout::{controller::Event, intent::Intent};

use super::Coordinator;
use crate::{
    api::{
        document::{
            PoliciesDocument, PolicyDocument, Time, WindowDocument, WindowListDocument, WindowRow, policy_rows,
            task_rows,
        },
        not_found,
    },
    fault::Fault,
    store::{policies::KeptPolicy, windows::KeptWindow},
};

impl Coordinator {
    pub(super) async fn kept_policies(&self) -> Result<Vec<KeptPolicy>, Fault> {
        let store = self.store.clone();
        self.on_disk(move |_| store.policies()).await
    }

    pub(super) async fn kept_windows(&self) -> Result<Vec<KeptWindow>, Fault> {
        let store = self.store.clone();
        self.on_disk(move |_| store.windows()).await
    }

    /// The actor answers when the entry is durable: it has performed what the event asks for by then, or the process has ended.
    pub(super) async fn note_intent(&self, intent: Intent, by: String) -> Result<(), Fault> {
        self.ask(move |actor, cx| actor.feed(Event::Intend { intent, by }, cx)).await
    }

    pub(super) async fn list_policies(&self) -> Result<PoliciesDocument, Fault> {
        let kept = self.kept_policies().await?;
        let (runs, not_started, now) = self.told_of_due().await?;
        let rows =
            kept.iter().flat_map(|one| policy_rows(one, &runs, &not_started, |folder| self.writing.fault(folder), now));
        Ok(PoliciesDocument::new(rows.collect()))
    }

    pub(super) async fn describe_policy(&self, name: &str) -> Result<PolicyDocument, Fault> {
        let kept = self.kept_policies().await?.into_iter().find(|one| one.written.name == name);
        let kept = kept.ok_or_else(|| not_found("policy", name))?;
        let (runs, not_started, now) = self.told_of_due().await?;
        let rows = policy_rows(&kept, &runs, &not_started, |folder| self.writing.fault(folder), now);
        Ok(PolicyDocument::new(kept, rows))
    }

    pub(super) async fn list_windows(&self) -> Result<WindowListDocument, Fault> {
        let kept = self.kept_windows().await?;
        let (runs, not_started, now) = self.told_of_due().await?;
        let row = |one| WindowRow::new(one, task_rows(one, &runs, &not_started, now), Time(now));
        Ok(WindowListDocument::new(kept.iter().map(row).collect()))
    }

    pub(super) async fn describe_window(&self, name: String) -> Result<WindowDocument, Fault> {
        let store = self.store.clone();
        let kept = self.on_disk(move |_| store.window(&name)).await?;
        let (runs, not_started, now) = self.told_of_due().await?;
        let tasks = task_rows(&kept, &runs, &not_started, now);
        Ok(WindowDocument::new(kept, tasks, Time(now)))
    }
}
