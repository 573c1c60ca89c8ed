//! Files of lz4 frames, read to the end mark of the last one: the decoder takes a file that ends between two blocks for whole.

use std::io::{self, BufRead, Read};

use lz4_flex::frame::FrameDecoder;

/// The text of all frames of a file.
pub(super) struct Frames<R: Read> {
    decoder: FrameDecoder<Unended<R>>,
    done: bool,
}

/// A reader whose end is an error: within a frame there is none.
struct Unended<R>(R);

impl<R: BufRead> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { decoder: FrameDecoder::new(Unended(reader)), done: false }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.done = self.decoder.get_mut().0.fill_buf()?.is_empty();
        }
        Ok(0)
    }
}

impl<R: Read> Read for Unended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::Error::new(io::ErrorKind::InvalidData, "it ends within an lz4 frame")),
            read => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let info = FrameInfo::new().block_size(BlockSize::Max64KB);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (mut text, mut frames) = (Vec::new(), Frames::new(bytes));
        frames.read_to_end(&mut text)?;
        // Whoever asks again gets the same answer.
        assert_eq!(frames.read(&mut [0; 8])?, 0);
        Ok(text)
    }

    #[test]
    fn a_file_ends_with_its_last_frame_and_nowhere_else() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = packed(&text);
        assert_eq!(read(&whole).unwrap(), text);
        assert_eq!(read(&packed(b"")).unwrap(), b"");
        assert_eq!(read(&[whole.clone(), packed(b"more")].concat()).unwrap(), [text, b"more".to_vec()].concat());
        // The first block is whole, and the next one is not there.
        let size = u32::from_le_bytes(whole[7..11].try_into().unwrap()) & 0x7fff_ffff;
        let next = 11 + usize::try_from(size).unwrap();
        for end in [0, 1, 4, 7, 9, 11, next - 1, next, next + 1, whole.len() - 4, whole.len() - 1] {
            assert!(read(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }
}
