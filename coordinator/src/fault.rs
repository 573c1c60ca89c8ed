//! How a command ends: exit codes (design section 6) and errors that name the thing, what was left unchanged, and the remedy.

use std::{error::Error, fmt};

pub use patchmesh_node::api::document::ErrorDocument;

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

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit of a number that a service sent; [`Exit::Error`] for numbers that no version of ours sends.
    pub fn from_code(code: u8) -> Self {
        const ALL: [Exit; 9] = [
            Exit::Done,
            Exit::Changes,
            Exit::Stopped,
            Exit::Failures,
            Exit::Lost,
            Exit::StalePlan,
            Exit::NoCoordinator,
            Exit::Usage,
            Exit::Detached,
        ];
        ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Error)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error for a person and for a script: a lower-case fragment, what was left unchanged, and what to do.
#[derive(Debug)]
pub struct Fault {
    /// A stable kebab-case word.
    pub code: &'static str,
    /// What the service said, if the fault came over the API: a newer one may know more codes.
    pub relayed: Option<Box<ErrorDocument>>,
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
            relayed: None,
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

    /// The reader of our output is gone: not an error of ours, and there is nobody to tell.
    pub fn closed_pipe() -> Self {
        Self::new("closed-pipe", "the reader of the output is gone", "", "").exit(Exit::Done)
    }

    /// The error document of `-o json|jsonl`, and of the API.
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument {
            schema: ErrorDocument::SCHEMA.to_owned(),
            code: self.relayed.as_ref().map_or_else(|| self.code.to_owned(), |said| said.code.clone()),
            message: self.chain(),
            unchanged: self.unchanged.clone(),
            remedy: self.remedy.clone(),
            exit: self.exit.code(),
        }
    }

    /// What people read, over several lines.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.chain());
        for (label, sentence) in [("unchanged", &self.unchanged), ("try", &self.remedy)] {
            if !sentence.is_empty() {
                text.push_str(&format!("  {label}: {sentence}\n"));
            }
        }
        text
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

impl From<ErrorDocument> for Fault {
    fn from(document: ErrorDocument) -> Self {
        let ErrorDocument { message, unchanged, remedy, exit, .. } = document.clone();
        let fault = Self::new("service-refused", message, unchanged, remedy).exit(Exit::from_code(exit));
        Self { relayed: Some(Box::new(document)), ..fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_crosses_the_api_with_its_chain_and_its_exit() {
        let fault = Fault::new("plan-stale", "the plan is stale", "no host was changed", "plan again")
            .exit(Exit::StalePlan)
            .because(std::io::Error::other("hash differs"));
        let back = Fault::from(fault.document());
        assert_eq!(back.message, "the plan is stale: hash differs");
        assert_eq!((back.exit, back.document().code.as_str()), (Exit::StalePlan, "plan-stale"));
        assert_eq!(
            fault.text(),
            "error: the plan is stale: hash differs\n  unchanged: no host was changed\n  try: plan again\n"
        );
    }

    #[test]
    fn exit_codes_survive_and_strangers_are_errors() {
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 64, 130] {
            assert_eq!(Exit::from_code(code).code(), code);
        }
        assert_eq!(Exit::from_code(77), Exit::Error);
    }
}
