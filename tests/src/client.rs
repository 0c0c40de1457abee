//! Clients of every service, with a token.

use anyhow::Context as _;
use nexus_proto::v1;
use nexus_proto::v1::agent_service_client::AgentServiceClient;
use nexus_proto::v1::approval_service_client::ApprovalServiceClient;
use nexus_proto::v1::audit_service_client::AuditServiceClient;
use nexus_proto::v1::build_service_client::BuildServiceClient;
use nexus_proto::v1::forge_service_client::ForgeServiceClient;
use nexus_proto::v1::invocation_service_client::InvocationServiceClient;
use nexus_proto::v1::memory_service_client::MemoryServiceClient;
use nexus_proto::v1::policy_service_client::PolicyServiceClient;
use nexus_proto::v1::system_service_client::SystemServiceClient;
use nexus_proto::v1::vault_service_client::VaultServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// A channel that sends a token with every request.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Adds the token.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Every service over one connection.
#[derive(Clone)]
#[expect(missing_docs, reason = "one field for each service")]
pub struct Client {
    pub agents: AgentServiceClient<Connection>,
    pub invocations: InvocationServiceClient<Connection>,
    pub approvals: ApprovalServiceClient<Connection>,
    pub forge: ForgeServiceClient<Connection>,
    pub build: BuildServiceClient<Connection>,
    pub vault: VaultServiceClient<Connection>,
    pub memory: MemoryServiceClient<Connection>,
    pub policy: PolicyServiceClient<Connection>,
    pub audit: AuditServiceClient<Connection>,
    pub system: SystemServiceClient<Connection>,
}

impl Client {
    /// Over a channel, with a token or without.
    pub fn new(channel: Channel, token: Option<&str>) -> anyhow::Result<Self> {
        let token = token
            .map(|token| format!("Bearer {token}").parse())
            .transpose()?;
        let channel = InterceptedService::new(channel, Bearer(token));
        Ok(Self {
            agents: AgentServiceClient::new(channel.clone()),
            invocations: InvocationServiceClient::new(channel.clone()),
            approvals: ApprovalServiceClient::new(channel.clone()),
            forge: ForgeServiceClient::new(channel.clone()),
            build: BuildServiceClient::new(channel.clone()),
            vault: VaultServiceClient::new(channel.clone()),
            memory: MemoryServiceClient::new(channel.clone()),
            policy: PolicyServiceClient::new(channel.clone()),
            audit: AuditServiceClient::new(channel.clone()),
            system: SystemServiceClient::new(channel),
        })
    }

    /// Uploads a component.
    pub async fn upload(
        &mut self,
        component: &[u8],
        metadata: v1::DeployAgentMetadata,
    ) -> Result<v1::DeployAgentResponse, Status> {
        use v1::deploy_agent_request::Payload;
        let message = |payload| v1::DeployAgentRequest {
            payload: Some(payload),
        };
        let mut messages = vec![message(Payload::Metadata(metadata))];
        messages.extend(
            component
                .chunks(1 << 20)
                .map(|chunk| message(Payload::Chunk(chunk.to_vec()))),
        );
        let stream = tokio_stream::iter(messages);
        Ok(self.agents.deploy_agent(stream).await?.into_inner())
    }

    /// Uploads a component and accepts its permissions if they have to be.
    pub async fn deploy(&mut self, component: &[u8]) -> anyhow::Result<v1::Agent> {
        let answer = self
            .upload(component, v1::DeployAgentMetadata::default())
            .await?;
        if answer.state() == v1::deploy_agent_response::State::Live {
            return answer.agent.context("a live deployment has an agent");
        }
        // Before its first publication an agent is known from its review alone.
        let approval = v1::GetApprovalRequest {
            name: answer.approval,
        };
        let approval = self.approvals.get_approval(approval).await?.into_inner();
        let accept = v1::AcceptAgentRequest {
            name: approval.agent,
            permissions_digest: answer.permissions_digest,
        };
        Ok(self.agents.accept_agent(accept).await?.into_inner())
    }

    /// Calls an agent and returns the invocation as it ended, or as it waits for a person.
    pub async fn invoke(
        &mut self,
        agent: &str,
        input: &serde_json::Value,
    ) -> Result<v1::Invocation, Status> {
        let request = v1::InvokeAgentRequest {
            name: format!("agents/{agent}"),
            input: input.to_string(),
            ..v1::InvokeAgentRequest::default()
        };
        Ok(self.invocations.invoke_agent(request).await?.into_inner())
    }

    /// Calls an agent that has to succeed, and returns its output.
    pub async fn output(
        &mut self,
        agent: &str,
        input: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let invocation = self.invoke(agent, input).await?;
        match invocation.outcome {
            Some(v1::invocation::Outcome::Success(success)) => {
                Ok(serde_json::from_str(&success.output)?)
            }
            other => anyhow::bail!(
                "{agent} did not succeed: {other:?} {:?}",
                invocation.approvals
            ),
        }
    }

    /// The end of an invocation, whenever it comes.
    pub async fn ended(&mut self, name: &str) -> anyhow::Result<v1::Invocation> {
        let request = v1::WatchInvocationRequest {
            name: name.to_owned(),
        };
        let mut events = self
            .invocations
            .watch_invocation(request)
            .await?
            .into_inner();
        while let Some(event) = events.message().await? {
            if let Some(v1::invocation_event::Event::State(invocation)) = event.event
                && invocation.outcome.is_some()
            {
                return Ok(invocation);
            }
        }
        anyhow::bail!("{name} was watched to its end and had none")
    }

    /// Every approval that is pending, and then each change of one.
    pub async fn watch_approvals(&mut self) -> anyhow::Result<Approvals> {
        let request = v1::WatchApprovalsRequest::default();
        let stream = self.approvals.watch_approvals(request).await?.into_inner();
        Ok(Approvals(stream))
    }

    /// One approval as it is.
    pub async fn approval(&mut self, name: &str) -> Result<v1::Approval, Status> {
        let request = v1::GetApprovalRequest {
            name: name.to_owned(),
        };
        Ok(self.approvals.get_approval(request).await?.into_inner())
    }

    /// One invocation as it is.
    pub async fn invocation(&mut self, name: &str) -> Result<v1::Invocation, Status> {
        let request = v1::GetInvocationRequest {
            name: name.to_owned(),
        };
        Ok(self.invocations.get_invocation(request).await?.into_inner())
    }

    /// The output of an invocation, whenever it comes.
    pub async fn result(&mut self, name: &str) -> anyhow::Result<serde_json::Value> {
        let ended = self.ended(name).await?;
        match ended.outcome {
            Some(v1::invocation::Outcome::Success(success)) => {
                Ok(serde_json::from_str(&success.output)?)
            }
            other => anyhow::bail!("{name} did not succeed: {other:?}"),
        }
    }

    /// Decides what an invocation waits for.
    pub async fn decide(
        &mut self,
        approval: &str,
        verdict: v1::Verdict,
    ) -> Result<v1::Approval, Status> {
        let request = v1::DecideApprovalRequest {
            name: approval.to_owned(),
            verdict: verdict.into(),
            ..v1::DecideApprovalRequest::default()
        };
        Ok(self.approvals.decide_approval(request).await?.into_inner())
    }
}

/// What happens to approvals, as it happens.
pub struct Approvals(tonic::Streaming<v1::Approval>);

impl Approvals {
    /// The next approval that looks as wanted.
    pub async fn find(
        &mut self,
        wanted: impl Fn(&v1::Approval) -> bool,
    ) -> anyhow::Result<v1::Approval> {
        while let Some(approval) = self.0.message().await? {
            if wanted(&approval) {
                return Ok(approval);
            }
        }
        anyhow::bail!("the watch ended before what it was for")
    }

    /// The next question that this agent asks.
    pub async fn asked(&mut self, agent: &str) -> anyhow::Result<v1::Approval> {
        let agent = format!("agents/{agent}");
        self.find(|approval| {
            approval.agent == agent && approval.state() == v1::approval::State::Pending
        })
        .await
    }

    /// This approval, once it is in a state.
    pub async fn becomes(
        &mut self,
        name: &str,
        state: v1::approval::State,
    ) -> anyhow::Result<v1::Approval> {
        self.find(|approval| approval.name == name && approval.state() == state)
            .await
    }
}

/// The stable reason of a status.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}
