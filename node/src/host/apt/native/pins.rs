//! apt's preferences, as far as one must know that they choose nothing.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Cursor, Read as _},
};

use super::Doubt;
use crate::host::{apt::stanza::Stanzas, root::Root};

/// Largest file of preferences.
const MAX_BYTES: u64 = 1 << 20;
/// From this priority on apt goes back to an older version.
const GOES_BACK: i32 = 1000;

/// What the preferences of a root can do: keep a newer version away, or choose between newer ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pins {
    /// Of these packages.
    names: BTreeSet<String>,
    /// Of any package: there are patterns.
    any: bool,
}

impl Pins {
    /// Whether they may have a say in the version of a package.
    pub(super) fn concern(&self, name: &str) -> bool {
        self.any || self.names.contains(name)
    }

    #[cfg(test)]
    pub(super) fn of(packages: &[&str]) -> Self {
        let mut pins = Self::default();
        packages.iter().for_each(|packages| pins.add(packages));
        pins
    }

    /// Adds the value of a `Package`. Whatever is more than plain names may be a pattern.
    fn add(&mut self, packages: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        for name in packages.split_ascii_whitespace() {
            self.any |= !name.bytes().all(plain);
            self.names.insert(name.to_owned());
        }
    }
}

/// Reads the preferences of `root`.
///
/// # Errors
/// They may make apt go back to an older version, or are not plain enough to tell.
pub(super) fn read(root: &Root) -> Result<Pins, Doubt> {
    let mut files = vec![root.join("etc/apt/preferences")];
    match fs::read_dir(root.join("etc/apt/preferences.d")) {
        // apt passes over some names; to look at more files than apt does errs on the safe side.
        Ok(entries) => {
            for entry in entries {
                files.push(entry.map_err(|error| Doubt::new(format!("preferences.d: {error}")))?.path());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Doubt::new(format!("preferences.d: {error}"))),
    }
    let mut pins = Pins::default();
    for path in files {
        let unreadable = |error: io::Error| Doubt::new(format!("{}: {error}", path.display()));
        let mut text = Vec::new();
        match fs::File::open(&path) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        if text.len() as u64 > MAX_BYTES {
            return Err(Doubt::new(format!("{} is larger than {MAX_BYTES} bytes", path.display())));
        }
        parse(&text, &path.display().to_string(), &mut pins)?;
    }
    Ok(pins)
}

fn parse(text: &[u8], place: &str, pins: &mut Pins) -> Result<(), Doubt> {
    let mut stanzas = Stanzas::new(Cursor::new(text), place, &["Package", "Pin", "Pin-Priority"]);
    while let Some(stanza) = stanzas.read_next().map_err(|error| Doubt::new(error.to_string()))? {
        let field = |name| stanza.get(name).filter(|value: &&str| !value.is_empty());
        let (Some(packages), Some(pin), Some(priority)) = (field("Package"), field("Pin"), field("Pin-Priority"))
        else {
            return Err(Doubt::new(format!("{place} has a pin that is not plain")));
        };
        let kind = pin.split_ascii_whitespace().next().unwrap_or_default();
        let harmless = match priority {
            "never" => true,
            number => number.parse().is_ok_and(|number: i32| number != 0 && (-32_000..GOES_BACK).contains(&number)),
        };
        if !harmless || !matches!(kind, "version" | "release" | "origin") {
            return Err(Doubt::new(format!("{place} has a pin of priority {priority}")));
        }
        pins.add(packages);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<String, Doubt> {
        let mut pins = Pins::default();
        parse(text.as_bytes(), "x", &mut pins)?;
        let concerned = ["a", "b", "c"].map(|name| if pins.concern(name) { name } else { "-" });
        Ok(concerned.concat())
    }

    #[test]
    fn pins_that_go_back_are_told_from_those_that_choose_among_newer_ones() {
        let pin = |priority: &str| {
            format!("# why\nExplanation: x\nPackage: a c\nPin: version 1*\nPin-Priority: {priority}\n\n")
        };
        assert_eq!(told("# nothing\n\n").unwrap(), "---");
        for harmless in ["-1", "never", "100", "999"] {
            assert_eq!(told(&pin(harmless)).unwrap(), "a-c", "{harmless}");
        }
        for other in ["1000", "1001", "0", "x", "99999999999", ""] {
            assert!(told(&pin(other)).is_err(), "{other}");
        }
        assert!(told("Package: a\nPin: verison 1\nPin-Priority: 1\n").is_err());
        assert!(told("Package: a\nPin-Priority: 1\n").is_err());
    }

    #[test]
    fn patterns_concern_everything() {
        for pattern in ["*", "x*", "/x/", "x?", "[x]", "src:x", "x:amd64", "x,"] {
            let pins = told(&format!("Package: {pattern}\nPin: release a=x\nPin-Priority: 1\n")).unwrap();
            assert_eq!(pins, "abc", "{pattern}");
        }
    }
}
