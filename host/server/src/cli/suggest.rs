//! What to type instead of a command that there is not.

use clap::{
    Command, CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::args::Cli;

/// Says what is wrong with the command line, and ends the process.
pub(crate) fn exit(mut error: clap::Error) -> ! {
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && let meant = below(&Cli::command(), word)
        && !meant.is_empty()
    {
        let meant = ContextValue::Strings(meant);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error.exit()
}

/// The commands of this name inside of groups: `deploy` is `agents deploy`.
fn below(top: &Command, word: &str) -> Vec<String> {
    top.get_subcommands()
        .filter(|group| group.find_subcommand(word).is_some())
        .map(|group| format!("{} {word}", group.get_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_its_group_is_found() {
        let top = Cli::command();
        assert_eq!(below(&top, "deploy"), ["agents deploy"]);
        assert_eq!(below(&top, "approve"), ["approvals approve"]);
        assert!(below(&top, "dance").is_empty());
    }
}
