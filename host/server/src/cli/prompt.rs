//! Questions to a person. Where nobody can be asked, the error says which flag answers.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::Context as _;
use dialoguer::{Confirm, console::Term};

use super::failure::NeedsAnswer;

/// Whether a person can be asked: both the question and the answer need the terminal.
pub(crate) fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Fails at once if a question could not be asked later.
pub(crate) fn require(question: &str, flag: &str) -> Result<(), NeedsAnswer> {
    if is_attended() {
        Ok(())
    } else {
        Err(NeedsAnswer {
            question: question.to_owned(),
            flag: flag.to_owned(),
        })
    }
}

/// Asks for yes or no; only a typed answer counts.
pub(crate) async fn confirm(question: String) -> anyhow::Result<bool> {
    tokio::task::spawn_blocking(move || {
        Confirm::new()
            .with_prompt(question)
            .wait_for_newline(true)
            .interact_on(&Term::stderr())
    })
    .await
    .context("failed to ask")?
    .context("failed to read the answer")
}

/// Reads a secret from the terminal without echo, or all of stdin, without the line end at its end.
pub(crate) async fn secret(prompt: String) -> anyhow::Result<String> {
    let value = tokio::task::spawn_blocking(move || {
        if io::stdin().is_terminal() {
            let terminal = Term::stderr();
            terminal.write_str(&prompt)?;
            terminal.read_secure_line()
        } else {
            let mut value = String::new();
            io::stdin().lock().read_to_string(&mut value)?;
            Ok(value)
        }
    })
    .await
    .context("failed to ask for the value")?
    .context("failed to read the value")?;
    Ok(without_line_end(value))
}

/// All of stdin.
pub(crate) async fn stdin() -> anyhow::Result<Vec<u8>> {
    tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    })
    .await
    .context("failed to read stdin")?
    .context("failed to read stdin")
}

fn without_line_end(mut value: String) -> String {
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_end_is_dropped() {
        assert_eq!(without_line_end("a\n\n".to_owned()), "a\n");
        assert_eq!(without_line_end("a\r\n".to_owned()), "a");
        assert_eq!(without_line_end(" a ".to_owned()), " a ");
    }
}
