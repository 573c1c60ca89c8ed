//! apt's preferences, as far as one must know that they choose nothing.

use std::{
    fs,
    io::{self, Cursor, Read as _},
};

use super::Doubt;
use crate::host::{apt::stanza::Stanzas, root::Root};

/// Largest file of preferences.
const MAX_BYTES: u64 = 1 << 20;
/// From this priority on apt goes back to an older version.
const GOES_BACK: i32 = 1000;

/// What the preferences of a root can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pins {
    /// There are none.
    None,
    /// They may keep a newer version away, or choose between newer ones.
    AmongNewer,
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
    let mut pins = Pins::None;
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
        if parse(&text, &path.display().to_string())? {
            pins = Pins::AmongNewer;
        }
    }
    Ok(pins)
}

/// Whether there is a pin.
fn parse(text: &[u8], place: &str) -> Result<bool, Doubt> {
    let mut stanzas = Stanzas::new(Cursor::new(text), place, &["Package", "Pin", "Pin-Priority"]);
    let mut any = false;
    while let Some(stanza) = stanzas.read_next().map_err(|error| Doubt::new(error.to_string()))? {
        let field = |name| stanza.get(name).filter(|value: &&str| !value.is_empty());
        let (Some(_), Some(pin), Some(priority)) = (field("Package"), field("Pin"), field("Pin-Priority")) else {
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
        any = true;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_that_go_back_are_told_from_those_that_choose_among_newer_ones() {
        let pin = |priority: &str| {
            format!("# why\nExplanation: x\nPackage: a\nPin: version 1*\nPin-Priority: {priority}\n\n")
        };
        assert_eq!(parse(b"# nothing\n\n", "x"), Ok(false));
        for harmless in ["-1", "never", "100", "999"] {
            assert_eq!(parse(pin(harmless).as_bytes(), "x"), Ok(true), "{harmless}");
        }
        for other in ["1000", "1001", "0", "x", "99999999999", ""] {
            assert!(parse(pin(other).as_bytes(), "x").is_err(), "{other}");
        }
        assert!(parse(b"Package: a\nPin: verison 1\nPin-Priority: 1\n", "x").is_err());
        assert!(parse(b"Package: a\nPin-Priority: 1\n", "x").is_err());
    }
}
