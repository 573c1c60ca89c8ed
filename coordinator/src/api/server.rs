//! The service side: a unix socket for its owner only, and one route per method of [`Service`].

use std::{io, path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        self, DefaultBodyLimit, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use patchmesh_common::{rollout::spec::RolloutSpec, selector::Selector};
use patchmesh_node::api::{
    document::OrderRequest,
    orders,
    socket::{self, SocketError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::UnixListener, sync::mpsc};

use super::{
    Answer, MAX_BODY, Service, bad_request,
    document::{PlanDocument, ReleaseRequest, SpecDocument, WatchEvent},
    kept, not_found, uncanonical, verdicts,
    who::{Peer, Who},
};
use crate::fault::{Exit, Fault};

/// Opens the API's socket at `path`, readable by its owner only. The socket of a service that is gone is replaced; one on
/// which somebody answers is not.
///
/// # Errors
/// `socket-in-use` if another service answers, `socket-failed` otherwise. Nothing was changed.
pub fn open(path: &Path) -> Result<UnixListener, Fault> {
    socket::open(path).map_err(|error| match error {
        SocketError::InUse(_) => Fault::new(
            "socket-in-use",
            error.to_string(),
            "it was left alone, and no second one was started",
            "stop it first, or choose another --dir",
        ),
        SocketError::Io { .. } => Fault::new(
            "socket-failed",
            error.to_string(),
            "no service was started",
            "choose another --dir or --socket (at most 107 bytes long), in a folder that this user may write",
        )
        .because(error.into_cause()),
    })
}

/// Answers on `listener` until `stopped` ends; then finishes what is being answered.
///
/// # Errors
/// What the socket says.
pub async fn serve(
    listener: UnixListener,
    service: Arc<impl Service>,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router(service).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

fn router<S: Service>(service: Arc<S>) -> Router {
    Router::new()
        .route("/v1/hosts", get(|State(s): State<Arc<S>>| async move { answer(s.hosts()).await }))
        .route("/v1/hosts/{name}", get(|State(s): State<Arc<S>>, Name(name)| async move { answer(s.host(name)).await }))
        .route(
            "/v1/hosts/{name}/why",
            get(|State(s): State<Arc<S>>, Name(name)| async move { answer(s.why_host(name)).await }),
        )
        .route(
            "/v1/hosts/{name}/patches",
            get(|State(s): State<Arc<S>>, Name(name)| async move { answer(s.patches(name)).await }),
        )
        .route(
            "/v1/hosts/{name}/history",
            get(|State(s): State<Arc<S>>, Name(name)| async move { answer(s.history(name)).await }),
        )
        .route("/v1/compliance", get(compliance::<S>))
        .route("/v1/plans", get(|State(s): State<Arc<S>>| async move { answer(s.surveys()).await }).post(plan::<S>))
        .route(
            "/v1/rollouts",
            get(|State(s): State<Arc<S>>| async move { answer(s.rollouts()).await }).post(apply::<S>),
        )
        .route("/v1/rollouts/{id}", get(|State(s): State<Arc<S>>, Name(id)| async move { answer(s.rollout(id)).await }))
        .route(
            "/v1/rollouts/{id}/steps",
            get(|State(s): State<Arc<S>>, Name(id)| async move { answer(s.steps(id, None)).await }),
        )
        .route(
            "/v1/rollouts/{id}/steps/{host}",
            get(|State(s): State<Arc<S>>, Name((id, host)): Name<(String, String)>| async move {
                answer(s.steps(id, Some(host))).await
            }),
        )
        .route(
            "/v1/rollouts/{id}/why",
            get(|State(s): State<Arc<S>>, Name(id)| async move { answer(s.why_rollout(id)).await }),
        )
        .route(
            "/v1/patches/{name}/why",
            get(|State(s): State<Arc<S>>, Name(name)| async move { answer(s.why_patch(name)).await }),
        )
        .route("/v1/commands", get(|State(s): State<Arc<S>>| async move { answer(s.commands()).await }))
        .route("/v1/commands/{id}", get(|State(s): State<Arc<S>>, Name(id)| async move { answer(s.command(id)).await }))
        .route("/v1/slots", get(|State(s): State<Arc<S>>| async move { answer(s.slots()).await }))
        .route("/v1/slots/{host}/release", post(release::<S>))
        .route("/v1/rollouts/{id}/watch", get(watch::<S>))
        .route("/v1/rollouts/{id}/verdicts", post(verdict::<S>))
        .route("/v1/rollouts/{id}/{act}", post(act::<S>))
        .route("/v1/orders", get(|State(s): State<Arc<S>>| async move { answer(s.orders()).await }).post(order::<S>))
        .route("/v1/orders/{scope}", get(standing::<S>))
        .merge(kept::routes::<S>())
        .fallback(|uri: axum::http::Uri| async move { refuse(&not_found("resource", uri.path())) })
        .method_not_allowed_fallback(|| async { refuse(&bad_request("this resource does not take that method")) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(service)
}

pub(super) use extract::Path as Name;

pub(super) async fn answer<T: Serialize>(answer: Answer<'_, T>) -> Response {
    match answer.await {
        Ok(document) => json(StatusCode::OK, &document),
        Err(fault) => refuse(&fault),
    }
}

/// A request body, or why there is none.
pub(super) type Received = Result<Bytes, BytesRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    selector: Option<String>,
}

async fn compliance<S: Service>(
    State(service): State<Arc<S>>,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Response {
    let selector = chosen.map_err(|error| bad_request("the query is not selector=SELECTOR").because(error));
    let selector = selector.and_then(|Query(Chosen { selector })| {
        let parsed = selector.map(|text| Selector::parse(&text)).transpose();
        parsed.map(Option::unwrap_or_default).map_err(|error| bad_request("the selector is none").because(error))
    });
    match selector {
        Ok(selector) => answer(service.compliance(selector)).await,
        Err(fault) => refuse(&fault),
    }
}

async fn plan<S: Service>(State(service): State<Arc<S>>, body: Received) -> Response {
    let planned = async {
        let document = parse::<SpecDocument>(body)?;
        let labels = document.labels.clone();
        let spec = RolloutSpec::try_from(document);
        let spec = spec.map_err(|error| bad_request("the spec is no rollout").because(error))?;
        service.plan(spec).await?.labelled(labels).map_err(uncanonical)
    };
    answer(Box::pin(planned)).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HowToApply {
    /// `false`: the hosts are not asked again what they would do.
    recheck: Option<bool>,
}

async fn apply<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    how: Result<Query<HowToApply>, QueryRejection>,
    body: Received,
) -> Response {
    let applied = async {
        let Query(how) = how.map_err(|error| bad_request("the query is not recheck=true|false").because(error))?;
        let plan = check_plan(parse::<PlanDocument>(body)?)?;
        if how.recheck.unwrap_or(true) {
            service.recheck(plan.clone()).await?;
        }
        service.apply(plan, who.name("")).await
    };
    answer(Box::pin(applied)).await
}

/// The plan, if it is one, asks for something that can be asked for, and nobody edited it.
///
/// # Errors
/// `plan-edited`, exit 6; `bad-request`.
pub fn check_plan(plan: PlanDocument) -> Result<PlanDocument, Fault> {
    if plan.schema != PlanDocument::SCHEMA {
        let schema: String = plan.schema.chars().take(80).collect();
        return Err(bad_request(format!("{schema:?} is not {}", PlanDocument::SCHEMA)));
    }
    RolloutSpec::try_from(plan.spec.clone())
        .map_err(|error| bad_request("the plan's spec is no rollout").because(error))?;
    let edited = || {
        Fault::new(
            "plan-edited",
            format!("the plan for {} does not match its hash", plan.rollout),
            "no rollout was started",
            "plan again with patchmesh plan -f FILE -o json; a plan cannot be edited",
        )
        .exit(Exit::StalePlan)
    };
    match plan.computed_hash() {
        Ok(hash) if hash == plan.hash => Ok(plan),
        Ok(_) => Err(edited()),
        Err(error) => Err(edited().because(error)),
    }
}

async fn act<S: Service>(State(service): State<Arc<S>>, who: Who, Name((id, act)): Name<(String, String)>) -> Response {
    let by = who.name("");
    match act.as_str() {
        "pause" => answer(service.pause(id, by)).await,
        "resume" => answer(service.resume(id, by)).await,
        "stop" => answer(service.stop(id, by)).await,
        _ => refuse(&not_found("resource", &act)),
    }
}

async fn verdict<S: Service>(State(service): State<Arc<S>>, Name(id): Name<String>, body: Received) -> Response {
    match parse(body).and_then(|request| verdicts::decode(&request)) {
        Ok(signed) => answer(service.verdict(id, signed)).await,
        Err(fault) => refuse(&fault),
    }
}

async fn order<S: Service>(State(service): State<Arc<S>>, body: Received) -> Response {
    let signed = parse::<OrderRequest>(body).and_then(|request| orders::decode(&request).map_err(bad_request));
    match signed {
        Ok(signed) => answer(service.order(signed)).await,
        Err(fault) => refuse(&fault),
    }
}

async fn release<S: Service>(
    State(service): State<Arc<S>>,
    who: Who,
    Name(host): Name<String>,
    body: Received,
) -> Response {
    match parse::<ReleaseRequest>(body) {
        Ok(asked) => answer(service.release(host, ReleaseRequest { by: who.name(&asked.by), ..asked })).await,
        Err(fault) => refuse(&fault),
    }
}

async fn standing<S: Service>(State(service): State<Arc<S>>, Name(scope): Name<String>) -> Response {
    match orders::scope(&scope) {
        Some(scope) => answer(service.standing(scope)).await,
        None => refuse(&not_found("resource", &scope)),
    }
}

async fn watch<S: Service>(State(service): State<Arc<S>>, Name(id): Name<String>) -> Response {
    let events = match service.watch(id).await {
        Ok(events) => events,
        Err(fault) => return refuse(&fault),
    };
    let lines = futures::stream::unfold(events, |mut events: mpsc::Receiver<WatchEvent>| async {
        let event = events.recv().await?;
        let line = serde_json::to_vec(&event).map_err(io::Error::other).map(|mut line| {
            line.push(b'\n');
            line
        });
        Some((line, events))
    });
    ([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
}

pub(super) fn parse<T: DeserializeOwned>(body: Received) -> Result<T, Fault> {
    let body = body.map_err(|error| {
        bad_request(format!("the request body cannot be read, or is larger than {MAX_BODY} bytes")).because(error)
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| bad_request("the request body is not what this resource takes").because(error))
}

pub(super) fn refuse(fault: &Fault) -> Response {
    let status = match (fault.code, fault.exit) {
        ("not-found", _) => StatusCode::NOT_FOUND,
        ("baseline-in-use" | "group-taken" | "other-operating-system", _) => StatusCode::CONFLICT,
        ("bad-request", _) | (_, Exit::Usage) => StatusCode::BAD_REQUEST,
        (_, Exit::StalePlan) => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, &fault.document())
}

fn json<T: Serialize>(status: StatusCode, document: &T) -> Response {
    match serde_json::to_vec(document) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
