//! The host speaks to every client in the words of its API; the command line says the same in its own.

/// A method of the API, or a phrase with names of the API, and what a person types or sees instead.
const WORDS: [(&str, &str); 19] = [
    ("ListAgents shows them", "`nexus agents list` shows them"),
    (
        "ListApprovals shows them",
        "`nexus approvals list --all` shows them",
    ),
    (
        "ListForges shows them",
        "`nexus forge list --all` shows them",
    ),
    (
        "ListForgedAgents shows them",
        "`nexus forge list` shows them",
    ),
    ("ListGrants shows them", "`nexus grants list` shows them"),
    (
        "ListInvocations shows them",
        "`nexus invocations list` shows them",
    ),
    (
        "ListGenerations shows those that are kept",
        "`nexus agents show NAME` shows those that are kept",
    ),
    (
        "ListEntries shows the keys of a space",
        "`nexus memory list SPACE` shows the keys of a space",
    ),
    (
        "GetAgent shows the schema",
        "`nexus agents show NAME` shows the schema",
    ),
    (
        "use ForgeAgent for a dry run",
        "use `nexus forge create --validate-only` for a dry run",
    ),
    (
        "an approval's name is approvals/apr-...",
        "an approval's id begins with apr-; `nexus approvals list` shows them",
    ),
    (
        "a grant's name is grants/grt-...",
        "a grant's id begins with grt-; `nexus grants list` shows them",
    ),
    ("there is no agent \"agents/", "there is no agent \""),
    (
        "there is no approval \"approvals/",
        "there is no approval \"",
    ),
    ("there is no forge \"forges/", "there is no forge \""),
    ("there is no grant \"grants/", "there is no grant \""),
    (
        "there is no invocation \"invocations/",
        "there is no invocation \"",
    ),
    ("schema of agents/", "schema of "),
    ("agent_id: ", "the agent's name: "),
];

/// A message of the host in the words of the command line.
pub(crate) fn of_the_command_line(message: &str) -> String {
    // `name: ` is the field of the request that carries what was typed.
    let message = message.strip_prefix("name: ").unwrap_or(message);
    WORDS
        .iter()
        .fold(message.to_owned(), |message, (api, typed)| {
            message.replace(api, typed)
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn methods_become_commands() {
        assert_eq!(
            of_the_command_line("there is no agent \"agents/x\"; ListAgents shows them"),
            "there is no agent \"x\"; `nexus agents list` shows them"
        );
        assert_eq!(
            of_the_command_line("name: an approval's name is approvals/apr-..."),
            "an approval's id begins with apr-; `nexus approvals list` shows them"
        );
    }

    #[test]
    fn what_is_said_instead_is_a_command_that_there_is() {
        for (_, typed) in WORDS {
            let Some((_, rest)) = typed.split_once("`nexus ") else {
                continue;
            };
            let command = rest.split('`').next().unwrap_or_default();
            let mut at = Cli::command();
            for word in command.split(' ') {
                if let Some(flag) = word.strip_prefix("--") {
                    let known = at.get_arguments().any(|it| it.get_long() == Some(flag));
                    assert!(known, "{typed}: {flag}");
                } else if word.chars().all(|c| c.is_lowercase()) {
                    let below = at.find_subcommand(word).cloned();
                    at = below.unwrap_or_else(|| panic!("{typed}: {word}"));
                }
            }
        }
    }
}
