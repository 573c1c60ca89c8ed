//! Relations between packages as Debian's control files write them: `a (>= 1) | b:any, c`.

use core::cmp::Ordering;

use patchmesh_common::inventory::deb;

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl Op {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"<<" => Self::Earlier,
            b"<=" => Self::EarlierOrEqual,
            b"=" => Self::Equal,
            b">=" => Self::LaterOrEqual,
            b">>" => Self::Later,
            _ => return None,
        })
    }

    /// Whether `version` stands so to `wanted`.
    pub(super) fn holds(self, version: &str, wanted: &str) -> bool {
        let order = deb::compare(version, wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }
}

/// One package of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom<'a> {
    pub(super) name: &'a str,
    /// What follows a colon: an architecture, `any` or `native`.
    pub(super) qualifier: Option<&'a str>,
    pub(super) version: Option<(Op, &'a str)>,
    /// Whether the next one would do as well.
    pub(super) or_next: bool,
}

/// A relation of a form that may mean something else than it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotPlain;

/// The packages of a relation, in order. Restrictions to architectures and profiles, old operators and folded lines are not plain.
pub(super) struct Atoms<'a> {
    rest: &'a [u8],
    more: bool,
}

/// The packages that `text` names.
pub(super) fn atoms(text: &[u8]) -> Atoms<'_> {
    let rest = text.trim_ascii();
    Atoms { rest, more: !rest.is_empty() }
}

/// Whether every package of a relation can be read. Looks at each byte once: it judges every relation of every index.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let mut place = Place::Begin;
    for byte in text {
        place = match (place, BYTES[*byte as usize]) {
            (Place::Begin, Byte::Space) => Place::Begin,
            (Place::Begin | Place::Name, Byte::Name) => Place::Name,
            (Place::Name, Byte::Colon) => Place::Qualifier,
            (Place::Qualifier | Place::Qualified, Byte::Name) => Place::Qualified,
            (Place::Name | Place::Qualified | Place::Named, Byte::Space) => Place::Named,
            (Place::Name | Place::Qualified | Place::Named, Byte::Open) => Place::Op,
            (Place::Op, Byte::Space) => Place::Op,
            (Place::Op, Byte::Less) => Place::Less,
            (Place::Op, Byte::More) => Place::More,
            (Place::Op, Byte::Equal)
            | (Place::Less, Byte::Less | Byte::Equal)
            | (Place::More, Byte::More | Byte::Equal) => Place::Number,
            (Place::Number, Byte::Space) => Place::Number,
            (Place::Number | Place::Version, Byte::Name | Byte::Colon | Byte::Tilde) => Place::Version,
            (Place::Version | Place::Versioned, Byte::Space) => Place::Versioned,
            (Place::Version | Place::Versioned, Byte::Close) => Place::Closed,
            (Place::Closed, Byte::Space) => Place::Closed,
            (Place::Name | Place::Qualified | Place::Named | Place::Closed, Byte::Next) => Place::Begin,
            _ => return false,
        };
    }
    matches!(place, Place::Name | Place::Qualified | Place::Named | Place::Closed) || text.is_empty()
}

/// Where in a relation one is.
#[derive(Clone, Copy)]
enum Place {
    Begin,
    Name,
    Qualifier,
    Qualified,
    Named,
    Op,
    Less,
    More,
    Number,
    Version,
    Versioned,
    Closed,
}

/// What a byte means in a relation.
#[derive(Clone, Copy)]
enum Byte {
    Name,
    Tilde,
    Colon,
    Space,
    Open,
    Close,
    Less,
    More,
    Equal,
    Next,
    Other,
}

const BYTES: [Byte; 256] = {
    let mut bytes = [Byte::Other; 256];
    let mut at = 0;
    while at < 256 {
        bytes[at] = match at as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.' => Byte::Name,
            b'~' => Byte::Tilde,
            b':' => Byte::Colon,
            b' ' => Byte::Space,
            b'(' => Byte::Open,
            b')' => Byte::Close,
            b'<' => Byte::Less,
            b'>' => Byte::More,
            b'=' => Byte::Equal,
            b',' | b'|' => Byte::Next,
            _ => Byte::Other,
        };
        at += 1;
    }
    bytes
};

impl<'a> Atoms<'a> {
    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !belongs(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn space(&mut self) {
        self.take(|byte| byte == b' ');
    }

    fn word(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'a str> {
        let word = self.take(belongs);
        if word.is_empty() { None } else { core::str::from_utf8(word).ok() }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn atom(&mut self) -> Option<Atom<'a>> {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        self.space();
        let name = self.word(in_name)?;
        let qualifier = if self.eat(b':') { Some(self.word(in_name)?) } else { None };
        self.space();
        let version = if self.eat(b'(') {
            self.space();
            let op = Op::parse(self.take(|byte| matches!(byte, b'<' | b'=' | b'>')))?;
            self.space();
            let version = self.word(|byte| in_name(byte) || matches!(byte, b'~' | b':'))?;
            self.space();
            if !self.eat(b')') {
                return None;
            }
            self.space();
            Some((op, version))
        } else {
            None
        };
        let or_next = self.eat(b'|');
        self.more = or_next || self.eat(b',');
        if !self.more && !self.rest.is_empty() {
            return None;
        }
        Some(Atom { name, qualifier, version, or_next })
    }
}

impl<'a> Iterator for Atoms<'a> {
    type Item = Result<Atom<'a>, NotPlain>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.more {
            return None;
        }
        let atom = self.atom();
        self.more &= atom.is_some();
        Some(atom.ok_or(NotPlain))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        atoms(text.as_bytes())
            .map(|atom| match atom {
                Ok(atom) => {
                    let version = atom.version.map(|(op, version)| format!(" {op:?} {version}")).unwrap_or_default();
                    let qualifier = atom.qualifier.map(|text| format!(":{text}")).unwrap_or_default();
                    format!("{}{qualifier}{version}{}", atom.name, if atom.or_next { " or" } else { "" })
                }
                Err(NotPlain) => "?".into(),
            })
            .collect()
    }

    #[test]
    fn relations_are_read_in_order() {
        assert_eq!(
            told(" libc6 (>= 2.36), a:any | b (<<1:2~rc1-3)  ,c( = 1 )"),
            ["libc6 LaterOrEqual 2.36", "a:any or", "b Earlier 1:2~rc1-3", "c Equal 1"]
        );
        assert_eq!(told(""), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_plain_is_said() {
        for text in [
            "a [amd64]",
            "a <!nocheck>",
            "a (< 1)",
            "a (>= )",
            "a (>= 1",
            "a,",
            "a,,b",
            "a b",
            ",",
            "a:",
            "é",
            "a (1)",
            "a\tb",
        ] {
            assert_eq!(told(text).last().unwrap(), "?", "{text}");
            assert!(!is_plain(text.as_bytes()));
        }
    }

    #[test]
    fn operators_hold_as_written() {
        for (op, lower, same, higher) in [
            ("<<", true, false, false),
            ("<=", true, true, false),
            ("=", false, true, false),
            (">=", false, true, true),
            (">>", false, false, true),
        ] {
            let op = Op::parse(op.as_bytes()).unwrap();
            assert_eq!([op.holds("1~", "1"), op.holds("1", "1"), op.holds("1.1", "1")], [lower, same, higher]);
        }
    }

    proptest! {
        /// Both ways of reading agree on what is plain.
        #[test]
        fn what_is_plain_can_be_read(text in "[ab:(<>=~1,| ]{0,12}|a( \\((<<|>=) ?1~[a:]?\\))?( ?[,|] ?b(:any)?){0,2}") {
            let read = atoms(text.as_bytes()).all(|atom| atom.is_ok());
            prop_assert_eq!(is_plain(text.as_bytes()), read, "{}", text);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = atoms(&bytes).count();
        }
    }
}
