//! `VaultService`: secrets go in and are listed by name. None comes out.

use nexus_manifest::{Origin, SecretName};
use nexus_proto::v1;
use nexus_proto::v1::vault_service_server::VaultService;
use nexus_vault::{Error as VaultError, SecretInfo, Terms, Vault};
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
        let terms = Terms {
            audience,
            revealable: request.revealable,
        };
        let at = version(&name, &request.etag)?;
        let principal = caller.principal.to_string();
        let set = self
            .vault
            .set_at(&name, &value, terms, at, &principal)
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
        let at = version(&name, &request.etag)?;
        self.vault
            .delete_at(&name, at, &caller.principal.to_string())
            .await
            .map_err(refuse)?;
        Ok(Response::new(()))
    }

    async fn rotate_master_key(
        &self,
        request: Request<v1::RotateMasterKeyRequest>,
    ) -> Result<Response<v1::RotateMasterKeyResponse>, Status> {
        let caller = caller(&request)?;
        let principal = caller.principal.to_string();
        let key_id = self.vault.rotate_master_key(&principal).await;
        let key_id = key_id.map_err(refuse)?;
        Ok(Response::new(v1::RotateMasterKeyResponse { key_id }))
    }
}

/// The version that an etag stands for, which the vault compares in the commit that makes the change.
fn version(name: &SecretName, etag: &str) -> Result<Option<u64>, Status> {
    match etag {
        "" => Ok(None),
        // An etag that never was one is as old as any.
        etag => etag.parse().map(Some).map_err(|_| stale(name)),
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
        update_time: (!info.damaged).then(|| timestamp(info.updated_ms)),
        etag: etag(info),
        damaged: info.damaged,
        revealable: info.revealable,
    }
}

fn refuse(error: VaultError) -> Status {
    match error {
        VaultError::Stale(name) => return stale(&name),
        VaultError::KeyElsewhere => Fault::precondition("MASTER_KEY_ELSEWHERE", error.to_string()),
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
