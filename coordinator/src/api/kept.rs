//! The routes of what is kept: baselines, patch groups, maintenance windows, services, policies and snapshots.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Service, bad_request,
    document::{RegisterRequest, ServiceRequest, SnapshotDocument, SnapshotsDocument},
    not_found,
    server::{Name, Received, answer, parse, refuse},
    who::Who,
};
use crate::{
    fault::Fault,
    manifest::{self, baseline::Written},
    store::{Kept, Note, Store},
};

pub(super) fn routes<S: Service>() -> Router<Arc<S>> {
    Router::new()
        .route("/v1/baselines", get(|State(s): State<Arc<S>>| async move { keep(&*s, |store| store.list()).await }))
        .route("/v1/baselines/{name}", get(one::<S>).put(put::<S>).delete(delete::<S>))
        .route("/v1/baselines/{name}/default", post(default::<S>))
        .route("/v1/groups", get(|State(s): State<Arc<S>>| async move { keep(&*s, |store| store.groups()).await }))
        .route("/v1/groups/{group}/{act}", post(register::<S>))
        .route("/v1/windows", get(|State(s): State<Arc<S>>| async move { answer(s.windows()).await }))
        .route("/v1/windows/{name}", get(window::<S>).put(put_window::<S>).delete(delete_window::<S>))
        .route("/v1/services", get(|State(s): State<Arc<S>>| async move { answer(s.services()).await }))
        .route("/v1/services/{name}", get(service::<S>).put(keep_service::<S>).delete(drop_service::<S>))
        .route("/v1/policies", get(|State(s): State<Arc<S>>| async move { answer(s.policies()).await }))
        .route("/v1/policies/{name}", get(policy::<S>).put(put_policy::<S>).delete(delete_policy::<S>))
        .route("/v1/snapshots", get(snapshots::<S>))
        .route("/v1/snapshots/{id}", get(snapshot::<S>))
}

/// Asks the store, on a thread that may wait for the disk.
async fn keep<S: Service, T: Serialize + Send + 'static>(
    service: &S,
    ask: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
) -> Response {
    let store = service.store();
    read(move || ask(&store)).await
}

/// Has the store change something, once it is in the ledger that `who` asked for it.
async fn change<S: Service, T: Serialize + Send + 'static>(
    service: Arc<S>,
    who: &Who,
    ask: impl FnOnce(&Store, Note<'_>) -> Result<T, Fault> + Send + 'static,
) -> Response {
    let (store, by) = (service.store(), who.name(""));
    let runtime = tokio::runtime::Handle::current();
    // On a thread of its own it may wait for the ledger, and goes on if the client has gone.
    read(move || ask(&store, &|intent| runtime.block_on(service.intend(intent, by.clone())))).await
}

/// Works on files, on a thread that may wait for the disk.
async fn read<T: Serialize + Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Response {
    let asked = tokio::task::spawn_blocking(work);
    answer(Box::pin(async move {
        asked.await.unwrap_or_else(|error| {
            Err(Fault::new("busy", "the store was not asked to its end", "see patchmesh get baselines", "try again")
                .because(error))
        })
    }))
    .await
}

async fn one<S: Service>(State(service): State<Arc<S>>, Name(name): Name<String>) -> Response {
    keep(&*service, move |store| store.show(&name)).await
}

async fn put<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    Name(name): Name<String>,
    body: Received,
) -> Response {
    put_kept(service, &who, &name, body, Written::baseline, Store::put).await
}

/// Keeps what `read` makes of the body, whose name must be that of the resource.
async fn put_kept<S: Service, W: DeserializeOwned, K: Kept + Send + 'static, T: Serialize + Send + 'static>(
    service: Arc<S>,
    who: &Who,
    name: &str,
    body: Received,
    read: fn(W) -> Option<K>,
    put: fn(&Store, K, Note<'_>) -> Result<T, Fault>,
) -> Response {
    let given = parse::<W>(body).and_then(|manifest| {
        let one = read(manifest).ok_or_else(|| bad_request("the manifest is of another kind or version"))?;
        match one.name() == name {
            true => Ok(one),
            false => Err(bad_request("the manifest has another name than the resource")),
        }
    });
    match given {
        Ok(one) => change(service, who, move |store, note| put(store, one, note)).await,
        Err(fault) => refuse(&fault),
    }
}

async fn delete<S: Service>(State(service): State<Arc<S>>, who: Who, Name(name): Name<String>) -> Response {
    change(service, &who, move |store, note| store.delete(&name, note)).await
}

async fn window<S: Service>(State(service): State<Arc<S>>, Name(name): Name<String>) -> Response {
    answer(service.window(name)).await
}

async fn put_window<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    Name(name): Name<String>,
    body: Received,
) -> Response {
    put_kept(service, &who, &name, body, manifest::window::Written::window, Store::put_window).await
}

async fn delete_window<S: Service>(State(service): State<Arc<S>>, who: Who, Name(name): Name<String>) -> Response {
    change(service, &who, move |store, note| store.delete_window(&name, note)).await
}

async fn service<S: Service>(State(service): State<Arc<S>>, Name(name): Name<String>) -> Response {
    answer(service.service(name)).await
}

async fn keep_service<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    Name(name): Name<String>,
    body: Received,
) -> Response {
    match parse::<ServiceRequest>(body) {
        Ok(asked) => answer(service.keep_service(asked.spec(name), who.name(""))).await,
        Err(fault) => refuse(&fault),
    }
}

async fn drop_service<S: Service>(State(service): State<Arc<S>>, who: Who, Name(name): Name<String>) -> Response {
    answer(service.drop_service(name, who.name(""))).await
}

async fn policy<S: Service>(State(service): State<Arc<S>>, Name(name): Name<String>) -> Response {
    answer(service.policy(name)).await
}

async fn put_policy<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    Name(name): Name<String>,
    body: Received,
) -> Response {
    put_kept(service, &who, &name, body, manifest::policy::Written::policy, Store::put_policy).await
}

async fn delete_policy<S: Service>(State(service): State<Arc<S>>, who: Who, Name(name): Name<String>) -> Response {
    change(service, &who, move |store, note| store.delete_policy(&name, note)).await
}

async fn default<S: Service>(State(service): State<Arc<S>>, who: Who, Name(name): Name<String>) -> Response {
    change(service, &who, move |store, note| store.set_default(&name, note)).await
}

async fn snapshots<S: Service>(State(service): State<Arc<S>>) -> Response {
    let kept = service.snapshots();
    read(move || SnapshotsDocument::of(&kept)).await
}

async fn snapshot<S: Service>(State(service): State<Arc<S>>, Name(id): Name<String>) -> Response {
    let kept = service.snapshots();
    read(move || kept.find(&id).map(|(id, snapshot)| SnapshotDocument::new(id, snapshot, kept.written(id)))).await
}

async fn register<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    Name((group, act)): Name<(String, String)>,
    body: Received,
) -> Response {
    match (parse::<RegisterRequest>(body), act.as_str()) {
        (_, act) if !["register", "deregister"].contains(&act) => refuse(&not_found("resource", act)),
        (Err(fault), _) => refuse(&fault),
        (Ok(asked), "register") => change(service, &who, move |store, note| store.register(&group, &asked, note)).await,
        (Ok(asked), _) => change(service, &who, move |store, note| store.deregister(&group, &asked, note)).await,
    }
}
