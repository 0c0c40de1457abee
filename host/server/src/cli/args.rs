//! What the command line takes.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nexus_proto::v1::{ForgeMode, InputParameter, Role, input_parameter};

use super::output::Format;

/// Turn words into agents that act only behind a gate
#[derive(Debug, Parser)]
#[command(
    name = "nexus",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Global {
    /// Write data as text or as JSON
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub(crate) output: Format,
    /// Call the host at this URL; without it, the one that runs from the data directory
    #[arg(long, global = true, value_name = "URL", env = "NEXUS_ENDPOINT")]
    pub(crate) endpoint: Option<String>,
    /// Call with this token; without it, a host on this machine is called with the operator's
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "NEXUS_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// Trust the certificate authorities of this PEM file when the URL begins with https
    #[arg(long, global = true, value_name = "FILE", env = "NEXUS_CA")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the host
    Serve(Serve),
    /// Tell what works on this machine and how to mend the rest
    Doctor(Doctor),
    /// Show the whole story on this machine, in a temporary directory
    Demo(Demo),
    /// Turn words into an agent
    #[command(subcommand)]
    Forge(Forge),
    /// Look after agents and their generations
    #[command(subcommand)]
    Agents(Agents),
    /// Run an agent and print its output
    #[command(after_help = INVOKE_EXIT_CODES)]
    Invoke(Invoke),
    /// Look after what runs and what ran
    #[command(subcommand)]
    Invocations(Invocations),
    /// Decide what waits for a person
    #[command(subcommand)]
    Approvals(Approvals),
    /// Keep secrets that agents use and never see
    #[command(subcommand)]
    Vault(Vault),
    /// Read and change what agents remember
    #[command(subcommand)]
    Memory(Memory),
    /// Say who may call the host
    #[command(subcommand)]
    Tokens(Tokens),
    /// Read and verify what happened
    #[command(subcommand)]
    Audit(Audit),
    /// Put a manifest into a component
    Pack(Pack),
}

const INVOKE_EXIT_CODES: &str = "\
Exit codes:
  0   the agent answered; its output is on stdout
  1   the call did not work: no host, no such agent, input that does not fit
  2   the command line is wrong
  10  the agent returned a failure
  11  refused: by a person, the manifest or the policy
  12  a limit is used up
  13  the component trapped
  14  the host failed
  15  cancelled
  16  interrupted by a stop of the host
  17  waiting for a person; `nexus approvals list` shows for what";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Read this configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Keep state in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Listen on this address; port 0 takes any free one
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Print the configuration in force and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl From<Serve> for crate::serve::ServeOptions {
    fn from(serve: Serve) -> Self {
        Self {
            config: serve.config,
            data: serve.data,
            listen: serve.listen,
            print_config: serve.print_config,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Look at what this configuration file names
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Look at this data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Answer every question of the demo with yes
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Forge {
    /// Forge an agent
    Create(Box<ForgeCreate>),
    /// Tell whether forged agents go live by themselves
    Status,
    /// Let forged agents go live by themselves
    Enable,
    /// Build forged agents, but publish none
    Disable,
    /// List what this host has forged, newest first
    List,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the agent is live, 10 the forge failed or needs parameters, 11 hot reload is off,
17 a person has to accept the permissions, 1 the call did not work.")]
pub(crate) struct ForgeCreate {
    /// Name the agent: lower-case letters, digits and dashes
    pub(crate) name: String,
    /// Say what the agent is to do
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) words: String,
    /// Choose how the source is made; `source` follows from --source
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// Use this template; without it, the one that fits the words best
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// Describe a member of the agent's input (repeatable)
    #[arg(long = "param", value_name = "NAME:TYPE[:required]")]
    pub(crate) parameters: Vec<Parameter>,
    /// Give a parameter of the template its value (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) settings: Vec<(String, String)>,
    /// Forge from this Rust source
    #[arg(long, value_name = "FILE", requires = "manifest")]
    pub(crate) source: Option<PathBuf>,
    /// Take the permissions and limits from this agent.toml
    #[arg(long, value_name = "FILE", requires = "source")]
    pub(crate) manifest: Option<PathBuf>,
    /// Do everything but publish
    #[arg(long)]
    pub(crate) validate_only: bool,
    /// Make a repeat of this command harmless by giving both the same id
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) request_id: String,
}

/// How the forge gets source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// From a template that the host brings along
    Template,
    /// From the file that --source names
    Source,
    /// From the language model that the host is configured with
    Model,
}

impl From<Mode> for ForgeMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Template => Self::Template,
            Mode::Source => Self::Source,
            Mode::Model => Self::Model,
        }
    }
}

/// A member of an agent's input, as `name:type[:required]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter(pub(crate) InputParameter);

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use input_parameter::Type;
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return Err("the name is missing; write name:type, such as symbol:string".to_owned());
        }
        let kind = match parts.next() {
            None | Some("string") => Type::String,
            Some("integer") => Type::Integer,
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            Some("array") => Type::Array,
            Some("object") => Type::Object,
            Some(other) => {
                return Err(format!(
                    "there is no type {other:?}; use string, integer, number, boolean, array or object"
                ));
            }
        };
        let required = match parts.next() {
            None => false,
            Some("required") => true,
            Some(other) => return Err(format!("{other:?} follows the type; only :required may")),
        };
        if parts.next().is_some() {
            return Err("nothing may follow :required".to_owned());
        }
        Ok(Self(InputParameter {
            name: name.to_owned(),
            r#type: kind.into(),
            required,
        }))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// List the agents
    List {
        /// Only those with this tag
        #[arg(long, default_value = "", hide_default_value = true)]
        tag: String,
    },
    /// Show one agent with its permissions and generations
    Show {
        /// The agent
        name: String,
        /// Print the source that it was forged from instead
        #[arg(long)]
        source: bool,
    },
    /// Upload a component
    Deploy {
        /// The component, as `cargo build --release --target wasm32-wasip2` makes it
        file: PathBuf,
        /// Accept these permissions beforehand, by the digest that was shown
        #[arg(
            long,
            value_name = "DIGEST",
            default_value = "",
            hide_default_value = true
        )]
        accept: String,
        /// Make a repeat of this command harmless by giving both the same id
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        request_id: String,
    },
    /// Accept the permissions of an uploaded component and make it live
    Accept {
        /// The agent
        name: String,
        /// The permissions, by the digest that was shown
        #[arg(long, value_name = "DIGEST")]
        permissions: String,
    },
    /// Make an older generation live again
    Rollback {
        /// The agent
        name: String,
        /// The generation; without it, the one before the live one
        #[arg(long, default_value_t, hide_default_value = true)]
        generation: u64,
    },
    /// Remove an agent; what it remembers stays
    Remove {
        /// The agent
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// The agent
    pub(crate) name: String,
    /// The input as JSON, or `-` to read it from stdin
    #[arg(default_value = "{}", value_name = "JSON")]
    pub(crate) input: String,
    /// Stay until the agent has ended, even if a person is needed on the way
    #[arg(long)]
    pub(crate) wait: bool,
    /// Give the agent at most this long, such as 30s; waiting for a person does not count
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Make a repeat of this command harmless by giving both the same id
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) request_id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Invocations {
    /// List invocations, newest first
    List {
        /// Only those of this agent
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one invocation
    Show {
        /// The invocation
        id: String,
    },
    /// Follow one invocation to its end
    Watch {
        /// The invocation
        id: String,
    },
    /// Stop an invocation
    Cancel {
        /// The invocation
        id: String,
        /// Say why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List approvals, newest first
    List {
        /// Only those of this agent
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Those that are decided or withdrawn too
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Follow approvals as they come and change
    Watch {
        /// Only those of this agent
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
    },
    /// Show one approval in full
    Show {
        /// The approval
        id: String,
    },
    /// Show one approval in full and say yes to it
    Approve {
        /// The approval
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Say why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Say no to an approval
    Deny {
        /// The approval
        id: String,
        /// Say why; the agent sees it
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// Set a secret; its value is read from stdin, or asked for without echo
    Set {
        /// The secret, as manifests name it
        name: String,
        /// An origin that it may be sent to (repeatable)
        #[arg(long, value_name = "URL", required = true)]
        audience: Vec<String>,
    },
    /// List the secrets, without their values
    List,
    /// Remove a secret
    Delete {
        /// The secret
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Memory {
    /// Print a value as it is
    Get {
        /// The space
        space: String,
        /// The key
        key: String,
    },
    /// Write a value
    Put {
        /// The space
        space: String,
        /// The key
        key: String,
        /// The value, or `-` to read it from stdin
        #[arg(default_value = "-")]
        value: String,
        /// Fail if the key is there already
        #[arg(long)]
        create_only: bool,
    },
    /// Remove a key
    Delete {
        /// The space
        space: String,
        /// The key
        key: String,
    },
    /// List the keys of a space
    List {
        /// The space
        space: String,
        /// Only keys that begin with it
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Make a token and print it, once
    Create {
        /// What its holder may do
        #[arg(long, value_enum)]
        role: RoleName,
        /// Who its holder is; without it, the role's name
        #[arg(long)]
        principal: Option<String>,
        /// End it after this long, such as 12h or 30d; without it, it lasts until it is revoked
        #[arg(long, value_name = "TIME", value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// List the tokens, without their secrets
    List,
    /// Make a token worthless
    Revoke {
        /// The token
        id: String,
    },
}

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Everything
    Operator,
    /// See and decide approvals, accept agents
    Approver,
    /// Forge, deploy and invoke agents
    Forger,
    /// Invoke agents
    Caller,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Operator => Self::Operator,
            RoleName::Approver => Self::Approver,
            RoleName::Forger => Self::Forger,
            RoleName::Caller => Self::Caller,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List events, oldest first
    List {
        /// Only events after this sequence number
        #[arg(
            long,
            value_name = "SEQUENCE",
            default_value_t,
            hide_default_value = true
        )]
        after: u64,
        /// Only those of this agent
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
        /// Only those of this invocation
        #[arg(long, default_value = "", hide_default_value = true)]
        invocation: String,
        /// At most so many
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Follow events as they happen
    Watch {
        /// Begin after this sequence number; without it, with what happens from now on
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,
    },
    /// Print the latest signed checkpoint, to be kept elsewhere
    Checkpoint,
    /// Fetch the whole chain and verify it here
    #[command(after_help = "\
Keep a checkpoint where the host cannot reach it: `nexus audit checkpoint --output json > kept.json`.
With --checkpoint kept.json the chain must still hold it, and only its key is trusted.
Exit codes: 0 the chain holds, 1 it does not.")]
    Verify {
        /// A checkpoint that was kept, as JSON
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// The component
    pub(crate) file: PathBuf,
    /// The manifest to put into it
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: PathBuf,
    /// Write to this file; without it, the component is replaced
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value, such as origin=https://api.example.com".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a whole number and s, m, h or d, such as 12h".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .filter(|seconds| (1..=315_360_000).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "write a time between 1s and 3650d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

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
        assert_eq!(create.parameters.len(), 2);
        assert!(create.parameters[0].0.required);
        assert!(!create.parameters[1].0.required);
        assert_eq!(
            create.settings[0],
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
}
