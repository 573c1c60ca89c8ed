//! The client side: one connection per question, over the unix socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use patchmesh_node::api::document::OrderRequest;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    MAX_BODY,
    document::{
        AppliedDocument, CommandDocument, CommandsDocument, ComplianceDocument, HistoryDocument, HostDocument,
        HostsDocument, OrdersDocument, PatchesDocument, PlanDocument, ReleaseDocument, ReleaseRequest, RolloutDocument,
        RolloutsDocument, SlotsDocument, SnapshotDocument, SnapshotsDocument, SpecDocument, StepsDocument,
        StopDocument, SurveysDocument, VerdictRequest, WatchEvent, WhyDocument,
    },
    who,
};
use crate::fault::{ErrorDocument, Exit, Fault};

mod kept;

/// Asks one service. Cheap; connects anew for every question.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the service at `socket`. Does not connect.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Where it asks.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every known host.
    ///
    /// # Errors
    /// What the service said, or exit 7 if nobody answers. The same holds for every method.
    pub async fn hosts(&self) -> Result<HostsDocument, Fault> {
        self.get("/v1/hosts").await
    }

    /// One host.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn host(&self, name: &str) -> Result<HostDocument, Fault> {
        self.get(&format!("/v1/hosts/{}", encode(name))).await
    }

    /// What the reports of the hosts that `selector` admits, or of all, say in short.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn compliance(&self, selector: Option<&str>) -> Result<ComplianceDocument, Fault> {
        let query = selector.map(|text| format!("?selector={}", encode(text))).unwrap_or_default();
        self.get(&format!("/v1/compliance{query}")).await
    }

    /// The patches of one host, which is asked.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn patches(&self, name: &str) -> Result<PatchesDocument, Fault> {
        self.get(&format!("/v1/hosts/{}/patches", encode(name))).await
    }

    /// The reports of one host in short; it is asked.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn history(&self, name: &str) -> Result<HistoryDocument, Fault> {
        self.get(&format!("/v1/hosts/{}/history", encode(name))).await
    }

    /// Why a host is where it is.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn why_host(&self, name: &str) -> Result<WhyDocument, Fault> {
        self.get(&format!("/v1/hosts/{}/why", encode(name))).await
    }

    /// Why a rollout, by id or name, is where it is.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn why_rollout(&self, id: &str) -> Result<WhyDocument, Fault> {
        self.get(&format!("/v1/rollouts/{}/why", encode(id))).await
    }

    /// Why a package is not on every host for which a rollout planned it.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn why_patch(&self, name: &str) -> Result<WhyDocument, Fault> {
        self.get(&format!("/v1/patches/{}/why", encode(name))).await
    }

    /// Plans; changes nothing.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn plan(&self, spec: &SpecDocument) -> Result<PlanDocument, Fault> {
        self.post("/v1/plans", Some(spec)).await
    }

    /// The plans that are being made.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn surveys(&self) -> Result<SurveysDocument, Fault> {
        self.get("/v1/plans").await
    }

    /// Starts a plan, if its hosts would still do what it says.
    ///
    /// # Errors
    /// As [`Self::hosts`]; exit 6 with what moved.
    pub async fn apply(&self, plan: &PlanDocument) -> Result<AppliedDocument, Fault> {
        self.post("/v1/rollouts", Some(plan)).await
    }

    /// Starts a plan without asking its hosts again: it was made just now, or every host is to refuse by itself.
    ///
    /// # Errors
    /// As [`Self::hosts`]; exit 6 if another rollout has taken its hosts.
    pub async fn apply_unasked(&self, plan: &PlanDocument) -> Result<AppliedDocument, Fault> {
        self.post("/v1/rollouts?recheck=false", Some(plan)).await
    }

    /// Every rollout.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn rollouts(&self) -> Result<RolloutsDocument, Fault> {
        self.get("/v1/rollouts").await
    }

    /// One rollout by id or name.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn rollout(&self, id: &str) -> Result<RolloutDocument, Fault> {
        self.get(&format!("/v1/rollouts/{}", encode(id))).await
    }

    /// The steps that the hosts of a rollout reported, or only those of `host`.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn steps(&self, id: &str, host: Option<&str>) -> Result<StepsDocument, Fault> {
        let host = host.map(|name| format!("/{}", encode(name))).unwrap_or_default();
        self.get(&format!("/v1/rollouts/{}/steps{host}", encode(id))).await
    }

    /// Every rollout as a command.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn commands(&self) -> Result<CommandsDocument, Fault> {
        self.get("/v1/commands").await
    }

    /// One rollout by id or name as a command.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn command(&self, id: &str) -> Result<CommandDocument, Fault> {
        self.get(&format!("/v1/commands/{}", encode(id))).await
    }

    /// Every snapshot.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn snapshots(&self) -> Result<SnapshotsDocument, Fault> {
        self.get("/v1/snapshots").await
    }

    /// One snapshot by its id, or the beginning of it.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn snapshot(&self, id: &str) -> Result<SnapshotDocument, Fault> {
        self.get(&format!("/v1/snapshots/{}", encode(id))).await
    }

    /// `pause`, `resume` or `stop`.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn act(&self, id: &str, act: &str) -> Result<RolloutDocument, Fault> {
        self.post::<(), _>(&format!("/v1/rollouts/{}/{act}", encode(id)), None).await
    }

    /// Hands over an operator's word on a ring.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn verdict(&self, id: &str, verdict: &VerdictRequest) -> Result<RolloutDocument, Fault> {
        self.post(&format!("/v1/rollouts/{}/verdicts", encode(id)), Some(verdict)).await
    }

    /// The STOPs and resumes that the member knows.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn orders(&self) -> Result<OrdersDocument, Fault> {
        self.get("/v1/orders").await
    }

    /// Gives a STOP or a resume.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn order(&self, request: &OrderRequest) -> Result<StopDocument, Fault> {
        self.post("/v1/orders", Some(request)).await
    }

    /// How the winning order of `scope`, which is `all` or a rollout's id, stands.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn standing(&self, scope: &str) -> Result<StopDocument, Fault> {
        self.get(&format!("/v1/orders/{}", encode(scope))).await
    }

    /// Every held slot.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn slots(&self) -> Result<SlotsDocument, Fault> {
        self.get("/v1/slots").await
    }

    /// Frees the slot of a host.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn release(&self, host: &str, asked: &ReleaseRequest) -> Result<ReleaseDocument, Fault> {
        self.post(&format!("/v1/slots/{}/release", encode(host)), Some(asked)).await
    }

    /// What happens in a rollout from now on.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub async fn watch(&self, id: &str) -> Result<Events, Fault> {
        let path = format!("/v1/rollouts/{}/watch", encode(id));
        let response = self.send(Method::GET, &path, Bytes::new()).await?;
        if response.status() == StatusCode::OK {
            return Ok(Events { body: response.into_body(), buffer: Vec::new(), socket: self.socket.clone() });
        }
        Err(self
            .read::<RolloutDocument>(response)
            .await
            .err()
            .unwrap_or_else(|| self.broken("an answer without a reason")))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        self.read(response).await
    }

    async fn post<B: serde::Serialize, T: DeserializeOwned>(&self, path: &str, body: Option<&B>) -> Result<T, Fault> {
        self.send_json(Method::POST, path, body).await
    }

    async fn send_json<B: serde::Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, Fault> {
        let body = match body {
            Some(body) => {
                serde_json::to_vec(body).map_err(|error| self.broken("a request that is no JSON").because(error))?
            }
            None => Vec::new(),
        };
        let response = self.send(method, path, Bytes::from(body)).await?;
        self.read(response).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Fault> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            Fault::new(
                "no-coordinator",
                format!("no coordinator answers on {}", self.socket.display()),
                "nothing was changed",
                "start one with patchmesh serve, or name its socket with --socket PATH or PATCHMESH_SOCKET",
            )
            .because(error)
            .exit(Exit::NoCoordinator)
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken("no HTTP").because(error))?;
        // It ends by itself when the answer is read or dropped; its error shows on the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "patchmesh")
            .header("content-type", "application/json")
            .header(who::HEADER, who::own_name())
            .body(Full::new(body))
            .map_err(|error| self.broken("a request that cannot be sent").because(error))?;
        sender.send_request(request).await.map_err(|error| self.gone().because(error))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Fault> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                self.broken(&format!("an answer of more than {MAX_BODY} bytes"))
            } else {
                self.gone().because(error)
            }
        })?;
        let body = body.to_bytes();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map_err(|error| self.broken("an answer of another version").because(error));
        }
        match serde_json::from_slice::<ErrorDocument>(&body) {
            Ok(document) => Err(document.into()),
            Err(_) => Err(self.broken(&format!("HTTP status {status} without a reason"))),
        }
    }

    fn gone(&self) -> Fault {
        gone(&self.socket)
    }

    fn broken(&self, what: &str) -> Fault {
        Fault::new(
            "bad-answer",
            format!("{} gave {what}", self.socket.display()),
            "a rollout that was started goes on",
            "use a patchmesh of the service's version, and check with patchmesh get rollouts",
        )
    }
}

fn gone(socket: &Path) -> Fault {
    Fault::new(
        "coordinator-gone",
        format!("the coordinator on {} went away before it answered", socket.display()),
        "a rollout that was started goes on when the coordinator is back",
        "start it again with patchmesh serve, then look with patchmesh get rollouts",
    )
    .exit(Exit::NoCoordinator)
}

/// The lines of a watch.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
    socket: PathBuf,
}

impl Events {
    /// The next event; `None` at the end of the stream, which comes after the recap, or when the service ends.
    ///
    /// # Errors
    /// Exit 7 if the service died; `bad-answer` for lines that are no events or longer than [`MAX_BODY`].
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Fault> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|error| Client::new(&self.socket).broken("a line that is no event").because(error));
            }
            if self.buffer.len() > MAX_BODY {
                return Err(Client::new(&self.socket).broken("an event without end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(error)) => return Err(gone(&self.socket).because(error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(gone(&self.socket)),
            }
        }
    }
}

/// Percent-encodes everything but unreserved characters, so that a name stays one segment of a path.
fn encode(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A segment of only dots would be taken for a step up the path.
            b'.' if name.bytes().any(|byte| byte != b'.') => out.push('.'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(encode("web-1.example"), "web-1.example");
        assert_eq!(encode("a/b?c é"), "a%2Fb%3Fc%20%C3%A9");
        assert_eq!(encode(".."), "%2E%2E");
    }
}
