//! `VaultService`: secrets go in and are listed by name. None comes out.

use nexus_manifest::{Origin, SecretName};
use nexus_proto::v1;
use nexus_proto::v1::vault_service_server::VaultService;
use nexus_vault::{Error as VaultError, SecretInfo, Vault};
use secrecy::SecretString;
use tonic::{Request, Response, Status};

use super::caller;
use crate::convert::timestamp;
use crate::fault::Fault;
use crate::{names, paging};

/// See the module.
pub(crate) struct Secrets {
    pub(crate) vault: Vault,
}

#[tonic::async_trait]
impl VaultService for Secrets {
    async fn set_secret(
        &self,
        request: Request<v1::SetSecretRequest>,
    ) -> Result<Response<v1::Secret>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        // From here on the value is wiped when it is dropped.
        let value = SecretString::from(request.value);
        let name = secret_name("secret_id", &request.secret_id)?;
        let audience = request
            .audience
            .iter()
            .map(|text| text.parse::<Origin>())
            .collect::<Result<Vec<_>, _>>();
        let audience = audience.map_err(|error| Fault::invalid("audience", error.to_string()))?;
        if !request.etag.is_empty() {
            let current = self.info(&name).await?;
            let etag = current.map(|info| etag(&info)).unwrap_or_default();
            if etag != request.etag {
                return Err(stale(&name));
            }
        }
        let set = self
            .vault
            .set(&name, &value, audience, &caller.principal.to_string())
            .await;
        let info = set.map_err(refuse)?;
        Ok(Response::new(secret(&info)))
    }

    async fn list_secrets(
        &self,
        request: Request<v1::ListSecretsRequest>,
    ) -> Result<Response<v1::ListSecretsResponse>, Status> {
        let request = request.into_inner();
        let all = self.vault.list().await.map_err(refuse)?;
        let key = |info: &SecretInfo| info.name.to_string();
        let (page, next_page_token) =
            paging::cut(all, key, request.page_size, &request.page_token)?;
        let secrets = page.iter().map(secret).collect();
        Ok(Response::new(v1::ListSecretsResponse {
            secrets,
            next_page_token,
        }))
    }

    async fn delete_secret(
        &self,
        request: Request<v1::DeleteSecretRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let name = secret_name("name", names::id("name", &request.name, "secrets")?)?;
        if !request.etag.is_empty()
            && self
                .info(&name)
                .await?
                .is_some_and(|info| etag(&info) != request.etag)
        {
            return Err(stale(&name));
        }
        self.vault
            .delete(&name, &caller.principal.to_string())
            .await
            .map_err(refuse)?;
        Ok(Response::new(()))
    }
}

impl Secrets {
    async fn info(&self, name: &SecretName) -> Result<Option<SecretInfo>, Status> {
        let all = self.vault.list().await.map_err(refuse)?;
        Ok(all.into_iter().find(|info| info.name == *name))
    }
}

fn secret_name(field: &str, text: &str) -> Result<SecretName, Status> {
    text.parse()
        .map_err(|error: nexus_manifest::NameError| Fault::invalid(field, error.to_string()).into())
}

fn etag(info: &SecretInfo) -> String {
    info.version.to_string()
}

fn stale(name: &SecretName) -> Status {
    let message = format!("secrets/{name} has changed since you read it; list it again");
    Fault::new(tonic::Code::Aborted, "STALE_ETAG", message).into()
}

fn secret(info: &SecretInfo) -> v1::Secret {
    v1::Secret {
        name: format!("secrets/{}", info.name),
        audience: info.audience.iter().map(ToString::to_string).collect(),
        version: info.version,
        update_time: Some(timestamp(info.updated_ms)),
        etag: etag(info),
    }
}

fn refuse(error: VaultError) -> Status {
    match error {
        VaultError::NotFound(name) => {
            Fault::not_found("secret", name.as_str(), "`nexus vault list` shows them")
        }
        VaultError::Length { .. } | VaultError::TooLong => {
            Fault::invalid("value", error.to_string())
        }
        VaultError::NoAudience | VaultError::NotHttps(_) => {
            Fault::invalid("audience", error.to_string())
        }
        error => Fault::internal(&error),
    }
    .into()
}
