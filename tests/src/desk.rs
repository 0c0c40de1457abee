//! A host whose agent `trader` may read and write at one origin, and the person at its desk.

use nexus_proto::v1;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::client::Approvals;
use crate::origin::Origin;
use crate::{Client, Host, probe};

/// See the module.
pub struct Desk {
    /// The host.
    pub host: Host,
    /// What `trader` may talk to.
    pub origin: Origin,
    /// The operator's client.
    pub client: Client,
    /// What happens to approvals from the deployment on.
    pub approvals: Approvals,
    _policy: Option<NamedTempFile>,
}

impl Desk {
    /// With the configuration that NEXUS ships.
    pub async fn new() -> anyhow::Result<Self> {
        Self::with("").await
    }

    /// Under another policy.
    pub async fn under(policy: &str) -> anyhow::Result<Self> {
        let file = NamedTempFile::new()?;
        std::fs::write(file.path(), policy)?;
        let mut desk = Self::with(&format!("[approvals]\npolicy = {:?}", file.path())).await?;
        desk._policy = Some(file);
        Ok(desk)
    }

    /// With more lines of configuration.
    pub async fn with(config: &str) -> anyhow::Result<Self> {
        let origin = Origin::json(json!({ "done": true })).await?;
        let host = Host::builder()
            .config(&format!(
                "[egress]\nprivate_origins = [{:?}]\n{config}",
                origin.url()
            ))
            .start()?;
        let mut client = host.operator().await?;
        let permission = format!(
            r#"http = {{ origin = "{}", methods = ["GET", "POST", "PUT"], paths = ["/*"], reads = [{{ pointer = "/method", values = ["eth_getBalance", "eth_call"] }}] }}"#,
            origin.url()
        );
        let component = probe::component("trader", &[&permission]);
        // Its acceptance is the first question; another principal answers it, as some hosts require.
        let review = client
            .upload(&component, v1::DeployAgentMetadata::default())
            .await?;
        if review.state() != v1::deploy_agent_response::State::Live {
            let mut reviewer = host.client("reviewer", v1::Role::Approver).await?;
            let accept = v1::AcceptAgentRequest {
                name: "agents/trader".to_owned(),
                permissions_digest: review.permissions_digest,
            };
            reviewer.agents.accept_agent(accept).await?;
        }
        let approvals = client.watch_approvals().await?;
        Ok(Self {
            host,
            origin,
            client,
            approvals,
            _policy: None,
        })
    }

    /// The steps of an order, from open to response.
    pub fn order(&self, quantity: u32) -> Vec<Value> {
        probe::post(
            &self.origin.url(),
            "/orders",
            &json!({ "quantity": quantity }),
        )
    }

    /// The steps that send an order under a name and do not wait.
    pub fn sending(&self, name: &str) -> Vec<Value> {
        let body = json!({ "call": "http.request.body", "value": name });
        probe::sending(name, &self.origin.url(), "post", "/orders", &[body])
    }

    /// Starts the steps; returns the invocation as it waits, and its one question.
    pub async fn park(
        &mut self,
        steps: &[Value],
    ) -> anyhow::Result<(v1::Invocation, v1::Approval)> {
        let waiting = self.client.invoke("trader", &json!(steps)).await?;
        assert_eq!(
            waiting.state(),
            v1::invocation::State::Waiting,
            "{waiting:?}"
        );
        assert_eq!(waiting.approvals.len(), 1, "{waiting:?}");
        let approval = self.client.approval(&waiting.approvals[0]).await?;
        Ok((waiting, approval))
    }

    /// Starts the steps in the background and returns the invocation at once.
    pub async fn start(&mut self, steps: &[Value]) -> anyhow::Result<v1::Invocation> {
        let request = v1::StartInvocationRequest {
            name: "agents/trader".to_owned(),
            input: json!(steps).to_string(),
            ..v1::StartInvocationRequest::default()
        };
        let started = self.client.invocations.start_invocation(request).await?;
        Ok(started.into_inner())
    }

    /// Says yes as the operator.
    pub async fn approve(&mut self, approval: &v1::Approval) -> anyhow::Result<()> {
        self.client
            .decide(&approval.name, v1::Verdict::Approve)
            .await?;
        Ok(())
    }

    /// Revokes every token of a principal.
    pub async fn revoke(&mut self, principal: &str) -> anyhow::Result<()> {
        let list = v1::ListTokensRequest::default();
        let tokens = self.client.system.list_tokens(list).await?.into_inner();
        for token in tokens.tokens {
            if token.principal == principal {
                let revoke = v1::RevokeTokenRequest {
                    name: token.name,
                    ..v1::RevokeTokenRequest::default()
                };
                self.client.system.revoke_token(revoke).await?;
            }
        }
        Ok(())
    }

    /// The bodies that arrived, in their order.
    pub fn bodies(&self) -> Vec<String> {
        let received = self.origin.received();
        let body = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        received.iter().map(|request| body(&request.body)).collect()
    }
}

/// The last of an invocation's answers.
pub fn last(output: &Value) -> &Value {
    let answers = output.as_array().map(Vec::as_slice).unwrap_or_default();
    answers.last().unwrap_or(&Value::Null)
}
