//! stdout is data, stderr is talk.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::fault::Fault;

/// What `-o` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// One JSON document per event.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Names only, one per line.
    Name,
}

impl Format {
    /// The word after `-o`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Name => "name",
        }
    }

    /// Whether errors are documents too.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }

    /// Refuses a format that makes no sense for `verb`.
    ///
    /// # Errors
    /// Exit 64; names the format, the verb and what it can print.
    pub fn among(self, verb: &str, allowed: &[Self]) -> Result<Self, Fault> {
        if allowed.contains(&self) {
            return Ok(self);
        }
        let words: Vec<_> = allowed.iter().map(|format| format.as_str()).collect();
        Err(Fault::new(
            "format-not-supported",
            format!("{verb} cannot print -o {}", self.as_str()),
            "nothing was done",
            format!("use -o {}", words.join("|")),
        )
        .exit(crate::fault::Exit::Usage))
    }
}

/// Rows for people and for spreadsheets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Column heads.
    pub header: Vec<&'static str>,
    /// One cell per head.
    pub rows: Vec<Vec<String>>,
}

impl Rows {
    /// An empty table with `header`.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Aligned columns without borders; empty cells show as `-`. Ends with a newline.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.header.iter().map(|head| head.to_uppercase()));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| if cell.is_empty() { "-" } else { cell }));
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        let mut text = String::new();
        for line in table.to_string().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// RFC 4180 with a header line.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        let header: Vec<String> = self.header.iter().map(|head| (*head).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let cells: Vec<_> = row.iter().map(|cell| csv_cell(cell)).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }

    /// The first column, one per line.
    pub fn names(&self) -> String {
        self.rows.iter().filter_map(|row| row.first()).map(|name| format!("{name}\n")).collect()
    }
}

fn csv_cell(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// Writes `text` to stdout as it is.
///
/// # Errors
/// [`Fault::closed_pipe`] if the reader is gone; a fault for a full disk and the like.
pub fn print(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Fault::closed_pipe()),
        Err(error) => Err(Fault::new(
            "output-failed",
            "cannot write to stdout",
            "what the command did stays done",
            "check the disk or the reader of the output",
        )
        .because(error)),
    }
}

/// Prints `document` as JSON (indented, or on one line for `jsonl`) or YAML.
///
/// # Errors
/// As [`print`].
pub fn print_document<T: Serialize>(document: &T, format: Format) -> Result<(), Fault> {
    print(&document_text(document, format)?)
}

fn document_text<T: Serialize>(document: &T, format: Format) -> Result<String, Fault> {
    let failed = |error: String| {
        Fault::new("output-failed", "the answer cannot be written in this format", "nothing was changed", "use -o json")
            .because(error)
    };
    match format {
        Format::Jsonl => serde_json::to_string(document).map(|text| text + "\n").map_err(|e| failed(e.to_string())),
        Format::Yaml => serde_saphyr::to_string(document).map_err(|e| failed(e.to_string())),
        _ => serde_json::to_string_pretty(document).map(|text| text + "\n").map_err(|e| failed(e.to_string())),
    }
}

/// Prints one answer in any of the formats that suit a list: the document as it is, or `rows` made from it.
///
/// # Errors
/// As [`print`].
pub fn print_rows<T: Serialize>(document: &T, rows: &Rows, format: Format) -> Result<(), Fault> {
    match format {
        Format::Json | Format::Jsonl | Format::Yaml => print_document(document, format),
        Format::Csv => print(&rows.csv()),
        Format::Name => print(&rows.names()),
        Format::Table | Format::Wide => print(&rows.table()),
    }
}

/// Writes talk to stderr. A closed stderr loses talk and nothing else.
pub fn talk(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Whether stderr is a terminal that wants colour and moving lines.
pub fn is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colour is wanted on stderr: a terminal, and no `NO_COLOR`.
pub fn is_coloured() -> bool {
    is_live() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether colour is wanted on stdout: a terminal, and no `NO_COLOR`.
pub fn is_stdout_coloured() -> bool {
    let terminal = io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::new(&["host", "reason"]);
        rows.push(vec!["web-1".into(), "says \"no\", twice".into()]);
        rows.push(vec!["web-22".into(), String::new()]);
        rows
    }

    #[test]
    fn tables_are_aligned_without_trailing_spaces() {
        assert_eq!(rows().table(), "HOST    REASON\nweb-1   says \"no\", twice\nweb-22  -\n");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        assert_eq!(rows().csv(), "host,reason\r\nweb-1,\"says \"\"no\"\", twice\"\r\nweb-22,\r\n");
        assert_eq!(rows().names(), "web-1\nweb-22\n");
    }

    #[test]
    fn a_format_that_makes_no_sense_is_refused_by_name() {
        let fault = Format::Csv.among("plan", &[Format::Table, Format::Json]).unwrap_err();
        assert_eq!(fault.message, "plan cannot print -o csv");
        assert_eq!((fault.remedy.as_str(), fault.exit.code()), ("use -o table|json", 64));
    }
}
