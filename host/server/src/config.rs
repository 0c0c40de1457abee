//! `nexus.toml`: the one configuration file. Unknown keys are refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_manifest::{Origin, SpaceName};
use serde::{Deserialize, Serialize};

use crate::keys::KeySource;
use crate::model::ModelKey;

/// Everything an operator can set. Every key is optional.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The gRPC listener.
    pub server: Server,
    /// Where the host keeps what it must not lose.
    pub data: Data,
    /// What may leave the host.
    pub egress: Egress,
    /// What seals secrets.
    pub vault: Vault,
    /// How people are asked.
    pub approvals: Approvals,
    /// What agents share.
    pub memory: Memory,
    /// The audit trail.
    pub audit: Audit,
    /// How agents are run.
    pub runtime: Runtime,
    /// How agents are built.
    pub forge: Forge,
    /// The language model that writes specs and code, if any.
    pub model: Option<Model>,
}

/// The gRPC listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port. Port 0 takes a free one; `DIR/endpoint` says which.
    pub listen: SocketAddr,
    /// PEM file with the certificate to serve TLS with, and its chain; read again when it changes.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's key.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities that clients' certificates must come from. A client then needs
    /// both, a certificate and a token.
    pub client_authorities: Option<PathBuf>,
    /// Names by which a listener without TLS may be called, besides `localhost` and addresses.
    pub names: Vec<String>,
    /// Connections at once; what comes beyond is closed.
    pub connections: usize,
    /// Calls at once; what comes beyond is answered UNAVAILABLE.
    pub concurrent_calls: usize,
    /// Streams that watch at once; likewise.
    pub concurrent_streams: usize,
    /// Calls of one principal at once; what comes beyond is answered RESOURCE_EXHAUSTED.
    pub calls_per_principal: usize,
    /// Streams of one principal at once; likewise.
    pub streams_per_principal: usize,
    /// Seconds in which a request's message has to arrive.
    pub message_seconds: u64,
    /// Calls of one principal in a second; 0 sets no limit.
    pub calls_per_second: u32,
    /// Serve without TLS on an address that is not loopback. Tokens then travel in clear.
    pub allow_plaintext: bool,
    /// Seconds that calls under way get to end after a stop was asked for.
    pub drain_seconds: u64,
}

/// Where the host keeps what it must not lose.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// The data directory; `$NEXUS_DATA`, else the user's data directory.
    pub dir: Option<PathBuf>,
}

/// What seals secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vault {
    /// Where the master key comes from.
    pub key: KeySource,
    /// The key that the vault was sealed with before, if `key` is a new one.
    pub previous_key: Option<KeySource>,
}

/// What may leave the host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Origins on private or loopback addresses that agents may reach if their manifest names them
    /// too.
    pub private_origins: Vec<Origin>,
    /// PEM file with further certificate authorities to trust.
    pub extra_roots: Option<PathBuf>,
}

/// How people are asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approvals {
    /// How long a request waits for a decision before it expires.
    pub deadline_seconds: NonZeroU64,
    /// Whether the principal who started an invocation may approve what it asks.
    pub self_approval: SelfApproval,
    /// What becomes of an action that needs a person when the clock or arriving data began the
    /// invocation: it is refused, or it waits in the queue like any other.
    pub unattended: Unattended,
    /// Questions of one agent that may be open at a time; it may ask twice as many within an hour.
    pub questions_per_agent: usize,
    /// Days for which decided and ended approvals can be asked for.
    pub keep_days: u32,
    /// A Cedar policy file in place of the shipped one.
    pub policy: Option<PathBuf>,
}

/// Whether the principal who started an invocation may approve what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
pub enum SelfApproval {
    /// As long as no other principal may decide.
    Auto,
    /// Always.
    Allowed,
    /// Never.
    Refused,
}

impl TryFrom<toml::Value> for SelfApproval {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        match value {
            toml::Value::Boolean(true) => Ok(Self::Allowed),
            toml::Value::Boolean(false) => Ok(Self::Refused),
            toml::Value::String(word) if word == "auto" => Ok(Self::Auto),
            _ => Err("self_approval is true, false or \"auto\""),
        }
    }
}

impl From<SelfApproval> for toml::Value {
    fn from(value: SelfApproval) -> Self {
        match value {
            SelfApproval::Auto => Self::String("auto".to_owned()),
            SelfApproval::Allowed => Self::Boolean(true),
            SelfApproval::Refused => Self::Boolean(false),
        }
    }
}

impl From<SelfApproval> for nexus_gate::SelfApproval {
    fn from(value: SelfApproval) -> Self {
        match value {
            SelfApproval::Auto => Self::Auto,
            SelfApproval::Allowed => Self::Allowed,
            SelfApproval::Refused => Self::Refused,
        }
    }
}

/// What agents share.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Spaces whose contents are private, whatever manifests say of them.
    pub private_spaces: Vec<SpaceName>,
}

/// The audit trail.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// The file with the key that signs checkpoints; `audit.key` in the data directory if absent.
    pub signing_key: Option<PathBuf>,
    /// Days for which records are kept; for ever if absent.
    pub retain_days: Option<u32>,
    /// How many records are kept, the newest; all if absent.
    pub retain_records: Option<u64>,
}

impl Audit {
    /// What is kept.
    pub fn retain(&self) -> nexus_audit::Retain {
        let day = Duration::from_secs(24 * 60 * 60);
        nexus_audit::Retain {
            records: self.retain_records,
            age: self.retain_days.map(|days| day * days),
        }
    }
}

/// What becomes of a question that nobody is there to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unattended {
    /// The agent is told so at once.
    Refuse,
    /// It waits for whoever looks at the queue, until its deadline.
    Queue,
}

/// How agents are run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Threads that run guests and serve calls; 0 takes one per processor, two at least.
    pub workers: usize,
    /// Instances that may exist at once, running and waiting.
    pub instances: u32,
    /// Bytes of linear memory of one invocation.
    pub memory_bytes: u64,
    /// Bytes that the host holds for one invocation beside that: requests, calls and answers.
    pub held_bytes: usize,
    /// Processor milliseconds of one invocation.
    pub cpu_ms: u64,
    /// Wall milliseconds of one invocation; waiting for a person does not count.
    pub wall_ms: u64,
    /// Invocations of one agent at once.
    pub concurrency_per_agent: usize,
    /// Days for which ended invocations that were stored can be asked for.
    pub keep_invocations_days: u32,
}

/// How agents are built.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forge {
    /// The `cargo` to use; the one on the path if absent.
    pub cargo: Option<PathBuf>,
    /// The `rustc` to use; the one on the path if absent.
    pub rustc: Option<PathBuf>,
    /// Where the libraries that agents are linked with are kept, if several hosts share them. Whoever
    /// can write there decides what agents are made of.
    pub libraries: Option<PathBuf>,
    /// Build even where no sandbox is to be had. Source from outside can then read this machine's
    /// files while it is compiled.
    pub allow_unsandboxed: bool,
    /// Compile the templates to machine code at the start. Otherwise the first agent from each pays.
    pub precompile_templates: bool,
    /// Forges that one principal may begin in an hour; 0 sets no limit.
    pub per_hour: u32,
    /// Tokens of models that one principal's forges may use in an hour; 0 sets no limit.
    pub tokens_per_hour: u64,
    /// Processor seconds of one process that compiles: source to a component, or a component to
    /// machine code. By the clock it gets half as much again.
    pub build_cpu_seconds: u64,
    /// Bytes of memory of one such process.
    pub build_memory_bytes: u64,
    /// Another host that compiles for this one.
    pub remote: Option<BuildHost>,
}

/// Another NEXUS host that compiles for this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildHost {
    /// Its URL, such as `https://builder.example.com:7420`.
    pub url: Origin,
    /// The environment variable that holds a token of it, of the role forger.
    #[serde(default)]
    pub token_env: Option<String>,
    /// The file that holds the token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// PEM file with the authority of its certificate, if that is not one of the web's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Speak to it without TLS though it is not on this machine. Source and token travel in clear.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Have every source compiled there of which no request says otherwise.
    #[serde(default)]
    pub always: bool,
}

/// An OpenAI-compatible chat endpoint, and what a forge may use of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Base URL up to `/v1`, such as `http://localhost:11434/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Where the API key comes from, if one is needed.
    pub key: Option<ModelKey>,
    /// The environment variable that holds the API key; as `key = "env:VARIABLE"`.
    pub api_key_env: Option<String>,
    /// How freely the model writes.
    pub temperature: f64,
    /// The most tokens of one answer.
    pub answer_tokens: u64,
    /// What a million tokens cost that the model reads.
    pub input_price: f64,
    /// What a million tokens cost that it writes.
    pub output_price: f64,
    /// Attempts at the code of one agent, the first one included.
    pub turns: u32,
    /// Tokens that one forge may use, read and written.
    pub max_tokens: u64,
    /// What one forge may cost, in the money of the prices.
    pub max_cost: Option<f64>,
    /// Seconds that one forge may spend with asking the model.
    pub max_seconds: u64,
    /// Seconds until the endpoint is reached.
    pub connect_seconds: u64,
    /// Seconds until an answer begins.
    pub first_byte_seconds: u64,
    /// Seconds of silence within an answer.
    pub idle_seconds: u64,
    /// Seconds that one answer may take.
    pub answer_seconds: u64,
    /// What is different for the model that writes specifications.
    pub spec: Option<ModelProfile>,
    /// What is different for the model that writes code.
    pub code: Option<ModelProfile>,
}

/// What differs from `[model]` for one kind of answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelProfile {
    /// Another endpoint. It gets no key but one that is named beside it.
    pub base_url: Option<String>,
    /// Another model.
    pub model: Option<String>,
    /// Another key.
    pub key: Option<ModelKey>,
    /// How freely it writes.
    pub temperature: Option<f64>,
    /// The most tokens of one answer.
    pub answer_tokens: Option<u64>,
    /// What a million tokens cost that it reads.
    pub input_price: Option<f64>,
    /// What a million tokens cost that it writes.
    pub output_price: Option<f64>,
}

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or can't be read.
    #[error("failed to read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong type.
    #[error("the configuration file {} does not read; `nexus serve --print-config` shows every key", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// The configuration as TOML, defaults included.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    /// The data directory in force.
    pub fn data_dir(&self) -> PathBuf {
        self.data.dir.clone().unwrap_or_else(default_data_dir)
    }
}

/// `$NEXUS_DATA`, else `$XDG_DATA_HOME/nexus`, else `~/.local/share/nexus`.
pub fn default_data_dir() -> PathBuf {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    variable("NEXUS_DATA")
        .or_else(|| variable("XDG_DATA_HOME").map(|dir| dir.join("nexus")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/share/nexus")))
        .unwrap_or_else(|| PathBuf::from("nexus-data"))
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7420)),
            certificate: None,
            key: None,
            client_authorities: None,
            names: Vec::new(),
            connections: 1024,
            concurrent_calls: 4096,
            concurrent_streams: 2048,
            calls_per_principal: 2048,
            streams_per_principal: 512,
            message_seconds: 30,
            calls_per_second: 20_000,
            allow_plaintext: false,
            drain_seconds: 10,
        }
    }
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            deadline_seconds: const { NonZeroU64::new(24 * 60 * 60).expect("a day is not nothing") },
            self_approval: SelfApproval::Auto,
            unattended: Unattended::Refuse,
            questions_per_agent: 1_000,
            keep_days: 30,
            policy: None,
        }
    }
}

impl Approvals {
    /// How long a request waits.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.get())
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            workers: 0,
            instances: 1000,
            memory_bytes: 128 << 20,
            held_bytes: 64 << 20,
            cpu_ms: 10_000,
            wall_ms: 300_000,
            concurrency_per_agent: 512,
            keep_invocations_days: 30,
        }
    }
}

impl Default for Forge {
    fn default() -> Self {
        let budget = nexus_forge::Budget::default();
        let limits = nexus_sandbox::Limits::default();
        Self {
            cargo: None,
            rustc: None,
            libraries: None,
            allow_unsandboxed: false,
            precompile_templates: true,
            remote: None,
            per_hour: budget.forges,
            tokens_per_hour: budget.tokens,
            build_cpu_seconds: limits.cpu_s,
            build_memory_bytes: limits.address_space,
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        let bounds = nexus_forge::model::Bounds::default();
        Self {
            base_url: String::new(),
            model: String::new(),
            key: None,
            api_key_env: None,
            temperature: 0.0,
            answer_tokens: 16_384,
            input_price: 0.0,
            output_price: 0.0,
            turns: bounds.turns,
            max_tokens: bounds.tokens,
            max_cost: None,
            max_seconds: bounds.time.as_secs(),
            connect_seconds: 10,
            first_byte_seconds: 120,
            idle_seconds: 60,
            answer_seconds: 300,
            spec: None,
            code: None,
        }
    }
}

impl Runtime {
    /// Threads in force.
    pub fn worker_threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // One thread would let a looping guest hold every call back for a tick at a time.
        if self.workers == 0 {
            cores.max(2)
        } else {
            self.workers
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_configuration_reads_back() {
        let text = Config::default().to_toml().expect("TOML");
        let read: Config = toml::from_str(&text).expect("reads back");
        assert_eq!(read.to_toml().expect("TOML"), text);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error =
            toml::from_str::<Config>("[server]\nlisen = \"127.0.0.1:1\"").expect_err("typo");
        assert!(error.to_string().contains("lisen"), "{error}");
    }
}
