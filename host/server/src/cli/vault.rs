//! `nexus vault`.

use nexus_proto::v1::{DeleteSecretRequest, ListSecretsRequest, SetSecretRequest};

use super::{
    args::Vault,
    connection::Client,
    exit::Exit,
    failure::Misuse,
    output::Output,
    prompt,
    text::{line, name},
    view::secret as view,
};

pub(crate) async fn run(command: Vault, client: &Client, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Vault::Set { name, audience } => {
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
