//! Frames: four bytes of length, big-endian, then one message. The length is compared before anything is allocated, and
//! nothing may follow.
//!
//! A request that does not decode would raise no event in libp2p's request-response, only a debug line; so malformed input is
//! a value here, and whoever sent it can be told from the others.

use std::{io, marker::PhantomData, sync::Arc};

use libp2p::{
    StreamProtocol,
    futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    request_response::Codec,
};
use patchmesh_common::wire::{self, Malformed};
use serde::{Serialize, de::DeserializeOwned};

use crate::hand::Hand;

/// Requests of type `Q` up to `ask` bytes, answers of type `A` up to `answer` bytes.
pub(super) struct Framed<Q, A> {
    ask: usize,
    answer: usize,
    hand: Arc<Hand>,
    types: PhantomData<fn() -> (Q, A)>,
}

impl<Q, A> Framed<Q, A> {
    pub(super) fn new(ask: usize, answer: usize, hand: Arc<Hand>) -> Self {
        Self { ask, answer, hand, types: PhantomData }
    }
}

impl<Q, A> Clone for Framed<Q, A> {
    fn clone(&self) -> Self {
        Self::new(self.ask, self.answer, Arc::clone(&self.hand))
    }
}

impl<Q, A> Codec for Framed<Q, A>
where
    Q: Serialize + DeserializeOwned + Send + Sync,
    A: Serialize + DeserializeOwned + Send + Sync,
{
    type Protocol = StreamProtocol;
    type Request = Result<Q, Malformed>;
    type Response = Result<A, Malformed>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Self::Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.ask, &self.hand).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Self::Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.answer, &self.hand).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, message: Self::Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, message, self.ask).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, message: Self::Response) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, message, self.answer).await
    }
}

/// One frame to the end of the stream. An I/O error is the network's, or ours if the frame is quarantined: whoever passed it on may
/// be honest. A [`Malformed`] is the sender's.
async fn read<M, T>(io: &mut T, limit: usize, hand: &Hand) -> io::Result<Result<M, Malformed>>
where
    M: DeserializeOwned,
    T: AsyncRead + Unpin + Send,
{
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let size = u32::from_be_bytes(length) as usize;
    if size > limit {
        return Ok(Err(Malformed::TooLarge { size, limit }));
    }
    // Grows with what really arrives, so that a header alone costs nothing. One byte more would be a trailing one.
    let mut body = Vec::new();
    io.take(size as u64 + 1).read_to_end(&mut body).await?;
    if body.len() < size {
        return Ok(Err(Malformed::Invalid(format!("the frame ends after {} of {size} bytes", body.len()))));
    }
    if body.len() > size {
        return Ok(Err(Malformed::Trailing(body.len() - size)));
    }
    hand.read(&body, limit).ok_or_else(|| io::Error::other("the frame is quarantined here"))
}

async fn write<M, T>(io: &mut T, message: Result<M, Malformed>, limit: usize) -> io::Result<()>
where
    M: Serialize,
    T: AsyncWrite + Unpin + Send,
{
    let body = match message {
        Ok(message) => wire::encode(&message),
        Err(malformed) => return Err(io::Error::new(io::ErrorKind::InvalidInput, malformed)),
    };
    let size = u32::try_from(body.len()).ok().filter(|_| body.len() <= limit);
    let Some(size) = size else {
        let error = Malformed::TooLarge { size: body.len(), limit };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    };
    io.write_all(&size.to_be_bytes()).await?;
    io.write_all(&body).await
}

#[cfg(test)]
mod tests {
    use libp2p::futures::{executor::block_on, io::Cursor};

    use super::*;

    fn read_bytes(bytes: &[u8]) -> io::Result<Result<(u32, String), Malformed>> {
        block_on(read(&mut Cursor::new(bytes.to_vec()), 64, &Hand::empty()))
    }

    #[test]
    fn a_frame_comes_back_whole() {
        let mut io = Cursor::new(Vec::new());
        block_on(write(&mut io, Ok((7u32, String::from("seven"))), 64)).unwrap();
        assert_eq!(read_bytes(&io.into_inner()).unwrap(), Ok((7, "seven".into())));
    }

    #[test]
    fn a_gigabyte_is_refused_by_its_header_alone() {
        let refused = read_bytes(&[0x40, 0, 0, 0]).unwrap();
        assert_eq!(refused, Err(Malformed::TooLarge { size: 1 << 30, limit: 64 }));
    }

    #[test]
    fn too_short_too_long_and_wrong_are_the_senders_fault() {
        assert!(matches!(read_bytes(&[0, 0, 0, 9, 1]).unwrap(), Err(Malformed::Invalid(_))));
        assert_eq!(read_bytes(&[0, 0, 0, 2, 7, 0, 0]).unwrap(), Err(Malformed::Trailing(1)));
        assert!(matches!(read_bytes(&[0, 0, 0, 2, 7, 9]).unwrap(), Err(Malformed::Invalid(_))));
        assert_eq!(read_bytes(&[0, 0, 0, 3, 7, 0, 0]).unwrap(), Err(Malformed::Trailing(1)));
    }

    #[test]
    fn a_broken_connection_is_nobodys_fault() {
        assert_eq!(read_bytes(&[0, 0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nothing_over_the_limit_is_sent() {
        let mut io = Cursor::new(Vec::new());
        assert!(block_on(write(&mut io, Ok("x".repeat(65)), 64)).is_err());
        assert!(io.into_inner().is_empty());
    }
}
