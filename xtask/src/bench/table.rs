//! The table of results, as Markdown.

use std::fmt;

/// Rows with their verdicts.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// A row that has no bar.
    pub fn figure(&mut self, what: &str, measured: String) {
        self.rows.push([what.to_owned(), measured, String::new(), String::new()]);
    }

    /// A row with a bar; whether it holds.
    pub fn bar(&mut self, what: &str, measured: String, bar: &str, holds: bool) {
        let verdict = if holds { "holds" } else { "MISSED" };
        self.rows.push([what.to_owned(), measured, bar.to_owned(), verdict.to_owned()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | bar | verdict |\n|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}
