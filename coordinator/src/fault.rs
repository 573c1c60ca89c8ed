//! How a command ends: exit codes (design section 6) and errors that name the thing, what was left unchanged, and the remedy.

use std::{error::Error, fmt};

/// Documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// The command itself failed.
    Error = 1,
    /// `plan --detailed-exitcode`: there are changes.
    Changes = 2,
    /// Stopped by a guardrail or an operator.
    Stopped = 3,
    /// Finished, but some hosts failed.
    Failures = 4,
    /// Finished, but some hosts are lost or unconfirmed.
    Lost = 5,
    /// The plan is stale or needs approval.
    StalePlan = 6,
    /// No coordinator answered.
    NoCoordinator = 7,
    /// Wrong use, or not built yet.
    Usage = 64,
    /// Detached; the work continues.
    Detached = 130,
}

/// An error for a person and for a script: a lower-case fragment, what was left unchanged, and what to do.
#[derive(Debug)]
pub struct Fault {
    /// A stable kebab-case word.
    pub code: &'static str,
    /// A lower-case fragment with the offending value and its place.
    pub message: String,
    /// One sentence: what was left as it was.
    pub unchanged: String,
    /// One sentence: what to do.
    pub remedy: String,
    /// How the process ends.
    pub exit: Exit,
    /// The cause.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault that ends with exit code 1.
    pub fn new(
        code: &'static str,
        message: impl Into<String>,
        unchanged: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            unchanged: unchanged.into(),
            remedy: remedy.into(),
            exit: Exit::Error,
            source: None,
        }
    }

    /// The same with a cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Something that is refused by name: exit 64 and the words `not built yet`.
    pub fn not_built(what: &str, instead: &str) -> Self {
        Self::new("not-built-yet", format!("{what} is not built yet"), "nothing was changed", instead).exit(Exit::Usage)
    }

    /// The message and every cause below it, as one line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source.as_ref().map(|source| &**source as &dyn Error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
