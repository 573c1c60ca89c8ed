//! A peer that speaks libp2p and not our manners.

use std::{io, time::Duration};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _},
    gossipsub, identify, noise,
    request_response::{self, Codec, Message, OutboundFailure, OutboundRequestId, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use patchmesh_common::{
    gossip::{ExchangeRequest, Hello},
    id::NodeId,
    membership::Credential,
    run::message::LeaseFrame,
    wire,
};
use patchmesh_node::{clock, identity::Identity, mesh};

use super::PATIENCE;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered(Vec<u8>),
    /// The other side does not speak this protocol with us.
    Unsupported,
    /// The other side hung up, or gave no answer.
    Closed,
}

/// Bytes as they are.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.take(1 << 20).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.take(1 << 20).read_to_end(&mut bytes).await?;
        if bytes.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    hello: request_response::Behaviour<Raw>,
    exchange: request_response::Behaviour<Raw>,
    lease: request_response::Behaviour<Raw>,
    gossipsub: gossipsub::Behaviour,
    identify: identify::Behaviour,
}

pub(super) struct Outsider {
    pub(super) identity: Identity,
    /// Topics that others told.
    pub(super) subscriptions: usize,
    /// Others that said who they are.
    pub(super) identified: usize,
    swarm: Swarm<Behaviour>,
    target: Option<PeerId>,
}

fn asking(name: &'static str) -> request_response::Behaviour<Raw> {
    let protocol = (StreamProtocol::new(name), ProtocolSupport::Full);
    request_response::Behaviour::new([protocol], request_response::Config::default().with_request_timeout(PATIENCE))
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

impl Outsider {
    pub(super) fn new() -> Self {
        let keypair = libp2p::identity::Keypair::generate_ed25519();
        let secret = keypair.clone().try_into_ed25519().unwrap().secret();
        let identity = Identity::from_secret(secret.as_ref().try_into().unwrap());
        let config =
            gossipsub::ConfigBuilder::default().validation_mode(gossipsub::ValidationMode::Anonymous).build().unwrap();
        let mut gossipsub = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config).unwrap();
        gossipsub.subscribe(&gossipsub::IdentTopic::new("/patchmesh/records/1")).unwrap();
        let behaviour = Behaviour {
            hello: asking("/patchmesh/hello/1"),
            exchange: asking("/patchmesh/exchange/1"),
            lease: asking("/patchmesh/lease/1"),
            gossipsub,
            identify: identify::Behaviour::new(identify::Config::new("/patchmesh/1".into(), keypair.public())),
        };
        let swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        Self { identity, subscriptions: 0, identified: 0, swarm, target: None }
    }

    async fn next(&mut self) -> SwarmEvent<BehaviourEvent> {
        let event =
            tokio::time::timeout(PATIENCE, self.swarm.select_next_some()).await.expect("the network went quiet");
        match &event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(gossipsub::Event::Subscribed { .. })) => {
                self.subscriptions += 1
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { .. })) => self.identified += 1,
            _ => {}
        }
        event
    }

    fn call(&mut self, node: NodeId, address: &str) {
        let address: Multiaddr = mesh::bootstrap_address(&node, address).parse().unwrap();
        self.swarm.dial(DialOpts::unknown_peer_id().address(address).allocate_new_port().build()).unwrap();
    }

    pub(super) async fn dial(&mut self, node: NodeId, address: &str) {
        self.call(node, address);
        loop {
            match self.next().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    self.target = Some(peer_id);
                    return;
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("no connection: {error}"),
                _ => {}
            }
        }
    }

    /// Whether a new connection is closed at once.
    pub(super) async fn is_refused(&mut self, node: NodeId, address: &str) -> bool {
        self.call(node, address);
        loop {
            match self.next().await {
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return true,
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { .. })) => return false,
                _ => {}
            }
        }
    }

    /// Becomes a member as members do: hello, and again on a new connection.
    pub(super) async fn enrol(&mut self, node: NodeId, address: &str, credential: Credential) {
        self.dial(node, address).await;
        let answer = self.say_hello(credential.clone()).await;
        assert!(matches!(answer, Ending::Answered(_)), "{answer:?}");
        let target = self.target.unwrap();
        self.swarm.disconnect_peer_id(target).unwrap();
        while !matches!(self.next().await, SwarmEvent::ConnectionClosed { .. }) {}
        self.dial(node, address).await;
        let answer = self.say_hello(credential).await;
        assert!(matches!(answer, Ending::Answered(_)), "{answer:?}");
    }

    pub(super) async fn say_hello(&mut self, credential: Credential) -> Ending {
        let hello = Hello { wall: clock::now().wall, credential, full: true };
        self.raw_hello(&framed(&wire::encode(&hello))).await
    }

    pub(super) async fn raw_hello(&mut self, bytes: &[u8]) -> Ending {
        let target = self.target.unwrap();
        let id = self.swarm.behaviour_mut().hello.send_request(&target, bytes.to_vec());
        self.ending(id, 0).await
    }

    pub(super) async fn ask_exchange(&mut self) -> Ending {
        let request = ExchangeRequest::Pull { wall: clock::now().wall, digest: Vec::new() };
        let target = self.target.unwrap();
        let id = self.swarm.behaviour_mut().exchange.send_request(&target, framed(&wire::encode(&request)));
        self.ending(id, 1).await
    }

    pub(super) async fn send_frame(&mut self, frame: &LeaseFrame) -> Ending {
        self.raw_frame(&framed(&wire::encode(frame))).await
    }

    pub(super) async fn raw_frame(&mut self, bytes: &[u8]) -> Ending {
        let target = self.target.unwrap();
        let id = self.swarm.behaviour_mut().lease.send_request(&target, bytes.to_vec());
        self.ending(id, 2).await
    }

    /// Waits for the end of one request of one of the three protocols.
    async fn ending(&mut self, id: OutboundRequestId, protocol: usize) -> Ending {
        loop {
            let (from, event) = match self.next().await {
                SwarmEvent::Behaviour(BehaviourEvent::Hello(event)) => (0, event),
                SwarmEvent::Behaviour(BehaviourEvent::Exchange(event)) => (1, event),
                SwarmEvent::Behaviour(BehaviourEvent::Lease(event)) => (2, event),
                _ => continue,
            };
            match event {
                request_response::Event::Message { message: Message::Response { request_id, response }, .. }
                    if from == protocol && request_id == id =>
                {
                    return Ending::Answered(response);
                }
                request_response::Event::OutboundFailure { request_id, error, .. }
                    if from == protocol && request_id == id =>
                {
                    return match error {
                        OutboundFailure::UnsupportedProtocols => Ending::Unsupported,
                        _ => Ending::Closed,
                    };
                }
                _ => {}
            }
        }
    }
}
