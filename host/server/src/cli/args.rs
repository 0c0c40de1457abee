//! What the command line takes.

mod forge;
mod keep;
mod policy;
mod run;
#[cfg(test)]
mod tests;
mod values;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

pub(crate) use self::{
    forge::{Forge, ForgeBuild, ForgeCreate, ForgeWhat},
    keep::{Audit, Lock, Memory, Tokens, Vault},
    policy::{Explain, Policy},
    run::{Agents, Approvals, Grants, Invocations, Invoke, Reach},
    values::Mode,
};
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
    /// Show this certificate, a PEM file, to a host that asks for one
    #[arg(
        long = "client-cert",
        global = true,
        value_name = "FILE",
        env = "NEXUS_CERT",
        requires = "client_key"
    )]
    pub(crate) client_cert: Option<PathBuf>,
    /// The key of that certificate, a PEM file
    #[arg(
        long = "client-key",
        global = true,
        value_name = "FILE",
        env = "NEXUS_KEY",
        requires = "client_cert"
    )]
    pub(crate) client_key: Option<PathBuf>,
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
    /// Look after decisions that hold for later actions, too
    #[command(subcommand)]
    Grants(Grants),
    /// Say what agents may do, and try it out
    #[command(subcommand)]
    Policy(Policy),
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
    /// Stop every agent at once, and let them go on
    #[command(subcommand)]
    Lock(Lock),
    /// Put a manifest into a component
    Pack(Pack),
    /// Build and deploy a project on every save, and tell what its agent says
    Dev(Dev),
}

const INVOKE_EXIT_CODES: &str = "\
Exit codes:
  0   the agent answered; its output is on stdout
  1   the call did not work: no host, no such agent, input that does not fit
  2   the command line is wrong
  10  the agent returned a failure
  11  a person or a rule said no, and the agent passed that on
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

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The directory of an agent's cargo project
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Call the agent with this JSON after every save
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// Accept the permissions of this digest beforehand
    #[arg(
        long,
        value_name = "DIGEST",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) accept: String,
}

#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// The component
    pub(crate) file: PathBuf,
    /// The manifest to put into it
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    pub(crate) manifest: Option<PathBuf>,
    /// Only tell whether a host would take it: with that manifest or, without one, as it is
    #[arg(long, conflicts_with = "out")]
    pub(crate) check: bool,
    /// Write to this file; without it, the component is replaced
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
