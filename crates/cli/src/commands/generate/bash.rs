//! Completion for bash. Ours, since `backup` may be left out and has flags with one dash, and since
//! what clap_complete 4.6 makes for a program with a hyphen in its name completes no command.

use clap::Command;

use crate::argv;

/// The script. Where it has no word to offer, bash offers the names of files.
pub fn script(program: &Command, documents: &str) -> String {
    let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
    let mut flags = String::new();
    let mut values = String::new();
    for command in program.get_subcommands() {
        let name = command.get_name();
        let one_dash = argv::ONE_DASH.iter().map(|flag| (*flag).to_owned());
        let mut words: Vec<String> = one_dash.filter(|flag| has(command, &flag[1..])).collect();
        for arg in command.get_arguments() {
            words.extend(arg.get_long().map(|long| format!("--{long}")));
            words.extend(arg.get_short().map(|short| format!("-{short}")));
            let offered = arg.get_possible_values();
            let takes_one = arg.get_action().takes_values() && !offered.is_empty();
            if let Some(long) = arg.get_long().filter(|_| takes_one) {
                let offered: Vec<&str> = offered.iter().map(|value| value.get_name()).collect();
                let line = format!("        {name},--{long}) words=\"{}\" ;;\n", offered.join(" "));
                values.push_str(&line);
            }
        }
        words.sort();
        flags.push_str(&format!("            {name}) words=\"{}\" ;;\n", words.join(" ")));
    }
    TEMPLATE
        .replace("@COMMANDS@", &names.join(" "))
        .replace("@DOCUMENTS@", documents)
        .replace("@FLAGS@\n", &flags)
        .replace("@VALUES@\n", &values)
}

fn has(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(long))
}

const TEMPLATE: &str = r#"_neo4j_backup() {
    local cur="$2" prev="$3" command="${COMP_WORDS[1]}" commands="@COMMANDS@" words=""
    COMPREPLY=()
    [[ $prev == = ]] && prev="${COMP_WORDS[COMP_CWORD-2]}"
    if [[ $COMP_CWORD -eq 1 && $cur != -* ]]; then
        COMPREPLY=( $(compgen -W "$commands" -- "$cur") )
        return
    fi
    # The word may be left out.
    [[ $command == -* ]] && command=backup
    if [[ $cur == -* ]]; then
        case "$command" in
@FLAGS@
        esac
        [[ $COMP_CWORD -eq 1 ]] && words="$words --version -V"
        COMPREPLY=( $(compgen -W "$words" -- "$cur") )
        return
    fi
    case "$command,$prev" in
@VALUES@
        generate,generate) words="@DOCUMENTS@" ;;
        generate,man) words="$commands" ;;
    esac
    [[ -n $words ]] && COMPREPLY=( $(compgen -W "$words" -- "$cur") )
}

complete -o default -F _neo4j_backup neo4j-backup
"#;
