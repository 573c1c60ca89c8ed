//! The codec: the only file that knows bincode. Bounded, and every byte must be used.

#[cfg(test)]
mod golden;

use bincode::{
    config::{Configuration, standard},
    enc::write::SizeWriter,
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
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config()).map_err(|error| Malformed::Invalid(error.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(Malformed::Trailing(left)),
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
}
