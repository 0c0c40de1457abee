//! `SystemService`: how the host is, and its tokens.

use std::time::SystemTime;

use nexus_manifest::error_chain;
use nexus_proto::v1;
use nexus_proto::v1::system_service_server::SystemService;
use nexus_store::unix_ms;
use tonic::{Request, Response, Status};

use super::caller;
use crate::auth::{Role, TokenError, TokenInfo};
use crate::convert::{from_duration, timestamp};
use crate::fault::Fault;
use crate::host::Host;
use crate::lock::Standing;
use crate::{names, paging};

/// See the module.
pub(crate) struct System {
    pub(crate) host: Host,
    pub(crate) started: SystemTime,
}

#[tonic::async_trait]
impl SystemService for System {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::HostStatus>, Status> {
        let host = &self.host;
        let hot_reload = host
            .forge
            .hot_reload()
            .await
            .map_err(|error| Fault::internal(&error))?;
        let audit_sequence = *host.services.audit.subscribe().borrow();
        Ok(Response::new(v1::HostStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_time: Some(timestamp(unix_ms(self.started))),
            agents: host.runtime.list().len() as u64,
            running_invocations: host.runtime.running() as u64,
            waiting_invocations: host.runtime.waiting() as u64,
            pending_approvals: host.services.gate.asking() as u64,
            hot_reload_enabled: hot_reload.enabled,
            policy_version: host.services.gate.policy().version().digest().to_string(),
            audit_sequence,
            checks: host.checks().await,
            lock: Some(lock(host.lock.standing())),
        }))
    }

    async fn engage_lock(
        &self,
        request: Request<v1::EngageLockRequest>,
    ) -> Result<Response<v1::Lock>, Status> {
        let caller = caller(&request)?;
        let reason = &request.get_ref().reason;
        let standing = self.host.lock.engage(reason, caller.principal.as_str());
        Ok(Response::new(lock(standing.await)))
    }

    async fn release_lock(
        &self,
        request: Request<v1::ReleaseLockRequest>,
    ) -> Result<Response<v1::Lock>, Status> {
        let caller = caller(&request)?;
        let released = self.host.lock.release(caller.principal.as_str()).await;
        let standing = released.map_err(|error| {
            tracing::error!(
                error = error_chain(&error),
                "the emergency lock is not lifted"
            );
            let message = format!(
                "the emergency lock is engaged still: {}",
                error_chain(&error)
            );
            Fault::new(tonic::Code::Aborted, "LOCK_NOT_LIFTED", message)
        })?;
        Ok(Response::new(lock(standing)))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let role = match request.role() {
            v1::Role::Operator => Role::Operator,
            v1::Role::Approver => Role::Approver,
            v1::Role::Forger => Role::Forger,
            v1::Role::Caller => Role::Caller,
            v1::Role::Unspecified => {
                return Err(
                    Fault::invalid("role", "use operator, approver, forger or caller").into(),
                );
            }
        };
        let ttl = request
            .ttl
            .map(|ttl| from_duration("ttl", ttl))
            .transpose()?;
        let by = caller.principal.to_string();
        let made = self
            .host
            .tokens
            .create(&request.principal, role, ttl, &by, &request.request_id)
            .await
            .map_err(refuse)?;
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(token(&made.info)),
            secret: made.secret,
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let request = request.into_inner();
        // Counted from the end of time, so that the newest comes first.
        let key = |info: &TokenInfo| format!("{:020} {}", u64::MAX - info.created_ms, info.id);
        let mut tokens = self.host.tokens.list();
        tokens.sort_by_key(key);
        let (page, next_page_token) =
            paging::cut(tokens, key, request.page_size, &request.page_token)?;
        Ok(Response::new(v1::ListTokensResponse {
            tokens: page.iter().map(token).collect(),
            next_page_token,
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = names::id("name", &request.name, "tokens")?;
        let grace = request.grace.map(|grace| from_duration("grace", grace));
        let grace = grace.transpose()?.unwrap_or_default();
        let revoked = self
            .host
            .tokens
            .revoke(id, grace, &caller.principal.to_string())
            .await
            .map_err(refuse)?;
        Ok(Response::new(token(&revoked)))
    }
}

fn lock(standing: Standing) -> v1::Lock {
    let engaged = standing.engaged;
    v1::Lock {
        engaged: engaged.is_some(),
        durable: standing.durable,
        engage_time: engaged.as_ref().map(|engaged| timestamp(engaged.since_ms)),
        reason: engaged
            .as_ref()
            .map_or_else(String::new, |engaged| engaged.reason.clone()),
        principal: engaged.map_or_else(String::new, |engaged| engaged.by),
    }
}

fn token(info: &TokenInfo) -> v1::Token {
    v1::Token {
        name: format!("tokens/{}", info.id),
        principal: info.principal.clone(),
        role: match info.role {
            Role::Operator => v1::Role::Operator,
            Role::Approver => v1::Role::Approver,
            Role::Forger => v1::Role::Forger,
            Role::Caller => v1::Role::Caller,
        }
        .into(),
        create_time: Some(timestamp(info.created_ms)),
        expire_time: info.expires_ms.map(timestamp),
        revoke_time: info.revoked_ms.map(timestamp),
    }
}

fn refuse(error: TokenError) -> Status {
    match error {
        TokenError::NotFound(id) => {
            Fault::not_found("token", &id, "`nexus tokens list` shows them")
        }
        TokenError::Repeated(_) => {
            Fault::new(tonic::Code::AlreadyExists, "TOKEN_MADE", error.to_string())
        }
        TokenError::BadRequestId => Fault::invalid("request_id", error.to_string()),
        TokenError::BadPrincipal(_) => Fault::invalid("principal", error.to_string()),
        TokenError::LastOperator(_) => Fault::precondition("LAST_OPERATOR", error.to_string()),
        error => Fault::internal(&error),
    }
    .into()
}
