//! Alternative repositories of a baseline (spec 1.9), as far as a host of Debian's family lets itself be sent to them.
//!
//! A baseline's text is never given to apt as it is: its lines are taken apart, judged against what the host's own file allows, and
//! written anew with the host's keyring.

use super::{Checked, Source};

/// What a host's own file allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Where the repository is. A stroke at the end does not count.
    pub uri: String,
    /// The file with the keys, of which one must have signed it: an absolute path.
    pub keyring: String,
}

/// One repository that a host uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In apt's one-line format.
    pub text: String,
    /// The file with the keys.
    pub keyring: String,
}

/// Why a baseline's alternative repositories cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// No entry fits the host's release.
    #[error("the baseline {baseline} has sources for other products, and none for {product}")]
    NoneFits {
        /// The baseline.
        baseline: String,
        /// What the host is.
        product: String,
    },
    /// The host's own file does not say that this repository may be used.
    #[error("source {source_name}: this host's own file does not allow {uri}")]
    NotAllowed {
        /// Which entry.
        source_name: String,
        /// Where it is.
        uri: String,
    },
    /// An option that is not the baseline's to set.
    #[error("source {source_name}: the option {option:?} is not taken from a baseline")]
    Option {
        /// Which entry.
        source_name: String,
        /// As it is written.
        option: String,
    },
    /// A line that names no repository.
    #[error("source {source_name}: {line:?} is no line of the form `deb URI SUITE COMPONENT…`")]
    Line {
        /// Which entry.
        source_name: String,
        /// As it is written.
        line: String,
    },
    /// Only comments.
    #[error("source {source_name} names no repository")]
    Empty {
        /// Which entry.
        source_name: String,
    },
}

/// Longest echo of a line in an error, in characters.
const MAX_ECHO: usize = 120;

impl Checked {
    /// The alternative repositories for hosts of `product`, e.g. `Debian12`; none if the baseline has none at all, so that hosts use
    /// their own.
    ///
    /// # Errors
    /// [`BadSource::NoneFits`].
    pub fn sources_for(&self, product: &str) -> Result<Vec<Source>, BadSource> {
        let fits = |source: &&Source| {
            source.products.iter().any(|fits| fits == "*" || fits.trim().eq_ignore_ascii_case(product))
        };
        let fitting: Vec<_> = self.sources.iter().filter(fits).cloned().collect();
        if fitting.is_empty() && !self.sources.is_empty() {
            return Err(BadSource::NoneFits { baseline: self.name.clone(), product: product.to_owned() });
        }
        Ok(fitting)
    }
}

/// The repositories of `sources` for apt, each with the keyring that the host names for it. Source packages take no part.
///
/// # Errors
/// The first thing that a host does not take from a baseline, by name.
pub fn lines(sources: &[Source], allowed: &[Allowed]) -> Result<Vec<Line>, BadSource> {
    let mut lines: Vec<Line> = Vec::new();
    for source in sources {
        let mut named = false;
        for text in source.configuration.lines().map(str::trim) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            named = true;
            let line = Reader { source, allowed }.line(text)?;
            lines.extend(line.filter(|line| !lines.contains(line)));
        }
        if !named {
            return Err(BadSource::Empty { source_name: source.name.clone() });
        }
    }
    match sources.first() {
        // Nothing but source packages.
        Some(first) if lines.is_empty() => Err(BadSource::Empty { source_name: first.name.clone() }),
        _ => Ok(lines),
    }
}

struct Reader<'a> {
    source: &'a Source,
    allowed: &'a [Allowed],
}

impl Reader<'_> {
    /// `None` for a line about source packages.
    fn line(&self, text: &str) -> Result<Option<Line>, BadSource> {
        let bad =
            || BadSource::Line { source_name: self.source.name.clone(), line: text.chars().take(MAX_ECHO).collect() };
        let (kind, rest) = text.split_once([' ', '\t']).ok_or_else(bad)?;
        if !matches!(kind, "deb" | "deb-src") {
            return Err(bad());
        }
        // A comment at the end of a line is one for apt, too.
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before).trim();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(bad)?,
            None => ("", rest),
        };
        let words: Vec<_> = rest.split_ascii_whitespace().collect();
        let [uri, suite, components @ ..] = &words[..] else { return Err(bad()) };
        let flat = suite.ends_with('/');
        if flat != components.is_empty() || !words[1..].iter().all(|word| is_place(word)) {
            return Err(bad());
        }
        let (mut kept, signer) = self.options(options)?;
        let keyring = self.keyring(uri, signer)?;
        if kind == "deb-src" {
            return Ok(None);
        }
        kept.insert(0, format!("signed-by={keyring}"));
        let text = format!("deb [{}] {}", kept.join(" "), words.join(" "));
        Ok(Some(Line { text, keyring: keyring.to_owned() }))
    }

    /// The options that a baseline may set, and its keyring, if it names one.
    fn options<'a>(&self, options: &'a str) -> Result<(Vec<String>, Option<&'a str>), BadSource> {
        let (mut kept, mut signer) = (Vec::new(), None);
        for option in options.split_ascii_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", file)) if signer.is_none_or(|known| known == file) => signer = Some(file),
                Some(("arch" | "lang", values)) if values.bytes().all(is_value) => kept.push(option.to_owned()),
                _ => return Err(self.option(option)),
            }
        }
        Ok((kept, signer))
    }

    fn keyring(&self, uri: &str, signer: Option<&str>) -> Result<&str, BadSource> {
        let bare = |uri: &str| uri.trim_end_matches('/').to_owned();
        let known: Vec<_> = self.allowed.iter().filter(|allowed| bare(&allowed.uri) == bare(uri)).collect();
        if known.is_empty() {
            let uri = uri.chars().take(MAX_ECHO).collect();
            return Err(BadSource::NotAllowed { source_name: self.source.name.clone(), uri });
        }
        let found = known.iter().find(|allowed| signer.is_none_or(|signer| signer == allowed.keyring));
        let found = found.ok_or_else(|| self.option(&format!("signed-by={}", signer.unwrap_or_default())))?;
        Ok(&found.keyring)
    }

    fn option(&self, option: &str) -> BadSource {
        let option = option.chars().take(MAX_ECHO).collect();
        BadSource::Option { source_name: self.source.name.clone(), option }
    }
}

/// Whether a suite or component stays below its URI and is for apt what it looks like: no quotes, escapes or brackets.
fn is_place(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+:/$()".contains(&byte);
    word.bytes().all(plain) && word.split('/').all(|part| part != "..")
}

fn is_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_,".contains(&byte)
}

/// Whether `text` can be the URI of an allowed repository: for apt it is what it looks like.
pub fn is_uri(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'[]%\\#".contains(&byte);
    text.bytes().all(plain) && text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
}

/// Whether `text` can be the keyring of an allowed repository: an absolute path that apt takes for one file.
pub fn is_keyring(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+@/".contains(&byte);
    text.starts_with('/') && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(configuration: &str) -> Source {
        Source { name: "extra".into(), products: vec!["*".into()], configuration: configuration.into() }
    }

    fn allowed() -> Vec<Allowed> {
        let one = |uri: &str, keyring: &str| Allowed { uri: uri.into(), keyring: keyring.into() };
        vec![one("https://a.example/debian/", "/k/a.gpg"), one("https://b.example", "/k/b.gpg")]
    }

    fn texts(configuration: &str) -> Result<Vec<String>, String> {
        let lines = lines(&[source(configuration)], &allowed()).map_err(|error| error.to_string())?;
        Ok(lines.into_iter().map(|line| line.text).collect())
    }

    #[test]
    fn lines_are_written_anew_with_the_hosts_keyring() {
        let text = "# ours\n\ndeb https://a.example/debian bookworm main contrib # all\n\
                    deb-src https://a.example/debian bookworm main\n\
                    deb\t[ arch=amd64,arm64 signed-by=/k/b.gpg ] https://b.example/ ./\n\
                    deb https://a.example/debian  bookworm main contrib\n";
        assert_eq!(
            texts(text).unwrap(),
            [
                "deb [signed-by=/k/a.gpg] https://a.example/debian bookworm main contrib",
                "deb [signed-by=/k/b.gpg arch=amd64,arm64] https://b.example/ ./",
            ]
        );
    }

    #[test]
    fn what_the_hosts_file_does_not_allow_is_refused_by_name() {
        for uri in [
            "https://c.example",
            "http://a.example/debian",
            "https://a.example/debian/more",
            "https://a.example",
            "https://A.example/debian",
            "[https://a.example/debian",
        ] {
            let text = texts(&format!("deb https://b.example s main\ndeb {uri} s main")).unwrap_err();
            assert!(text.contains(uri.trim_start_matches('[')), "{text}");
        }
        let text = texts("deb-src https://c.example s main").unwrap_err();
        assert_eq!(text, "source extra: this host's own file does not allow https://c.example");
    }

    #[test]
    fn options_that_weaken_are_refused_by_name() {
        for option in [
            "trusted=yes",
            "Trusted=yes",
            "trusted=no",
            "signed-by=/k/a.gpg",
            "signed-by+=/k/a.gpg",
            "allow-insecure=yes",
            "check-valid-until=no",
            "inrelease-path=../x",
            "arch=amd64]x",
            "arch+=amd64",
            "arch",
        ] {
            let text = texts(&format!("deb [arch=amd64 {option}] https://b.example s main")).unwrap_err();
            assert!(text.starts_with("source extra: "), "{text}");
            assert!(option.contains(']') || text.contains(&format!("{option:?}")), "{text}");
        }
        assert!(texts("deb [signed-by=/k/b.gpg signed-by=/k/x.gpg] https://b.example s main").is_err());
    }

    #[test]
    fn what_names_no_repository_is_refused() {
        for line in [
            "Types: deb",
            "rpm https://b.example s main",
            "deb",
            "deb https://b.example",
            "deb https://b.example s",
            "deb https://b.example s/ main",
            "deb https://b.example ../other/",
            "deb https://b.example s/../../x main",
            "deb https://b.example s \"main\"",
            "deb https://b.example s %2e%2e/x",
            "deb [arch=amd64 https://b.example s main",
        ] {
            let text = texts(line).unwrap_err();
            assert!(text.contains(&format!("{line:?}")), "{text}");
        }
        for text in ["# nothing", "\n \n", "deb-src https://b.example s main"] {
            assert_eq!(texts(text).unwrap_err(), "source extra names no repository");
        }
        assert_eq!(lines(&[], &allowed()), Ok(Vec::new()));
    }

    #[test]
    fn only_plain_uris_and_keyrings_can_be_allowed() {
        for good in ["https://a.example:8443/debian", "file:/srv/repo", "cdrom:x", "mirror+https://a/list"] {
            assert!(is_uri(good), "{good}");
        }
        for bad in
            ["", "a", "https:", ":x", "https://a b", "https://a\"", "https://a/%2e", "https://a/[x]", "https://ä"]
        {
            assert!(!is_uri(bad), "{bad}");
        }
        assert!(is_keyring("/etc/apt/keyrings/x_1.gpg"));
        for bad in ["", "x.gpg", "/a b", "/a,/b", "/a]", "/ä"] {
            assert!(!is_keyring(bad), "{bad}");
        }
    }

    #[test]
    fn sources_are_chosen_by_product() {
        let spec = |products: &[&str]| super::super::Spec {
            operating_system: Some("DEBIAN".into()),
            sources: Some(
                products
                    .iter()
                    .map(|product| Source { products: vec![(*product).into()], ..source(product) })
                    .collect(),
            ),
            ..Default::default()
        };
        let checked = |products: &[&str]| {
            super::super::PatchBaseline { name: "own".into(), spec: spec(products), labels: Default::default() }
                .check()
                .unwrap()
        };
        let chosen = |products: &[&str], product: &str| {
            let sources = checked(products).sources_for(product).map_err(|error| error.to_string())?;
            Ok::<_, String>(sources.into_iter().map(|source| source.configuration).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&["debian12", "Debian11", "*"], "Debian12").unwrap(), ["debian12", "*"]);
        assert_eq!(chosen(&[], "Debian12").unwrap(), Vec::<String>::new());
        let text = chosen(&["Debian11"], "Debian12").unwrap_err();
        assert_eq!(text, "the baseline own has sources for other products, and none for Debian12");
    }
}
