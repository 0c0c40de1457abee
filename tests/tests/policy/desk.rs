//! A host whose agent `trader` may read and write at one origin, under a policy of the test's own.

use nexus_proto::v1;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};

/// The shipped policy, for rules to be added.
pub(crate) const SHIPPED: &str = include_str!("../../../host/gate/policy/default.cedar");

/// See the module.
pub(crate) struct Desk {
    pub(crate) host: Host,
    pub(crate) origin: Origin,
    /// The operator's client.
    pub(crate) client: Client,
}

impl Desk {
    /// With more lines of the section `[approvals]`.
    pub(crate) async fn with(approvals: &str) -> anyhow::Result<Self> {
        let origin = Origin::json(json!({ "done": true })).await?;
        let host = Host::builder()
            .config(&format!(
                "[egress]\nprivate_origins = [{:?}]\n[approvals]\n{approvals}",
                origin.url()
            ))
            .start()?;
        let mut client = host.operator().await?;
        let mut reviewer = host.client("reviewer", v1::Role::Approver).await?;
        for name in ["trader", "planner"] {
            let permissions = [
                probe::http(&origin.url()),
                probe::peer("trader"),
                probe::memory("desk"),
            ];
            let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
            let component = probe::component(name, &permissions);
            let review = client
                .upload(&component, v1::DeployAgentMetadata::default())
                .await?;
            let accept = v1::AcceptAgentRequest {
                name: format!("agents/{name}"),
                permissions_digest: review.permissions_digest,
            };
            reviewer.agents.accept_agent(accept).await?;
        }
        Ok(Self {
            host,
            origin,
            client,
        })
    }

    /// The steps of an order.
    pub(crate) fn order(&self) -> Value {
        json!(probe::post(
            &self.origin.url(),
            "/orders",
            &json!({ "quantity": 1 })
        ))
    }

    /// The steps of a read.
    pub(crate) fn price(&self) -> Value {
        json!(probe::exchange(&self.origin.url(), "get", "/price", &[]))
    }

    pub(crate) async fn policy(&mut self) -> anyhow::Result<v1::Policy> {
        let request = v1::GetPolicyRequest {};
        Ok(self.client.policy.get_policy(request).await?.into_inner())
    }

    pub(crate) async fn set(&mut self, text: &str) -> Result<v1::Policy, tonic::Status> {
        let request = v1::SetPolicyRequest {
            text: text.to_owned(),
            ..v1::SetPolicyRequest::default()
        };
        Ok(self.client.policy.set_policy(request).await?.into_inner())
    }

    /// The events of these kinds.
    pub(crate) async fn events(&mut self, kind: &str) -> anyhow::Result<Vec<v1::Event>> {
        let request = v1::ListEventsRequest {
            page_size: 1000,
            ..v1::ListEventsRequest::default()
        };
        let events = self.client.audit.list_events(request).await?.into_inner();
        let mut events = events.events;
        events.retain(|event| event.kind == kind);
        Ok(events)
    }
}

/// The last of an invocation's answers.
pub(crate) fn last(output: &Value) -> &Value {
    let answers = output.as_array().map(Vec::as_slice).unwrap_or_default();
    answers.last().unwrap_or(&Value::Null)
}
