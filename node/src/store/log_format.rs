//! The bytes of a journal file: a header, then frames. Pure: nothing here touches a file.
//!
//! Every frame carries its number, and its head has a checksum of its own, so that a damaged length cannot pass for the end
//! of the file: a bad frame with a good one behind it is damage, a bad frame with nothing behind it is a torn write.

use patchmesh_common::rollout::chain::MAX_LINK;

/// First bytes of every journal file: what it is, and the version of the format.
pub(super) const HEADER: [u8; 16] = *b"patchmesh-log\0\x01\n";
/// Bytes before a frame's payload: length (4), number (8), payload checksum (16), head checksum (4).
pub(super) const HEAD: usize = 32;
/// Largest payload: the largest ledger entry (a whole plan), and room for its signature and chain link.
pub const MAX_FRAME_BYTES: usize = MAX_LINK;

/// What the bytes after the header turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Whole frames up to `end`; bytes from there to the end of the file are a torn write.
    Good {
        /// The payloads.
        frames: Vec<Vec<u8>>,
        /// Where the next frame goes.
        end: usize,
    },
    /// The frame at `offset` is damaged although whole frames follow it.
    Corrupt {
        /// The whole ones before it.
        frames: Vec<Vec<u8>>,
        /// In the file.
        offset: usize,
    },
}

/// What stands behind the whole frames of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    None,
    /// The beginning of a frame: it is being written, or a crash tore it. It was never acknowledged to anybody.
    Torn {
        /// How many bytes.
        bytes: u64,
    },
    /// Bytes that no writer of ours leaves behind: the frame was changed, or is one of a disk that lost power.
    Damaged,
}

/// The whole frames of `file`, whose header has been checked, and what stands behind them.
pub(super) fn look(file: &[u8]) -> (Vec<Vec<u8>>, Rest) {
    let (frames, at) = match parse(file) {
        Parsed::Good { frames, end } => (frames, end),
        Parsed::Corrupt { frames, .. } => return (frames, Rest::Damaged),
    };
    let rest = &file[at..];
    let torn = match rest.get(..HEAD) {
        None => true,
        Some(head) => {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            head_sum(&head[..28]) == head[28..] && rest.len() - HEAD < length
        }
    };
    let rest = match rest.len() {
        0 => Rest::None,
        bytes if torn => Rest::Torn { bytes: bytes as u64 },
        _ => Rest::Damaged,
    };
    (frames, rest)
}

/// The bytes of frame `number`.
pub(super) fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&blake3::hash(payload).as_bytes()[..16]);
    let sum = head_sum(&bytes);
    bytes.extend_from_slice(&sum);
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads every frame of `file`, whose header has been checked.
pub(super) fn parse(file: &[u8]) -> Parsed {
    let mut frames = Vec::new();
    let mut at = HEADER.len();
    while let Some((number, payload)) = frame_at(file, at) {
        if number != frames.len() as u64 {
            break;
        }
        at += HEAD + payload.len();
        frames.push(payload.to_vec());
    }
    let number = frames.len() as u64;
    match (at..file.len()).any(|later| frame_at(file, later).is_some_and(|(found, _)| found > number)) {
        true => Parsed::Corrupt { frames, offset: at },
        false => Parsed::Good { frames, end: at },
    }
}

/// The whole frame at `at`, if there is one.
fn frame_at(file: &[u8], at: usize) -> Option<(u64, &[u8])> {
    let head = file.get(at..at.checked_add(HEAD)?)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    // Cheapest test first: a scan for later frames asks this for every byte of the file.
    if length > MAX_FRAME_BYTES || file.len() - at - HEAD < length || head_sum(&head[..28]) != head[28..] {
        return None;
    }
    let number = u64::from_le_bytes(head[4..12].try_into().ok()?);
    let payload = &file[at + HEAD..at + HEAD + length];
    (blake3::hash(payload).as_bytes()[..16] == head[12..28]).then_some((number, payload))
}

fn head_sum(head: &[u8]) -> [u8; 4] {
    let mut sum = [0; 4];
    sum.copy_from_slice(&blake3::hash(head).as_bytes()[..4]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let frames = payloads.iter().enumerate().flat_map(|(n, payload)| frame(n as u64, payload));
        HEADER.iter().copied().chain(frames).collect()
    }

    #[test]
    fn frames_have_not_moved() {
        let hex: String = frame(1, b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0300000001000000000000006437b3ac38465133ffb63b75273a8db55ce00ee2616263");
    }

    #[test]
    fn a_frame_out_of_order_is_damage() {
        let mut bytes = file(&[b"one"]);
        bytes.extend(frame(2, b"three"));
        assert_eq!(parse(&bytes), Parsed::Corrupt { frames: vec![b"one".to_vec()], offset: 16 + HEAD + 3 });
    }

    #[test]
    fn zeros_after_the_last_frame_are_a_torn_write() {
        let mut bytes = file(&[b"one"]);
        let end = bytes.len();
        bytes.extend([0; 200]);
        assert_eq!(parse(&bytes), Parsed::Good { frames: vec![b"one".to_vec()], end });
    }

    #[test]
    fn what_is_being_written_is_told_from_what_was_changed() {
        let bytes = file(&[b"one", b"two is longer"]);
        let first = HEADER.len() + HEAD + 3;
        for size in first..=bytes.len() {
            let (frames, rest) = look(&bytes[..size]);
            let expected = match size {
                _ if size == first || size == bytes.len() => Rest::None,
                _ => Rest::Torn { bytes: (size - first) as u64 },
            };
            assert_eq!((frames.len(), rest), (1 + usize::from(size == bytes.len()), expected), "cut at {size}");
        }
        for at in first..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert_eq!(look(&bent), (vec![b"one".to_vec()], Rest::Damaged), "byte {at}");
        }
        let mut bent = bytes;
        bent[first - 1] ^= 1;
        assert_eq!(look(&bent), (vec![], Rest::Damaged), "whole frames follow");
    }
}
