//! A host whose agent `trader` may read and write at one origin.

use nexus_proto::v1;
use nexus_tests::client::Approvals;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};

/// See the module.
pub(crate) struct Desk {
    pub(crate) host: Host,
    pub(crate) origin: Origin,
    /// The operator's client.
    pub(crate) client: Client,
    /// What happens to approvals from the deployment on.
    pub(crate) approvals: Approvals,
}

impl Desk {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with("").await
    }

    /// With more lines of configuration.
    pub(crate) async fn with(config: &str) -> anyhow::Result<Self> {
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
        let mut reviewer = host.client("reviewer", v1::Role::Approver).await?;
        let accept = v1::AcceptAgentRequest {
            name: "agents/trader".to_owned(),
            permissions_digest: review.permissions_digest,
        };
        reviewer.agents.accept_agent(accept).await?;
        let approvals = client.watch_approvals().await?;
        Ok(Self {
            host,
            origin,
            client,
            approvals,
        })
    }

    /// The steps of an order, from open to response.
    pub(crate) fn order(&self, quantity: u32) -> Vec<Value> {
        probe::post(
            &self.origin.url(),
            "/orders",
            &json!({ "quantity": quantity }),
        )
    }

    /// The steps that send an order under a name and do not wait.
    pub(crate) fn sending(&self, name: &str) -> Vec<Value> {
        let body = json!({ "call": "http.request.body", "value": name });
        probe::sending(name, &self.origin.url(), "post", "/orders", &[body])
    }

    /// Starts the steps; returns the invocation as it waits, and its one question.
    pub(crate) async fn park(
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
    pub(crate) async fn start(&mut self, steps: &[Value]) -> anyhow::Result<v1::Invocation> {
        let request = v1::StartInvocationRequest {
            name: "agents/trader".to_owned(),
            input: json!(steps).to_string(),
            ..v1::StartInvocationRequest::default()
        };
        let started = self.client.invocations.start_invocation(request).await?;
        Ok(started.into_inner())
    }

    pub(crate) async fn approve(&mut self, approval: &v1::Approval) -> anyhow::Result<()> {
        self.client
            .decide(&approval.name, v1::Verdict::Approve)
            .await?;
        Ok(())
    }

    /// The bodies that arrived, in their order.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let received = self.origin.received();
        let body = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        received.iter().map(|request| body(&request.body)).collect()
    }
}

/// The last of an invocation's answers.
pub(crate) fn last(output: &Value) -> &Value {
    let answers = output.as_array().map(Vec::as_slice).unwrap_or_default();
    answers.last().unwrap_or(&Value::Null)
}
