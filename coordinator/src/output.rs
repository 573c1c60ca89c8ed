//! stdout is data, stderr is talk.

use clap::ValueEnum;

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
