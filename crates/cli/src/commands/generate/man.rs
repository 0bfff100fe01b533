//! Man pages. The end of `--help` becomes two sections whose lines stay as they are, so that commands
//! can be pasted.

use std::io::Result;

use clap::Command;
use clap_mangen::Man;

/// The page of a command.
pub fn page(command: Command) -> Result<String> {
    let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (has_commands, has_version) = (command.has_subcommands(), command.get_version().is_some());
    let man = Man::new(command.after_help(None::<&str>));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    // Neither hyphens nor spaces of the formatter's.
    page.extend_from_slice(b".nh\n.ad l\n");
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    for part in end.split("\n\n") {
        let (heading, lines) = part.split_once('\n').unwrap_or_default();
        match heading.split([' ', ':']).next() {
            Some("Example" | "Examples") => verbatim("EXAMPLES", lines, &mut page),
            Some("Exit") => verbatim("EXIT STATUS", lines, &mut page),
            _ => {}
        }
    }
    if has_version {
        man.render_version_section(&mut page)?;
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// A section without filling.
fn verbatim(heading: &str, lines: &str, page: &mut Vec<u8>) {
    let mut text = format!(".SH {heading}\n.nf\n");
    for line in lines.lines() {
        // What must be typed as it stands, and not as typographers write it.
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(".fi\n");
    page.extend_from_slice(text.as_bytes());
}
