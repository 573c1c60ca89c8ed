//! The codec: the only file that knows bincode. Bounded, and every byte must be used.

#[cfg(test)]
mod golden;

use bincode::{
    config::{Config, Configuration, standard},
    enc::write::SizeWriter,
    error::DecodeError,
};
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes are not the message they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Refused before decoding.
    #[error("{size} bytes exceed the limit of {limit}")]
    TooLarge {
        /// What came.
        size: usize,
        /// What is accepted.
        limit: usize,
    },
    /// A newer or foreign message: obeying half of it would be worse than refusing it.
    #[error("{0} bytes are left over after the message")]
    Trailing(usize),
    /// Not the expected type.
    #[error("the bytes do not decode: {0}")]
    Invalid(String),
}

fn config() -> Configuration {
    standard()
}

/// Encodes `value`.
///
/// # Panics
/// Never for the types of this crate: they serialise without custom code, and a vector always takes more bytes.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "no type here has a fallible Serialize, and Vec never refuses bytes")]
    bincode::serde::encode_to_vec(value, config()).expect("plain data encodes")
}

/// How many bytes [`encode`] makes of `value`.
pub fn size<T: Serialize>(value: &T) -> usize {
    let mut counter = SizeWriter::default();
    // Counting never fails, and what is encoded here has no fallible Serialize.
    let _ = bincode::serde::encode_into_writer(value, &mut counter, config());
    counter.bytes_written
}

/// Decodes exactly one `T` from at most `limit` bytes.
///
/// # Errors
/// [`Malformed`]: too long, not a `T`, or with bytes left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, Malformed> {
    if bytes.len() > limit {
        return Err(Malformed::TooLarge { size: bytes.len(), limit });
    }
    let (value, used) = bounded(bytes).map_err(|error| Malformed::Invalid(error.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(Malformed::Trailing(left)),
    }
}

/// Decodes from the front of `bytes`. Of a text the codec first takes as much memory as its length says, so lengths are believed
/// up to a limit only. It takes limits as constants, and counts a number as wide as its type: 8 bytes for each that came.
fn bounded<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    fn within<T: DeserializeOwned>(bytes: &[u8], config: impl Config) -> Result<(T, usize), DecodeError> {
        bincode::serde::decode_from_slice(bytes, config)
    }
    match bytes.len() {
        size if size <= 0x1000 => within(bytes, config().with_limit::<0x8000>()),
        size if size <= 0x4_0000 => within(bytes, config().with_limit::<0x20_0000>()),
        size if size <= 0x100_0000 => within(bytes, config().with_limit::<0x800_0000>()),
        _ => within(bytes, config().with_limit::<0x7fff_ffff>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_decodes_whole_or_not_at_all() {
        let bytes = encode(&(7u32, "seven"));
        assert_eq!(decode::<(u32, String)>(&bytes, 64), Ok((7, "seven".into())));
        assert_eq!(decode::<u32>(&bytes, 64), Err(Malformed::Trailing(6)));
        assert!(matches!(decode::<(u32, String)>(&bytes[..4], 64), Err(Malformed::Invalid(_))));
        assert_eq!(size(&(7u32, "seven")), bytes.len());
        assert_eq!(decode::<u32>(&bytes, 2), Err(Malformed::TooLarge { size: 7, limit: 2 }));
    }

    #[test]
    fn a_huge_length_ends_in_an_error() {
        let bytes = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(decode::<Vec<u8>>(&bytes, 64), Err(Malformed::Invalid(_))));
    }

    #[test]
    fn a_text_that_claims_terabytes_takes_no_memory() {
        // The allocation would end the process, and so the test.
        for behind in [0, 0x1000, 0x4_0000, 0x100_0000] {
            let bytes = [&[0xfd, 0, 0, 0, 0, 0, 0x40, 0, 0][..], &vec![b'x'; behind]].concat();
            assert!(matches!(decode::<String>(&bytes, usize::MAX), Err(Malformed::Invalid(_))), "{behind}");
        }
    }

    #[test]
    fn the_bounds_refuse_nothing_that_was_encoded() {
        // One byte each, counted as eight.
        for many in [0, 1, 0xff0, 0x1000, 0x4_0000, 0x4_0001] {
            let numbers = vec![7u64; many];
            assert_eq!(decode::<Vec<u64>>(&encode(&numbers), usize::MAX), Ok(numbers), "{many}");
        }
    }
}
