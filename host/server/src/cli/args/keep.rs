//! Commands about what the host keeps: secrets, memory, tokens, the audit trail.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::values::{RoleName, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// Set a secret; its value is read from stdin, or asked for without echo
    Set {
        /// The secret, as manifests name it
        name: String,
        /// An origin that it may be sent to (repeatable)
        #[arg(long, value_name = "URL", required = true)]
        audience: Vec<String>,
        /// Let an agent see the value, if its manifest asks for that and a person agrees each time
        #[arg(long)]
        revealable: bool,
    },
    /// List the secrets, without their values
    List,
    /// Remove a secret
    Delete {
        /// The secret
        name: String,
    },
    /// Replace the master key; the secrets stay as they are
    Rotate,
    /// Print the recovery copy, once; the host must not run
    Recovery {
        /// Make a new one, which makes the one before it worthless
        #[arg(long)]
        renew: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Open the vault with its recovery copy when the master key is lost; the host must not run
    ///
    /// The copy is read from stdin, or asked for without echo. The vault is sealed with the master
    /// key that the configuration names from then on; a missing key file is made.
    Restore {
        #[command(flatten)]
        place: Place,
    },
}

/// Where a host keeps its data, for commands that work on it while none runs.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory; without it, the configured one
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
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
        /// Who its holder is; without it, the role's name
        #[arg(value_name = "PRINCIPAL")]
        holder: Option<String>,
        /// What its holder may do
        #[arg(long, value_enum)]
        role: RoleName,
        /// The same as PRINCIPAL
        #[arg(long, conflicts_with = "holder")]
        principal: Option<String>,
        /// End it after this long, such as 12h or 30d; without it, it lasts until it is revoked
        #[arg(long, value_name = "TIME", value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// List the tokens, without their secrets
    List,
    /// Make a token in the place of another one, which works on for a while
    Rotate {
        /// The token
        id: String,
        /// Let the old one work on for this long, such as 1h; without it, it ends at once
        #[arg(long, value_name = "TIME", value_parser = duration)]
        overlap: Option<Duration>,
        /// End the new one after this long; without it, it lasts until it is revoked
        #[arg(long, value_name = "TIME", value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// Make a token worthless
    Revoke {
        /// The token
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Stop every agent: nothing is permitted, what runs is ended, what waits is withdrawn
    #[command(after_help = "\
Without --endpoint and --token the host of the data directory is stopped past its API: at the socket
lock.sock in it or, if nobody listens there, by the file `lock`. No token is needed, and a busy host
hears it.")]
    Engage {
        /// Why, for those who find it engaged
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        reason: String,
    },
    /// Let agents run again; needs an operator's token
    Release,
    /// Tell whether it is engaged, why and by whom
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List events, oldest first; --last N lists the newest N
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
        /// At most so many, from the oldest on
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Only the newest so many; they, too, are listed oldest first
        #[arg(long, value_name = "N", conflicts_with = "limit")]
        last: Option<usize>,
    },
    /// Follow events as they happen
    Watch {
        /// Begin after this sequence number; without it, with what happens from now on
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,
    },
    /// Print the latest signed checkpoint, to be kept elsewhere
    Checkpoint,
    /// Write the whole chain and its latest checkpoint to a file, a line of JSON each
    Export {
        /// The file
        file: PathBuf,
    },
    /// Verify the whole chain here: the host's own, or a copy without its host
    #[command(after_help = "\
Keep a checkpoint where the host cannot reach it: `nexus audit checkpoint --output json > kept.json`.
With --checkpoint kept.json the chain must still hold it, and only its key is trusted.
The chain must also hold the newest head that any command on this machine has seen of it.
Exit codes: 0 the chain holds, 1 it does not.")]
    Verify {
        /// A checkpoint that was kept, as JSON
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Verify this export instead of the host's chain
        #[arg(long, value_name = "FILE", conflicts_with = "data")]
        file: Option<PathBuf>,
        /// Verify the chain in this copy of a data directory instead
        #[arg(long, value_name = "COPY")]
        data: Option<PathBuf>,
        /// Trust this verifying key, 64 hexadecimal digits, and no other
        #[arg(long, value_name = "KEY")]
        key: Option<nexus_audit::VerifyingKey>,
    },
}
