//! Commands about agents, what they do, and what people say to it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::values::{OriginName, duration};

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
    /// Compare two generations: what they may do and what they are
    Diff {
        /// The agent
        name: String,
        /// The earlier generation; without it, the one before the later
        #[arg(default_value_t, hide_default_value = true)]
        from: u64,
        /// The later generation; without it, the live one
        #[arg(default_value_t, hide_default_value = true)]
        to: u64,
    },
    /// Make an older generation live again
    Rollback {
        /// The agent
        name: String,
        /// The generation; without it, the one before the live one
        #[arg(long, default_value_t, hide_default_value = true)]
        generation: u64,
        /// Accept the permissions with this digest, should they be wider than the live ones
        #[arg(
            long,
            value_name = "DIGEST",
            default_value = "",
            hide_default_value = true
        )]
        accept: String,
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
    /// Say what began the call; other than interactive for operators only
    #[arg(long, value_enum, default_value_t)]
    pub(crate) origin: OriginName,
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
    /// Follow one invocation to its end, or all that begin from now on
    Watch {
        /// The invocation; without it, those that begin from now on
        id: Option<String>,
        /// Only those of this agent
        #[arg(
            long,
            conflicts_with = "id",
            default_value = "",
            hide_default_value = true
        )]
        agent: String,
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
        /// Show the source of the component that is to be published, and nothing else
        #[arg(long)]
        source: bool,
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
        /// Approve what this JSON file makes of it; `-` reads standard input
        #[arg(long, value_name = "FILE", conflicts_with_all = ["remember", "identical"])]
        edit: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say no to an approval
    Deny {
        /// The approval
        id: String,
        /// Say why; the agent sees it
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// How far a decision reaches beyond the one action.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// Decide the identical requests that are waiting now alike
    #[arg(long)]
    pub(crate) identical: bool,
    /// Remember the decision as the suggestion of this number
    #[arg(long, value_name = "N")]
    pub(crate) remember: Option<u32>,
    /// Remember it for this long, such as 12h or 30d; a week without it
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "remember")]
    pub(crate) lifetime: Option<Duration>,
    /// Remember it for so many actions; 100 without it
    #[arg(long, value_name = "COUNT", requires = "remember", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    /// Remember it for later versions of the agent that ask for no more, too
    #[arg(long, requires = "remember")]
    pub(crate) any_version: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Grants {
    /// List the standing grants, oldest first
    List {
        /// Only those of this agent
        #[arg(long, default_value = "", hide_default_value = true)]
        agent: String,
    },
    /// Withdraw a standing grant
    Revoke {
        /// The grant
        id: String,
    },
}
