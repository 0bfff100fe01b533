//! The spellings of Neo4j 3.0's manual, turned into those that the parser knows.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Flags that the manual writes with one dash.
pub const ONE_DASH: [&str; 9] = [
    "-host",
    "-port",
    "-to",
    "-from",
    "-verify",
    "-consistency-checker",
    "-config",
    "-timeout",
    "-gather-forensics",
];

/// First arguments that begin with a dash and yet do not mean `backup`.
const NOT_BACKUP: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// `-host H -to D` becomes `backup --host H --to D`. What follows a `--` stays as it is.
pub fn rewrite(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut rewritten: Vec<OsString> = args.next().into_iter().collect();
    let mut verbatim = false;
    for (index, arg) in args.enumerate() {
        let is_flag = arg.as_bytes().starts_with(b"-");
        if index == 0 && is_flag && !NOT_BACKUP.iter().any(|flag| arg == *flag) {
            rewritten.push("backup".into());
        }
        verbatim = verbatim || arg == "--";
        let one_dash = !verbatim && ONE_DASH.iter().any(|flag| is_spelling(&arg, flag));
        rewritten.push(if one_dash { with_two_dashes(&arg) } else { arg });
    }
    rewritten
}

/// Whether the run is to answer in JSON, asked before the arguments are parsed: a usage error has
/// to be JSON too.
pub fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// `-host` or `-host=...`.
fn is_spelling(arg: &OsStr, flag: &str) -> bool {
    match arg.as_bytes().strip_prefix(flag.as_bytes()) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"="),
        None => false,
    }
}

fn with_two_dashes(arg: &OsStr) -> OsString {
    let mut bytes = b"-".to_vec();
    bytes.extend_from_slice(arg.as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line in, one line out.
    #[test]
    fn spellings() {
        let check = |line: &str, expected: &str| {
            let args = rewrite(line.split(' ').map(OsString::from));
            assert_eq!(args.join(OsStr::new(" ")), OsString::from(expected));
        };
        check("n", "n");
        check("n -host h -to d", "n backup --host h --to d");
        check("n -host -to d", "n backup --host --to d");
        check("n -host=h -port=1 -to=d", "n backup --host=h --port=1 --to=d");
        check("n --host h --to d --full", "n backup --host h --to d --full");
        check("n backup -host h -to d", "n backup --host h --to d");
        check("n --json -host h", "n backup --json --host h");
        check("n -from h -verify=false", "n backup --from h --verify=false");
        check("n restore --from d -to e", "n restore --from d --to e");
        check("n -h", "n -h");
        check("n --help", "n --help");
        check("n -V", "n -V");
        check("n --version", "n --version");
        check("n info -h", "n info -h");
        check("n -hostile x", "n backup -hostile x");
        check("n -total x", "n backup -total x");
        check("n backup -- -host", "n backup -- -host");
    }

    /// `--json` counts anywhere but after `--`.
    #[test]
    fn json_is_seen_before_parsing() {
        let check =
            |line: &str| wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(check("n --nonsense --json"));
        assert!(!check("n --nonsense"));
        assert!(!check("n -- --json"));
    }
}
