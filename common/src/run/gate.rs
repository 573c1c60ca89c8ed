//! Gates: what a host must show after its run, as asked for by the rollout. The shell asks; this says what may be asked.

use serde::{Deserialize, Serialize};

/// Most gates after a host, and most after a ring.
pub const MAX_GATES: usize = 16;
/// Longest time-out of one gate, in seconds.
pub const MAX_TIMEOUT: u32 = 60 * 60;
/// Time-out of one gate if none is given, in seconds.
pub const DEFAULT_TIMEOUT: u32 = 30;
/// Longest time-out of a service's probe, in seconds: it is asked again before its last answer is too old.
pub const MAX_PROBE_TIMEOUT: u32 = 30;
/// How many probes a host answers at a time: those of so many services. Each may be a process.
pub const MAX_PROBING: usize = 16;
/// Time-out of a service's probe if none is given, in seconds.
pub const DEFAULT_PROBE_TIMEOUT: u32 = 10;
/// Most words of a command.
pub const MAX_ARGV: usize = 32;
/// Longest word of a command, in bytes.
pub const MAX_ARGUMENT: usize = 1024;
/// Longest name of a unit, or of the file of a command: what file systems and systemd allow.
pub const MAX_FILE: usize = 255;
/// Longest URL, in bytes.
pub const MAX_URL: usize = 2048;
/// The code of a run that did everything and failed a gate.
pub const GATE_FAILED: &str = "gate-failed";

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gate {
    /// What is asked.
    pub ask: Ask,
    /// Until when it must have been shown, in seconds since it was first asked; 1 to [`MAX_TIMEOUT`].
    pub timeout_seconds: u32,
}

/// What a gate asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Ask {
    /// An executable in the folder `gate` of the host's hooks ends with 0: its name, then its arguments. Run once. Nothing else
    /// can be named, so that a coordinator runs only what the host's owner put there. After a ring: one in the folder `gates` of
    /// the coordinator, so that whoever may apply a rollout runs only what the coordinator's owner put there. Of a service's probe:
    /// one in the folder `probe` of the host's hooks.
    Command(Vec<String>),
    /// systemd calls this unit active. Asked again until it does.
    SystemdUnit(String),
    /// No unit has failed that had not failed before the transaction.
    NoNewFailedUnits,
    /// A GET from the host is answered with this status. Asked again until it is.
    Http {
        /// `http://host[:port][/path]`.
        url: String,
        /// 100 to 599.
        status: u16,
    },
}

/// What is wrong with a gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Too many.
    #[error("{0} gates are more than the {MAX_GATES} allowed")]
    TooMany(usize),
    /// Never, or too long.
    #[error("the time-out {0}s is not allowed: write 1s to 1h")]
    Timeout(u32),
    /// No words, or too many or too long ones.
    #[error("the command is not allowed: write 1 to {MAX_ARGV} words of at most {MAX_ARGUMENT} bytes, without NUL")]
    Command,
    /// A path.
    #[error(
        "the command {0:?} is no file name: name an executable in the folder gate of the host's hooks, so that only what the \
         host's owner put there is run"
    )]
    File(String),
    /// A path, after a ring.
    #[error(
        "the command {0:?} is no file name: name an executable in the folder gates of the coordinator, so that only what its \
         owner put there is run"
    )]
    RingFile(String),
    /// A path, of a probe.
    #[error(
        "the command {0:?} is no file name: name an executable in the folder probe of the host's hooks, so that only what the \
         host's owner put there is run"
    )]
    ProbeFile(String),
    /// Never, or longer than an answer may be awaited.
    #[error("the time-out {0}s is not allowed: write 1s to {MAX_PROBE_TIMEOUT}s")]
    ProbeTimeout(u32),
    /// Nothing to compare with.
    #[error(
        "noNewFailedUnits compares with what was before a transaction, and a probe has none: name a unit, a command or a URL"
    )]
    ProbeOfNew,
    /// The coordinator cannot ask it.
    #[error(
        "{0} is asked on a host: write it under afterHost, which every host of a ring must pass before the next ring begins"
    )]
    OfHosts(&'static str),
    /// Not a unit.
    #[error("the unit {0:?} is not allowed: write its whole name, e.g. nginx.service")]
    Unit(String),
    /// No URL that can be asked.
    #[error(
        "the URL {0:?} is not allowed: write http://HOST[:PORT][/PATH] in at most {MAX_URL} bytes of ASCII, without user"
    )]
    Url(String),
    /// TLS.
    #[error("https is not built yet: ask {0:?} by a command, or over http")]
    Https(String),
    /// No HTTP status.
    #[error("the status {0} is not allowed: write 100 to 599")]
    Status(u16),
}

impl Gate {
    /// Refuses what could never be asked.
    ///
    /// # Errors
    /// [`GateError`] names the first value that is wrong.
    pub fn check(&self) -> Result<(), GateError> {
        if self.timeout_seconds == 0 || self.timeout_seconds > MAX_TIMEOUT {
            return Err(GateError::Timeout(self.timeout_seconds));
        }
        match &self.ask {
            Ask::Command(argv) => {
                let good = |word: &String| word.len() <= MAX_ARGUMENT && !word.contains('\0');
                let file = argv.first().filter(|_| argv.len() <= MAX_ARGV && argv.iter().all(good));
                let file = file.ok_or(GateError::Command)?;
                let plain = !file.is_empty() && file.len() <= MAX_FILE && !file.starts_with('.') && !file.contains('/');
                if plain { Ok(()) } else { Err(GateError::File(clip(file))) }
            }
            Ask::SystemdUnit(unit) => {
                let known = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
                let whole = unit.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && !kind.is_empty());
                let good = whole && unit.len() <= MAX_FILE && !unit.starts_with('-') && unit.chars().all(known);
                if good { Ok(()) } else { Err(GateError::Unit(clip(unit))) }
            }
            Ask::NoNewFailedUnits => Ok(()),
            Ask::Http { url, status } => {
                if url.starts_with("https://") {
                    return Err(GateError::Https(clip(url)));
                }
                let rest = url.strip_prefix("http://").filter(|_| url.len() <= MAX_URL);
                let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
                let good =
                    authority.is_some_and(|name| !name.is_empty() && !name.starts_with(':') && !name.contains('@'));
                if !good || !url.chars().all(|c| c.is_ascii_graphic() && c != '#') {
                    return Err(GateError::Url(clip(url)));
                }
                if (100..=599).contains(status) { Ok(()) } else { Err(GateError::Status(*status)) }
            }
        }
    }

    /// Of all gates after a host.
    ///
    /// # Errors
    /// [`GateError`], with the position of the gate from 0 if it is one of them.
    pub fn check_all(gates: &[Self]) -> Result<(), (Option<usize>, GateError)> {
        if gates.len() > MAX_GATES {
            return Err((None, GateError::TooMany(gates.len())));
        }
        let checked = gates.iter().enumerate().map(|(at, gate)| gate.check().map_err(|error| (Some(at), error)));
        checked.collect()
    }

    /// Of all gates after a ring: the coordinator asks them, which has nobody's services in view.
    ///
    /// # Errors
    /// As [`Self::check_all`].
    pub fn check_after_ring(gates: &[Self]) -> Result<(), (Option<usize>, GateError)> {
        let of_hosts = gates.iter().enumerate().find_map(|(at, gate)| {
            let what = match gate.ask {
                Ask::SystemdUnit(_) => "systemdUnit",
                Ask::NoNewFailedUnits => "noNewFailedUnits",
                Ask::Command(_) | Ask::Http { .. } => return None,
            };
            Some((Some(at), GateError::OfHosts(what)))
        });
        of_hosts.map_or(Ok(()), Err)?;
        Self::check_all(gates).map_err(|(at, error)| match error {
            GateError::File(file) => (at, GateError::RingFile(file)),
            error => (at, error),
        })
    }

    /// Of a service's probe.
    ///
    /// # Errors
    /// [`GateError`] names the first value that is wrong.
    pub fn check_probe(&self) -> Result<(), GateError> {
        if self.ask == Ask::NoNewFailedUnits {
            return Err(GateError::ProbeOfNew);
        }
        if self.timeout_seconds == 0 || self.timeout_seconds > MAX_PROBE_TIMEOUT {
            return Err(GateError::ProbeTimeout(self.timeout_seconds));
        }
        self.check().map_err(|error| match error {
            GateError::File(file) => GateError::ProbeFile(file),
            error => error,
        })
    }

    /// In words, for people.
    pub fn name(&self) -> String {
        match &self.ask {
            Ask::Command(argv) => format!("command {}", argv.join(" ")),
            Ask::SystemdUnit(unit) => format!("systemdUnit {unit}"),
            Ask::NoNewFailedUnits => "noNewFailedUnits".into(),
            Ask::Http { url, status } => format!("http {url} ({status})"),
        }
    }

    /// Whether it asks the host's systemd.
    pub fn asks_systemd(&self) -> bool {
        matches!(self.ask, Ask::SystemdUnit(_) | Ask::NoNewFailedUnits)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ask: Ask) -> Result<(), GateError> {
        Gate { ask, timeout_seconds: DEFAULT_TIMEOUT }.check()
    }

    fn http(url: &str) -> Result<(), GateError> {
        check(Ask::Http { url: url.into(), status: 200 })
    }

    #[test]
    fn what_a_host_can_be_asked_passes() {
        check(Ask::Command(vec!["check-web".into(), "--port=80".into(), "a b".into()])).unwrap();
        check(Ask::SystemdUnit("getty@tty1.service".into())).unwrap();
        check(Ask::NoNewFailedUnits).unwrap();
        for url in ["http://localhost", "http://127.0.0.1:8080/health?deep=1", "http://[::1]:80/", "http://a?b"] {
            http(url).unwrap();
        }
    }

    #[test]
    fn what_could_never_be_asked_is_named() {
        let command = |words: &[&str]| check(Ask::Command(words.iter().map(|word| (*word).to_owned()).collect()));
        assert_eq!(command(&[]), Err(GateError::Command));
        assert_eq!(command(&["a"; 33]), Err(GateError::Command));
        assert_eq!(command(&["a", "\0"]), Err(GateError::Command));
        assert_eq!(command(&["a", &"b".repeat(1025)]), Err(GateError::Command));
        for file in ["/bin/sh", "../sh", ".hidden", ""] {
            assert_eq!(command(&[file, "-c", "true"]), Err(GateError::File(file.into())));
        }
        for unit in ["nginx", ".service", "a b.service", "-x.service", "nginx."] {
            assert_eq!(check(Ask::SystemdUnit(unit.into())), Err(GateError::Unit(unit.into())), "{unit}");
        }
        for url in
            ["ftp://a", "http://", "http:///x", "http://:80", "http://u:p@a/", "http://a/ b", "http://a/#x", "http://ä"]
        {
            assert_eq!(http(url), Err(GateError::Url(url.into())), "{url}");
        }
        assert_eq!(http("https://a/"), Err(GateError::Https("https://a/".into())));
        assert_eq!(check(Ask::Http { url: "http://a".into(), status: 99 }), Err(GateError::Status(99)));
        for timeout_seconds in [0, 3601] {
            let gate = Gate { ask: Ask::NoNewFailedUnits, timeout_seconds };
            assert_eq!(gate.check(), Err(GateError::Timeout(timeout_seconds)));
        }
        let gate = Gate { ask: Ask::NoNewFailedUnits, timeout_seconds: 1 };
        assert_eq!(Gate::check_all(&vec![gate.clone(); 17]), Err((None, GateError::TooMany(17))));
        let wrong = Gate { timeout_seconds: 0, ..gate.clone() };
        assert_eq!(Gate::check_all(&[gate, wrong]), Err((Some(1), GateError::Timeout(0))));
    }

    #[test]
    fn a_coordinator_asks_commands_of_its_own_and_over_http_only() {
        let after_ring = |ask: Ask| Gate::check_after_ring(&[Gate { ask, timeout_seconds: DEFAULT_TIMEOUT }]);
        after_ring(Ask::Command(vec!["check-shop".into()])).unwrap();
        after_ring(Ask::Http { url: "http://shop/health".into(), status: 200 }).unwrap();
        let unit = after_ring(Ask::SystemdUnit("nginx.service".into()));
        assert_eq!(unit, Err((Some(0), GateError::OfHosts("systemdUnit"))));
        assert_eq!(after_ring(Ask::NoNewFailedUnits), Err((Some(0), GateError::OfHosts("noNewFailedUnits"))));
        let path = after_ring(Ask::Command(vec!["/bin/sh".into()]));
        assert_eq!(path, Err((Some(0), GateError::RingFile("/bin/sh".into()))));
        let tls = after_ring(Ask::Http { url: "https://shop/".into(), status: 200 });
        assert_eq!(tls, Err((Some(0), GateError::Https("https://shop/".into()))));
    }

    #[test]
    fn a_probe_is_short_and_needs_nothing_from_before() {
        let probe = |ask, timeout_seconds| Gate { ask, timeout_seconds }.check_probe();
        let unit = || Ask::SystemdUnit("pg.service".into());
        assert_eq!((probe(unit(), 1), probe(unit(), 30)), (Ok(()), Ok(())));
        assert_eq!(probe(unit(), 0), Err(GateError::ProbeTimeout(0)));
        assert_eq!(probe(unit(), 31), Err(GateError::ProbeTimeout(31)));
        assert_eq!(probe(Ask::NoNewFailedUnits, 1), Err(GateError::ProbeOfNew));
        let path = Ask::Command(vec!["/bin/true".into()]);
        assert_eq!(probe(path, 1), Err(GateError::ProbeFile("/bin/true".into())));
    }
}
