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
    /// Stay until a person has decided, if one is asked
    #[arg(long)]
    pub(crate) wait: bool,
    /// Make a repeat of this command harmless by giving both the same id
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) request_id: String,
}
