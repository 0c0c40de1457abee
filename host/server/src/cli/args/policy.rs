//! Commands about what agents may do.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::{ClassName, KindName, OriginName};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Print the policy in force
    Show {
        /// Print what a policy sees in its place
        #[arg(long)]
        schema: bool,
    },
    /// Put another policy in force, at once and across restarts
    Set {
        /// The policy, in Cedar
        #[arg(required_unless_present = "shipped", conflicts_with = "shipped")]
        file: Option<PathBuf>,
        /// Go back to the policy that the host brings along
        #[arg(long)]
        shipped: bool,
        /// Only if the policy in force still has this etag
        #[arg(
            long,
            value_name = "ETAG",
            default_value = "",
            hide_default_value = true
        )]
        etag: String,
    },
    /// Say whether a file is a policy, without a host
    Check {
        /// The policy, in Cedar
        file: PathBuf,
    },
    /// Say what would become of an action, and which rules decide; nothing happens
    Explain(Explain),
    /// Run the cases of a file against a policy, without a host
    #[command(after_help = "\
The file is TOML; docs/policy.md describes it. Exit codes: 0 every case came true, 1 one did not.")]
    Test {
        /// The cases
        file: PathBuf,
        /// The policy, in place of the one that the cases name
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The agent that would act
    pub(crate) agent: String,
    /// The verb, such as POST, put or call
    pub(crate) verb: String,
    /// What it would be done to, such as https://api.example.com/v1/orders
    pub(crate) target: String,
    /// The capability
    #[arg(long, default_value = "http")]
    pub(crate) capability: String,
    /// What kind of action it is
    #[arg(long, value_enum, default_value_t)]
    pub(crate) kind: KindName,
    /// At least how far it reaches; the host raises it to what it knows
    #[arg(long, value_enum, default_value_t)]
    pub(crate) class: ClassName,
    /// What the agent's data carries: untrusted, private or secret:NAME (repeatable)
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
    /// What began the chain of calls
    #[arg(long, value_enum, default_value_t)]
    pub(crate) origin: OriginName,
    /// An agent of the chain, outermost first (repeatable)
    #[arg(long, value_name = "AGENT")]
    pub(crate) caller: Vec<String>,
    /// The strictest class among the calls of the chain
    #[arg(long, value_enum, default_value_t)]
    pub(crate) chain_class: ClassName,
    /// On whose behalf; without it, on behalf of whoever asks
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) principal: String,
    /// A header, `name: value` (repeatable)
    #[arg(long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// The body
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) body: String,
}
