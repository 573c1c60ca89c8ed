//! Reading Debian's control files: paragraphs of `Field: value` lines, parted by empty lines. Streams, keeps only what is asked
//! for, and names file and line of what it cannot read.

use std::io::{self, BufRead};

/// Longest line: the longest real ones (`Provides` of Rust packages) have about 100 kB.
const MAX_LINE: u64 = 4 << 20;

/// What is wrong with a control file, and where.
#[derive(Debug, thiserror::Error)]
pub enum StanzaError {
    /// It cannot be read or unpacked.
    #[error("{place}: cannot be read after line {line}")]
    Io {
        /// The file.
        place: String,
        /// The last line that could be read.
        line: u64,
        /// What the system or the unpacker says.
        source: io::Error,
    },
    /// It is no control file.
    #[error("{place}:{line}: {why}")]
    Malformed {
        /// The file.
        place: String,
        /// Counted from 1.
        line: u64,
        /// A fragment.
        why: String,
    },
}

/// A reader that refuses to give more than a limit, so that a small packed file cannot unpack without end.
pub struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R> Capped<R> {
    /// At most `limit` bytes of `inner`.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }
}

impl<R: io::Read> io::Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is larger than anything known"))?;
        Ok(read)
    }
}

/// The values of the wanted fields of one paragraph, in the order in which they were asked for.
#[derive(Debug)]
pub struct Stanza {
    fields: &'static [&'static str],
    values: Vec<String>,
    present: Vec<bool>,
    /// The line on which the paragraph begins, counted from 1.
    pub line: u64,
}

impl Stanza {
    /// The first line of the value of `field`; `None` if the paragraph lacks it or it was not asked for.
    pub fn get(&self, field: &str) -> Option<&str> {
        let at = self.fields.iter().position(|known| *known == field)?;
        self.present[at].then(|| self.values[at].as_str())
    }
}

/// A stream of paragraphs.
pub struct Stanzas<R> {
    reader: R,
    place: String,
    line: u64,
    buffer: Vec<u8>,
    stanza: Stanza,
}

impl<R: BufRead> Stanzas<R> {
    /// Reads from `reader`; `place` names it in errors. Of every paragraph only `fields` are kept.
    pub fn new(reader: R, place: impl Into<String>, fields: &'static [&'static str]) -> Self {
        let stanza =
            Stanza { fields, values: vec![String::new(); fields.len()], present: vec![false; fields.len()], line: 0 };
        Self { reader, place: place.into(), line: 0, buffer: Vec::new(), stanza }
    }

    /// An error about the paragraph that was read last.
    pub fn malformed(&self, why: impl Into<String>) -> StanzaError {
        StanzaError::Malformed { place: self.place.clone(), line: self.stanza.line, why: why.into() }
    }

    /// The next paragraph; `None` at the end.
    ///
    /// # Errors
    /// [`StanzaError`] with file and line.
    pub fn read_next(&mut self) -> Result<Option<&Stanza>, StanzaError> {
        self.stanza.present.fill(false);
        let mut begun = false;
        loop {
            self.buffer.clear();
            let read = io::Read::take(&mut self.reader, MAX_LINE).read_until(b'\n', &mut self.buffer);
            match read {
                Ok(0) => return Ok(begun.then_some(&self.stanza)),
                Ok(_) => self.line += 1,
                Err(source) => return Err(StanzaError::Io { place: self.place.clone(), line: self.line, source }),
            }
            if self.buffer.len() as u64 >= MAX_LINE {
                return Err(self.at_line("the line is longer than 4 MiB"));
            }
            let line = self.buffer.trim_ascii_end();
            match line.first() {
                None if begun => return Ok(Some(&self.stanza)),
                None | Some(b'#') => continue,
                Some(b' ' | b'\t') if begun => continue,
                Some(b' ' | b'\t') => return Err(self.at_line("a paragraph begins with a continuation line")),
                Some(_) => {}
            }
            if !begun {
                (begun, self.stanza.line) = (true, self.line);
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0) else {
                return Err(self.at_line("the line has no field name before a colon"));
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if let Some(at) = self.stanza.fields.iter().position(|field| field.as_bytes().eq_ignore_ascii_case(name)) {
                let Ok(value) = core::str::from_utf8(value) else {
                    return Err(self.at_line("the value is not UTF-8"));
                };
                self.stanza.values[at].clear();
                self.stanza.values[at].push_str(value);
                self.stanza.present[at] = true;
            }
        }
    }

    fn at_line(&self, why: &str) -> StanzaError {
        StanzaError::Malformed { place: self.place.clone(), line: self.line, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: &[&str] = &["Package", "Version"];

    fn names(text: &str) -> Result<Vec<String>, String> {
        let mut stanzas = Stanzas::new(text.as_bytes(), "lists/x", FIELDS);
        let mut found = Vec::new();
        while let Some(stanza) = stanzas.read_next().map_err(|error| error.to_string())? {
            let or = |name| stanza.get(name).unwrap_or("-").to_owned();
            found.push(format!("{} {} {}", stanza.line, or("Package"), or("Version")));
        }
        Ok(found)
    }

    #[test]
    fn paragraphs_keep_what_is_asked_for_and_nothing_of_the_one_before() {
        let text = "\n\nPackage: a\nVersion:1\nDescription: x\n Version: 9\n .\n\n\npackage:  b  \nOther: Version: 7\n";
        assert_eq!(names(text).unwrap(), ["3 a 1", "10 b -"]);
        assert_eq!(names("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_error_names_file_and_line() {
        assert_eq!(names("Package: a\nrubbish\n").unwrap_err(), "lists/x:2: the line has no field name before a colon");
        assert_eq!(names("\n more\n").unwrap_err(), "lists/x:2: a paragraph begins with a continuation line");
        let mut stanzas = Stanzas::new(&b"Package: \xff\n"[..], "y", FIELDS);
        assert_eq!(stanzas.read_next().unwrap_err().to_string(), "y:1: the value is not UTF-8");
    }

    #[test]
    fn a_file_that_is_too_large_is_an_error_and_not_an_end() {
        let reader = io::BufReader::new(Capped::new(&b"Package: a\n\nPackage: b\n"[..], 15));
        let mut stanzas = Stanzas::new(reader, "big", FIELDS);
        let error = loop {
            match stanzas.read_next() {
                Ok(next) => assert!(next.is_some()),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StanzaError::Io { .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut stanzas = Stanzas::new(&bytes[..], "z", FIELDS);
            while let Ok(Some(_)) = stanzas.read_next() {}
        }
    }
}
