//! Who asks: what they say, and what the kernel says of them.

use std::convert::Infallible;

use axum::{
    extract::{ConnectInfo, FromRequestParts, connect_info::Connected},
    http::request::Parts,
    serve::IncomingStream,
};
use patchmesh_common::rollout::ledger::MAX_BY;
use tokio::net::UnixListener;

/// Header in which a client names the person at work.
pub const HEADER: &str = "patchmesh-by";
/// Longest name that is kept of what a client says, in characters: room is left for the kernel's word.
const MAX_SAID: usize = MAX_BY - 24;

/// Who runs this process, as they call themselves. Whoever can open the socket is the coordinator: this is for people.
pub fn own_name() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    clean(&named.unwrap_or_default())
}

/// The user at the other end of a connection, as the kernel knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Who asks, as the ledger will name them: `anna (uid 1000)`.
#[derive(Clone, Debug)]
pub(super) struct Who {
    said: String,
    uid: Option<u32>,
}

impl Who {
    /// The name; `said` instead of what the header says, if there is something.
    pub(super) fn name(&self, said: &str) -> String {
        let said = Some(clean(said)).filter(|said| !said.is_empty()).unwrap_or_else(|| self.said.clone());
        match (said.as_str(), self.uid) {
            ("", None) => "unknown".to_owned(),
            ("", Some(uid)) => format!("uid {uid}"),
            (said, None) => said.to_owned(),
            (said, Some(uid)) => format!("{said} (uid {uid})"),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let said = parts.headers.get(HEADER).map(|said| String::from_utf8_lossy(said.as_bytes()).into_owned());
        let uid = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|ConnectInfo(Peer(uid))| *uid);
        Ok(Self { said: clean(&said.unwrap_or_default()), uid })
    }
}

/// On one line, and not without end.
fn clean(said: &str) -> String {
    said.trim().chars().filter(|c| !c.is_control()).take(MAX_SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_they_say_and_what_the_kernel_says() {
        let who = |said: &str, uid| Who { said: said.into(), uid };
        assert_eq!(who("anna", Some(1000)).name(""), "anna (uid 1000)");
        assert_eq!(who("anna", Some(1000)).name(" maria\n"), "maria (uid 1000)");
        assert_eq!(who("", Some(0)).name(""), "uid 0");
        assert_eq!(who("anna", None).name(""), "anna");
        assert_eq!(who("", None).name(""), "unknown");
        let long = who("", Some(u32::MAX)).name(&"x".repeat(1_000));
        assert!(long.chars().count() <= MAX_BY && long.ends_with("(uid 4294967295)"), "{long}");
    }
}
