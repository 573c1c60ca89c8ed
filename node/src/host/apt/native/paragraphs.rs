//! Paragraphs of Debian's control files, read fast and strictly: whatever apt might read in another way, or refuse, is an error here,
//! and then apt is asked.

use std::io::Read;

use memchr::memchr;

use super::{Doubt, relations::is_plain};

/// Longest line: the longest real ones (`Provides` of Rust packages) have about 100 kB.
const MAX_LINE: usize = 4 << 20;
/// What is read at once.
const BUFFER: usize = 64 << 10;

/// A field that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Field {
    Package,
    Status,
    Version,
    Architecture,
    MultiArch,
    Essential,
    Protected,
    Important,
    Section,
    Priority,
    Sha256,
    Size,
    InstalledSize,
    Phased,
    Depends,
    PreDepends,
    Recommends,
    Conflicts,
    Breaks,
    Provides,
    Replaces,
    Suggests,
    Enhances,
}

/// How many fields there are.
const FIELDS: usize = Field::Enhances as usize + 1;

impl Field {
    /// By its name; the case of letters does not count.
    fn named(name: &[u8]) -> Option<Self> {
        let candidates: &[(Self, &str)] = match name.len() {
            4 => &[(Self::Size, "Size")],
            6 => &[(Self::Status, "Status"), (Self::Sha256, "SHA256"), (Self::Breaks, "Breaks")],
            7 => &[
                (Self::Package, "Package"),
                (Self::Version, "Version"),
                (Self::Section, "Section"),
                (Self::Depends, "Depends"),
            ],
            8 => &[
                (Self::Priority, "Priority"),
                (Self::Provides, "Provides"),
                (Self::Suggests, "Suggests"),
                (Self::Replaces, "Replaces"),
                (Self::Enhances, "Enhances"),
            ],
            9 => &[
                (Self::Conflicts, "Conflicts"),
                (Self::Essential, "Essential"),
                (Self::Protected, "Protected"),
                (Self::Important, "Important"),
            ],
            10 => &[(Self::MultiArch, "Multi-Arch"), (Self::Recommends, "Recommends")],
            11 => &[(Self::PreDepends, "Pre-Depends")],
            12 => &[(Self::Architecture, "Architecture")],
            14 => &[(Self::InstalledSize, "Installed-Size")],
            24 => &[(Self::Phased, "Phased-Update-Percentage")],
            _ => &[],
        };
        // Most names are none of them, which their first letter tells.
        let may_be = |known: &[u8]| (known[0] ^ name[0]) & !0x20 == 0 && known.eq_ignore_ascii_case(name);
        candidates.iter().find(|(_, known)| may_be(known.as_bytes())).map(|(field, _)| *field)
    }

    fn is_relation(self) -> bool {
        self as usize >= Self::Depends as usize
    }
}

/// The fields of one paragraph.
#[derive(Debug, Default)]
pub(super) struct Paragraph {
    values: [Vec<u8>; FIELDS],
    present: u32,
}

impl Paragraph {
    /// The value of a field; `None` if the paragraph lacks it.
    pub(super) fn bytes(&self, field: Field) -> Option<&[u8]> {
        (self.present & (1 << field as u32) != 0).then(|| self.values[field as usize].as_slice())
    }

    /// The value of a field as text; empty if the paragraph lacks it.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub(super) fn text(&self, field: Field) -> Result<&str, Doubt> {
        core::str::from_utf8(self.bytes(field).unwrap_or_default())
            .map_err(|_| Doubt::new(format!("a {field:?} is not UTF-8")))
    }

    /// Whether the field says `yes`.
    pub(super) fn says_yes(&self, field: Field) -> bool {
        self.bytes(field).is_some_and(|value| value.eq_ignore_ascii_case(b"yes"))
    }
}

/// A stream of lines that holds one buffer, however long the file is.
struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> Result<Option<&[u8]>, Doubt> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                let line = self.start..self.start + searched + at;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            searched = self.end - self.start;
            if searched > MAX_LINE {
                return Err(Doubt::new("a line is longer than 4 MiB"));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, searched);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) if searched == 0 => return Ok(None),
                Ok(0) => return Err(Doubt::new("the last line has no end")),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Doubt::new(format!("it cannot be read: {error}"))),
            }
        }
    }
}

/// Gives every paragraph of `reader` to `take`, if `wants` its name; of the others only the fields that tell whether apt wants
/// them by itself. The relations of all of them are looked at.
///
/// # Errors
/// What apt might read otherwise, or `take`'s own.
pub(super) fn each(
    reader: impl Read,
    wants: impl Fn(&[u8]) -> bool,
    mut take: impl FnMut(&Paragraph, bool) -> Result<(), Doubt>,
) -> Result<(), Doubt> {
    let mut lines = Lines { reader, buffer: vec![0; BUFFER], start: 0, end: 0 };
    let mut paragraph = Paragraph::default();
    let (mut begun, mut wanted, mut last) = (false, false, None);
    loop {
        let line = lines.next()?;
        let Some(line) = line.filter(|line| !line.is_empty()) else {
            if begun {
                take(&paragraph, wanted)?;
            }
            if line.is_none() {
                return Ok(());
            }
            (paragraph.present, begun, last) = (0, false, None);
            continue;
        };
        if matches!(line[0], b' ' | b'\t') {
            if !begun || last.is_some() || line.trim_ascii().is_empty() {
                return Err(Doubt::new("a folded field, or an empty line that is none"));
            }
            continue;
        }
        let Some(colon) = memchr(b':', line).filter(|at| *at > 0 && line[0] != b'#') else {
            return Err(Doubt::new("a line without a field"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        last = Field::named(name);
        if !begun {
            if last != Some(Field::Package) || value.is_empty() {
                return Err(Doubt::new("a paragraph that does not begin with a name"));
            }
            (begun, wanted) = (true, wants(value));
        }
        let Some(field) = last else {
            if name.iter().any(|byte| byte.is_ascii_whitespace()) {
                return Err(Doubt::new("a field with a space in its name"));
            }
            continue;
        };
        if paragraph.present & (1 << field as u32) != 0 {
            return Err(Doubt::new(format!("a paragraph with two fields {field:?}")));
        }
        if field.is_relation() && !is_plain(value) {
            return Err(Doubt::new(format!("a {field:?} that is not plain")));
        }
        if wanted || matches!(field, Field::Package | Field::Architecture | Field::Essential) {
            paragraph.values[field as usize].clear();
            paragraph.values[field as usize].extend_from_slice(value);
        }
        paragraph.present |= 1 << field as u32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &[u8]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        each(
            text,
            |name| name != b"other",
            |paragraph, wanted| {
                let (name, version) = (paragraph.text(Field::Package)?, paragraph.text(Field::Version)?);
                found.push(if wanted { format!("{name} {version}") } else { name.to_owned() });
                Ok(())
            },
        )
        .map_err(|doubt| doubt.0)?;
        Ok(found)
    }

    #[test]
    fn paragraphs_are_read_and_only_wanted_ones_in_full() {
        let text = b"\n\nPackage: a\nVersion:1\nDescription: x\n long\n\n\npackage:  b  \nMaintainer: \xff\n\nPackage: other\nVersion: \xff\n";
        assert_eq!(told(text).unwrap(), ["a 1", "b ", "other"]);
        assert_eq!(told(b"").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_apt_may_read_otherwise_is_refused() {
        for (text, why) in [
            (&b"Package: a\nrubbish\n"[..], "without a field"),
            (b"Package: a\n# x: y\n", "without a field"),
            (b"Version: 1\nPackage: a\n", "begin with a name"),
            (b"Package: \n", "begin with a name"),
            (b" Package: a\n", "folded"),
            (b"Package: a\n \nVersion: 1\n", "folded"),
            (b"Package: a\nDepends: b,\n c\n", "not plain"),
            (b"Package: a\nDepends: b\n , c\n", "folded"),
            (b"Package: a\nPackage: b\n", "two fields"),
            (b"Package: a\nVersion: \xff\n", "not UTF-8"),
            (b"Package: other\nDepends: b (>=)\n", "not plain"),
            (b"Package: a\nX y: 1\n", "a space"),
            (b"Package: a", "no end"),
        ] {
            let error = told(text).unwrap_err();
            assert!(error.contains(why), "{error} {}", String::from_utf8_lossy(text));
        }
        let long = [b"Package: a\nX: ", &vec![b'x'; 3 * MAX_LINE][..], b"\n"].concat();
        assert!(told(&long).unwrap_err().contains("4 MiB"));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = told(&bytes);
        }

        /// The other reader of the same files agrees wherever this one does not refuse.
        #[test]
        fn both_readers_agree(text in "(Package: [ab]\n(Version: [0-9.]{1,3}\n)?(X: y\n z\n)?\n{1,2}){0,4}") {
            const FIELDS: &[&str] = &["Package", "Version"];
            let mut stanzas = crate::host::apt::stanza::Stanzas::new(text.as_bytes(), "x", FIELDS);
            let mut found = Vec::new();
            while let Some(stanza) = stanzas.read_next().unwrap() {
                found.push(format!("{} {}", stanza.get("Package").unwrap(), stanza.get("Version").unwrap_or("")));
            }
            prop_assert_eq!(told(text.as_bytes()).unwrap(), found);
        }
    }
}
