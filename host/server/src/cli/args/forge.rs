//! `nexus forge`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::{Mode, Parameter, key_value};

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
    List {
        /// List every forge, those that run and those that failed included
        #[arg(long)]
        all: bool,
    },
    /// Make sure that an agent is there: forge it unless it is
    #[command(after_help = FORGE_EXIT_CODES)]
    Ensure(Box<ForgeWhat>),
    /// Show one forge and how it stands
    Show {
        /// The forge's id
        id: String,
    },
    /// Follow a forge to its end
    #[command(after_help = FORGE_EXIT_CODES)]
    Watch {
        /// The forge's id
        id: String,
        /// Begin after the event with this number
        #[arg(
            long,
            value_name = "SEQUENCE",
            default_value_t = 0,
            hide_default_value = true
        )]
        after: u64,
    },
    /// Cancel a forge, whatever it is at
    Cancel {
        /// The forge's id
        id: String,
    },
    /// Compile a source on the host and keep the component here: nothing is published
    #[command(after_help = BUILD_EXIT_CODES)]
    Build(ForgeBuild),
    /// Publish what was forged last under a name, though hot reload is off
    Trigger {
        /// Name the agent
        name: String,
    },
}

const BUILD_EXIT_CODES: &str = "Exit codes: 0 the component is there, 10 the source does not compile, 1 the call did not work.";

/// What to compile.
#[derive(Debug, Args)]
pub(crate) struct ForgeBuild {
    /// Compile this Rust source
    #[arg(long, value_name = "FILE")]
    pub(crate) source: PathBuf,
    /// Put this agent.toml into the component
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: PathBuf,
    /// Write the component to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

const FORGE_EXIT_CODES: &str = "\
Exit codes: 0 the agent is live, 10 the forge failed or needs parameters, 11 hot reload is off,
15 cancelled, 16 interrupted by a stop of the host, 17 a person has to accept the permissions,
1 the call did not work.";

#[derive(Debug, Args)]
#[command(after_help = FORGE_EXIT_CODES)]
pub(crate) struct ForgeCreate {
    #[command(flatten)]
    pub(crate) what: ForgeWhat,
    /// Do everything but publish
    #[arg(long)]
    pub(crate) validate_only: bool,
    /// Stay until a person has decided, if one is asked
    #[arg(long)]
    pub(crate) wait: bool,
    /// Make a repeat of this command harmless by giving both the same id
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) request_id: String,
}

/// What to forge.
#[derive(Debug, Args)]
pub(crate) struct ForgeWhat {
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
    /// Compile a template on the host instead of taking the component that its binary holds
    #[arg(long, conflicts_with = "source")]
    pub(crate) compile: bool,
    /// Have the source compiled by the host that the configuration names under [forge.remote]
    #[arg(long, conflicts_with = "compile")]
    pub(crate) remote: bool,
    /// Forge from this Rust source
    #[arg(long, value_name = "FILE", requires = "manifest")]
    pub(crate) source: Option<PathBuf>,
    /// Publish only if the agent answers the example in this JSON file, or each in its list, as it
    /// says (repeatable)
    #[arg(long = "example", value_name = "FILE")]
    pub(crate) examples: Vec<PathBuf>,
    /// Run it with this JSON input before it is published, with real reads and planned writes, and
    /// have a person decide on what it did (repeatable)
    #[arg(long = "shadow", value_name = "INPUT")]
    pub(crate) shadow_inputs: Vec<String>,
    /// Take the permissions and limits from this agent.toml
    #[arg(long, value_name = "FILE", requires = "source")]
    pub(crate) manifest: Option<PathBuf>,
}
