//! What members say on a link, handed up; what is malformed breaks it.

use libp2p::{
    gossipsub,
    request_response::{self, Message, OutboundFailure},
    swarm::ConnectionId,
};
use patchmesh_common::{
    gossip::{ExchangeAnswer, ExchangeRequest, Item, MAX_ITEM, Verdict},
    run::message::LeaseFrame,
    wire::Malformed,
};

use super::Net;
use crate::mesh::{Announcement, Event, Reply, node_id, swarm::MembersEvent};

impl Net {
    pub(super) fn on_member(&mut self, event: MembersEvent) {
        match event {
            MembersEvent::Gossipsub(gossipsub::Event::Message {
                propagation_source: from,
                message_id: id,
                message,
            }) => {
                let announcement = Announcement { id, from };
                match self.settings.hand.read::<Item>(&message.data, MAX_ITEM) {
                    Some(Ok(item)) => self.out.push(Event::Announced { message: announcement, item: Box::new(item) }),
                    Some(Err(error)) => {
                        self.judge(&announcement, Verdict::Reject(format!("malformed announcement: {error}")));
                    }
                    None => self.judge(&announcement, Verdict::Ignore),
                }
            }
            MembersEvent::Exchange(event) => self.on_exchange(event),
            MembersEvent::Lease(event) => self.on_lease(event),
            MembersEvent::Gossipsub(_) | MembersEvent::Identify(_) => {}
        }
    }

    fn on_exchange(
        &mut self,
        event: request_response::Event<Result<ExchangeRequest, Malformed>, Result<ExchangeAnswer, Malformed>>,
    ) {
        match event {
            request_response::Event::Message { peer, message, .. } => {
                let Some(from) = node_id(&peer) else { return };
                match message {
                    Message::Request { request: Ok(request), channel, .. } => {
                        self.out.push(Event::Asked { from, request, reply: Reply(channel) });
                    }
                    Message::Response { response: Ok(answer), .. } => self.out.push(Event::Answered { from, answer }),
                    Message::Request { request: Err(error), .. } | Message::Response { response: Err(error), .. } => {
                        self.offended(peer, &format!("malformed exchange: {error}"));
                    }
                }
            }
            request_response::Event::OutboundFailure { connection_id, error, .. } => {
                self.unanswered(connection_id, &error);
            }
            request_response::Event::InboundFailure { .. } | request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_lease(&mut self, event: request_response::Event<Result<LeaseFrame, Malformed>, Result<(), Malformed>>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                Message::Request { request: Ok(frame), channel, .. } => {
                    let _ = self.members().lease.send_response(channel, Ok(()));
                    if let Some(from) = node_id(&peer) {
                        self.out.push(Event::Frame { from, frame: Box::new(frame) });
                    }
                }
                Message::Response { response: Ok(()), .. } => {}
                Message::Request { request: Err(error), .. } | Message::Response { response: Err(error), .. } => {
                    self.offended(peer, &format!("malformed lease frame: {error}"));
                }
            },
            request_response::Event::OutboundFailure { connection_id, error, .. } => {
                self.unanswered(connection_id, &error);
            }
            request_response::Event::InboundFailure { .. } | request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// A peer that does not answer in time may be gone without a word: a fresh connection will tell.
    fn unanswered(&mut self, id: ConnectionId, error: &OutboundFailure) {
        if matches!(error, OutboundFailure::Timeout) {
            self.swarm.close_connection(id);
        }
    }
}
