//! Where the vault's master key comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nexus_audit::Audit;
use nexus_store::Store;
use nexus_vault::{MasterKey, SecretString, Vault};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::cli::prompt;
use crate::config::Config;

/// A command that gives a key gives it in this time.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// And in no more bytes than this.
const COMMAND_OUTPUT: usize = 4096;

/// Where the master key comes from, as `[vault]` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeySource {
    /// `file:PATH`: a file of its owner alone; a path that is not absolute is in the data directory.
    File(PathBuf),
    /// `env:VARIABLE`: 64 hexadecimal digits.
    Environment(String),
    /// `command:PROGRAM ARGUMENT...`: what the program prints, 64 hexadecimal digits. No shell reads the
    /// line; words are parted by spaces.
    Command(Vec<String>),
    /// `passphrase` or `passphrase:VARIABLE`: typed on the terminal at each start, or in a variable.
    Passphrase(Option<String>),
}

/// A text that names no source of a key.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no source of a master key: write `file:PATH`, `env:VARIABLE`, `command:PROGRAM ARGUMENT...`, `passphrase` or `passphrase:VARIABLE`"
)]
pub struct KeySourceError(String);

impl Default for KeySource {
    fn default() -> Self {
        Self::File("vault.key".into())
    }
}

impl FromStr for KeySource {
    type Err = KeySourceError;

    fn from_str(text: &str) -> Result<Self, KeySourceError> {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        match text.split_once(':') {
            None if text == "passphrase" => Ok(Self::Passphrase(None)),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            Some(("passphrase", name)) if !name.is_empty() => {
                Ok(Self::Passphrase(Some(name.to_owned())))
            }
            Some(("command", line)) if !words(line).is_empty() => Ok(Self::Command(words(line))),
            _ => Err(KeySourceError(text.to_owned())),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::Command(words) => write!(f, "command:{}", words.join(" ")),
            Self::Passphrase(None) => f.write_str("passphrase"),
            Self::Passphrase(Some(name)) => write!(f, "passphrase:{name}"),
        }
    }
}

impl TryFrom<String> for KeySource {
    type Error = KeySourceError;

    fn try_from(text: String) -> Result<Self, KeySourceError> {
        text.parse()
    }
}

impl From<KeySource> for String {
    fn from(source: KeySource) -> Self {
        source.to_string()
    }
}

/// What becomes of a key file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is made, with a new key.
    Made,
    /// Something is sealed with the key that is lost: another one would only hide it.
    Refused,
}

/// Opens the vault with the configured master key, or makes it.
pub(crate) async fn open_vault(
    config: &Config,
    store: &Arc<dyn Store>,
    audit: &Audit,
) -> anyhow::Result<Vault> {
    let data_dir = config.data_dir();
    let exists = Vault::exists(store.as_ref()).await?;
    let set = &config.vault;
    let missing = if exists && set.previous_key.is_none() {
        Missing::Refused
    } else {
        Missing::Made
    };
    let master = master_key(&set.key, &data_dir, missing).await?;
    let previous = match &set.previous_key {
        Some(source) if exists => Some(master_key(source, &data_dir, Missing::Refused).await?),
        _ => None,
    };
    Vault::open_or_change(Arc::clone(store), audit.clone(), master, previous)
        .await
        .context("failed to open the vault")
}

/// Fetches a key from where it is.
pub(crate) async fn master_key(
    source: &KeySource,
    data_dir: &Path,
    missing: Missing,
) -> anyhow::Result<MasterKey> {
    let failed = || match source {
        // Arguments may be what nobody else is to read.
        KeySource::Command(words) => {
            let program = words.first().map_or("", String::as_str);
            format!("failed to get the vault's master key (command:{program})")
        }
        source => format!("failed to get the vault's master key ({source})"),
    };
    match source {
        KeySource::File(path) => {
            let path = data_dir.join(path);
            let key = match missing {
                Missing::Made => MasterKey::load_or_create(path),
                Missing::Refused => MasterKey::load(path),
            };
            key.with_context(failed)
        }
        KeySource::Environment(name) => MasterKey::from_text(&variable(name)?).with_context(failed),
        KeySource::Command(words) => {
            let text = printed(words).await.with_context(failed)?;
            MasterKey::from_text(&text).with_context(failed)
        }
        KeySource::Passphrase(Some(name)) => Ok(MasterKey::from_passphrase(variable(name)?)),
        KeySource::Passphrase(None) => {
            prompt::require(
                "the vault's passphrase",
                "passphrase:VARIABLE under [vault]",
            )?;
            let typed = prompt::secret("Passphrase of the vault: ".to_owned()).await?;
            Ok(MasterKey::from_passphrase(typed.into()))
        }
    }
}

fn variable(name: &str) -> anyhow::Result<SecretString> {
    match std::env::var(name) {
        Ok(value) => Ok(value.into()),
        Err(_) => bail!("[vault] names the variable {name}, and it is not set"),
    }
}

/// What a program prints. It gets no input, and is killed when it takes too long or prints too much.
async fn printed(words: &[String]) -> anyhow::Result<SecretString> {
    let (program, arguments) = words.split_first().context("no program is named")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    let output = child.stdout.take().context("its output is a pipe")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(COMMAND_OUTPUT + 1));
    let ended = tokio::time::timeout(COMMAND_TIME, async {
        let limit = COMMAND_OUTPUT as u64 + 1;
        output.take(limit).read_to_end(&mut bytes).await?;
        if bytes.len() > COMMAND_OUTPUT {
            bail!("{program} prints more than {COMMAND_OUTPUT} bytes");
        }
        Ok(child.wait().await?)
    });
    let status = ended.await.with_context(|| {
        format!(
            "{program} did not end in {} seconds",
            COMMAND_TIME.as_secs()
        )
    })??;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{program} printed no text"))?;
    Ok(text.into())
}
