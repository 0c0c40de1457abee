//! `nexus vault`.

use nexus_proto::v1::{
    DeleteSecretRequest, ListSecretsRequest, RotateMasterKeyRequest, SetSecretRequest,
};
use nexus_vault::{ExposeSecret as _, RecoveryCopy, SecretString};
use serde_json::json;

use crate::config::Config;

use super::{
    args::{Global, Vault},
    connection::Client,
    exit::Exit,
    failure::Misuse,
    output::Output,
    prompt,
    text::{line, name},
    view::secret as view,
};

/// On whose behalf the audit trail says that a command on the data directory acted.
const AT_THE_DISK: &str = "data-directory";

pub(crate) async fn run(command: Vault, global: &Global, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Vault::Recovery { renew, place } => {
            let config = configure(place.config.as_deref(), place.data)?;
            let vault = crate::host::open_vault(&config).await?;
            let copy = vault.recovery_copy(renew, AT_THE_DISK).await;
            let copy = copy.map_err(|error| match error {
                nexus_vault::Error::RecoveryTold => Misuse(format!("{error}: use --renew")).into(),
                error => anyhow::Error::from(error),
            })?;
            output.note(&format!("of the vault in {}:", config.data_dir().display()));
            let text = copy.text();
            let shown = json!({ "recoveryCopy": text.expose_secret() });
            say(output, &shown, text.expose_secret())?;
            Ok(Exit::Success)
        }
        Vault::Restore { place } => {
            let config = configure(place.config.as_deref(), place.data)?;
            let typed = prompt::secret("Recovery copy: ".to_owned()).await?;
            let copy = RecoveryCopy::parse(&SecretString::from(typed))?;
            crate::host::restore_vault(&config, &copy, AT_THE_DISK).await?;
            let restored = "the vault is sealed with the configured master key";
            say(output, &json!({ "restored": true }), restored)?;
            Ok(Exit::Success)
        }
        command => served(command, &Client::connect(global)?, output).await,
    }
}

fn say(output: &Output, json: &serde_json::Value, text: &str) -> anyhow::Result<()> {
    if output.is_json() {
        output.json(json)
    } else {
        output.text(text)
    }
}

fn configure(
    file: Option<&std::path::Path>,
    data: Option<std::path::PathBuf>,
) -> anyhow::Result<Config> {
    let mut config = match file {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if data.is_some() {
        config.data.dir = data;
    }
    Ok(config)
}

/// What the host does.
async fn served(command: Vault, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Vault::Recovery { .. } | Vault::Restore { .. } => {}
        Vault::Rotate => {
            let request = RotateMasterKeyRequest {};
            let rotated = client.vault().rotate_master_key(request).await?;
            let key = rotated.into_inner().key_id;
            let shown = json!({ "keyId": key });
            say(output, &shown, &format!("the master key is {key} now"))?;
        }
        Vault::Set {
            name,
            audience,
            revealable,
        } => {
            let value = prompt::secret(format!("Value of {}: ", line(&name))).await?;
            if value.is_empty() {
                return Err(
                    Misuse("the value is empty; type it, or pipe it to stdin".to_owned()).into(),
                );
            }
            let request = SetSecretRequest {
                secret_id: name,
                value,
                audience,
                etag: String::new(),
                revealable,
            };
            let secret = client.vault().set_secret(request).await?.into_inner();
            output.message(&secret, |secret| view::list(std::slice::from_ref(secret)))?;
        }
        Vault::List => {
            let mut secrets = Vec::new();
            let mut request = ListSecretsRequest::default();
            loop {
                let page = client
                    .vault()
                    .list_secrets(request.clone())
                    .await?
                    .into_inner();
                secrets.extend(page.secrets);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            output.list("secrets", &secrets, view::list)?;
        }
        Vault::Delete { name: secret } => {
            let request = DeleteSecretRequest {
                name: name("secrets", &secret),
                etag: String::new(),
            };
            let name = request.name.clone();
            client.vault().delete_secret(request).await?;
            output.removed(&name)?;
        }
    }
    Ok(Exit::Success)
}
