//! Every command with the first line of its help, compared with what is written down.

use std::fmt::Write as _;
use std::process::Command;

use nexus_tests::host::binary;

const GOLDEN: &str = include_str!("help.txt");

/// Prints the command and all below it.
fn describe(path: &[String], text: &mut String) -> anyhow::Result<()> {
    let output = Command::new(binary()).args(path).arg("--help").output()?;
    let help = String::from_utf8(output.stdout)?;
    let mut lines = help.lines();
    writeln!(
        text,
        "{}: {}",
        ["nexus".to_owned()]
            .iter()
            .chain(path)
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
        lines.next().unwrap_or_default()
    )?;
    let commands = lines
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // Deeper lines go on with a description.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    for command in commands.filter(|command| *command != "help") {
        let mut below = path.to_vec();
        below.push(command.to_owned());
        describe(&below, text)?;
    }
    Ok(())
}

#[test]
fn every_command_is_there_and_says_in_a_line_what_it_does() -> anyhow::Result<()> {
    let mut text = String::new();
    describe(&[], &mut text)?;
    assert_eq!(text, GOLDEN, "tests/tests/cli/help.txt is to be\n{text}");
    Ok(())
}
