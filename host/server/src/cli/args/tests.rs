//! The command line as users type it.

use std::time::Duration;

use clap::CommandFactory as _;

use super::{values::duration, *};

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("nexus").chain(arguments.iter().copied()))
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn first_help_lines_have_no_full_stop() {
    fn walk(command: &clap::Command) {
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            !about.is_empty() || command.get_name() == "help",
            "{}",
            command.get_name()
        );
        assert!(!about.ends_with('.'), "{}: {about}", command.get_name());
        for argument in command.get_arguments() {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                !help.is_empty(),
                "{} {}",
                command.get_name(),
                argument.get_id()
            );
            assert!(!help.ends_with('.'), "{}: {help}", argument.get_id());
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Cli::command());
}

#[test]
fn output_is_taken_before_and_after_the_command() {
    for arguments in [
        ["--output", "json", "agents", "list"],
        ["agents", "list", "--output", "json"],
    ] {
        assert_eq!(
            parse(&arguments).expect("parsed").global.output,
            Format::Json
        );
    }
}

#[test]
fn forge_takes_repeated_parameters_and_settings() {
    let cli = parse(&[
        "forge",
        "create",
        "prices",
        "fetch prices",
        "--param",
        "symbol:string:required",
        "--param",
        "limit:number",
        "--set",
        "origin=http://a?b=c",
        "--set",
        "path=/p",
    ])
    .expect("parsed");
    let Command::Forge(Forge::Create(create)) = cli.command else {
        panic!("another command");
    };
    assert_eq!(create.what.parameters.len(), 2);
    assert!(create.what.parameters[0].0.required);
    assert!(!create.what.parameters[1].0.required);
    assert_eq!(
        create.what.settings[0],
        ("origin".to_owned(), "http://a?b=c".to_owned())
    );
}

#[test]
fn mistakes_are_refused() {
    for arguments in [
        &["forge", "create", "a", "b", "--param", "x:float"][..],
        &["forge", "create", "a", "b", "--param", "x:string:maybe"],
        &["forge", "create", "a", "b", "--set", "novalue"],
        &["forge", "create", "a", "--source", "lib.rs"],
        &["approvals", "deny", "apr-1"],
        &["vault", "set", "key"],
        &["tokens", "create", "--role", "king"],
        &["tokens", "create", "--role", "caller", "--ttl", "soon"],
        &["tokens", "create", "--role", "caller", "--ttl", "0d"],
        &["agents", "accept", "a"],
    ] {
        assert!(parse(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn a_secret_is_never_taken_from_the_command_line() {
    assert!(
        parse(&[
            "vault",
            "set",
            "key",
            "value",
            "--audience",
            "https://a.example"
        ])
        .is_err()
    );
    assert!(parse(&["vault", "set", "key", "--audience", "https://a.example"]).is_ok());
}

#[test]
fn times_are_read() {
    assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(duration("30d"), Ok(Duration::from_secs(2_592_000)));
    assert!(duration("5").is_err());
    assert!(duration("99999999999999999999d").is_err());
    assert!(duration("-1s").is_err());
}
