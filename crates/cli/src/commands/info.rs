//! `info`: what a backup holds, by its manifest alone.

use mirror::Backup;
use serde::Serialize;

use super::report::DatabaseReport;
use crate::args::InfoArgs;
use crate::exit_code::ExitCode;
use crate::output::{Ended, Output};

#[derive(Serialize)]
struct Document {
    databases: Vec<DatabaseReport>,
    format_version: u64,
    tool_version: String,
    created: String,
}

pub fn run(args: &InfoArgs, output: Output) -> Ended {
    let backup = Backup::open(&args.from)?;
    let manifest = backup.manifest();
    let document = Document {
        databases: manifest.databases.iter().map(DatabaseReport::from).collect(),
        format_version: manifest.format_version,
        tool_version: manifest.tool_version.clone(),
        created: format!("{:.3}", manifest.created),
    };
    for database in &document.databases {
        database.tell(output);
    }
    output.document(&document);
    Ok(ExitCode::Ok)
}
