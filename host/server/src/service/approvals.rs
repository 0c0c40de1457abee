//! `ApprovalService`: what waits for a person, and their decisions.

use nexus_forge::{Forge, Lineage};
use nexus_gate::{
    ActionKind, Approval, ApprovalId, DecideError, Filter, Gate, GrantFilter, GrantId, Page,
    RevokeError, StandingGrant, State,
};
use nexus_manifest::Digest;
use nexus_proto::v1;
use nexus_proto::v1::approval_service_server::ApprovalService;
use tonic::{Request, Response, Status};

use super::decision::decision;
use super::{Events, caller, follow};
use crate::fault::Fault;
use crate::{convert, names, paging};

/// See the module.
pub(crate) struct Approvals {
    pub(crate) gate: Gate,
    pub(crate) forge: Forge,
}

#[tonic::async_trait]
impl ApprovalService for Approvals {
    async fn list_approvals(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter {
            state: convert::approval_state(request.state()),
            agent: names::agent_filter("agent", &request.agent)?,
        };
        let size = paging::size(request.page_size)?;
        let after = paging::after(&request.page_token)?;
        let after = after.map(|id| approval_id("page_token", &id)).transpose()?;
        let page = self
            .gate
            .approvals(
                &filter,
                &Page {
                    after,
                    limit: size + 1,
                    newest_first: true,
                },
            )
            .await;
        let mut page = page.map_err(|error| Fault::internal(&error))?;
        let more = page.len() > size;
        page.truncate(size);
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| paging::token(&last.id.to_string()));
        Ok(Response::new(v1::ListApprovalsResponse {
            approvals: page.iter().map(|found| self.shown(found)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_approval(
        &self,
        request: Request<v1::GetApprovalRequest>,
    ) -> Result<Response<v1::Approval>, Status> {
        let id = id(&request.get_ref().name)?;
        let found = self
            .gate
            .approval(id)
            .await
            .map_err(|error| Fault::internal(&error))?;
        let approval = found.ok_or_else(|| unknown(&id))?;
        let company = self.gate.company(&approval);
        let lineage = self.lineage(&approval).await;
        Ok(Response::new(v1::Approval {
            lineage: lineage.as_ref().map(convert::lineage),
            ..convert::whole_approval(&approval, company)
        }))
    }

    type WatchApprovalsStream = Events<v1::Approval>;

    async fn watch_approvals(
        &self,
        request: Request<v1::WatchApprovalsRequest>,
    ) -> Result<Response<Self::WatchApprovalsStream>, Status> {
        let agent = names::agent_filter("agent", &request.get_ref().agent)?;
        // Subscribed before the snapshot is read, so that nothing falls between the two.
        let changes = self.gate.watch();
        let filter = Filter {
            state: Some(State::Pending),
            agent: agent.clone(),
        };
        let pending = self
            .gate
            .approvals(
                &filter,
                &Page {
                    after: None,
                    limit: 1000,
                    newest_first: false,
                },
            )
            .await;
        let pending = pending.map_err(|error| Fault::internal(&error))?;
        let first: Vec<_> = pending.iter().map(|found| self.shown(found)).collect();
        let gate = self.gate.clone();
        Ok(Response::new(watch(gate, first, changes, agent)))
    }

    async fn decide_approval(
        &self,
        request: Request<v1::DecideApprovalRequest>,
    ) -> Result<Response<v1::Approval>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = id(&request.name)?;
        let decision = decision(&request)?;
        let digest = match request.digest.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error: nexus_manifest::DigestError| {
                Fault::invalid("digest", error.to_string())
            })?),
        };
        let decided = self
            .gate
            .decide(id, decision, digest, &caller.principal)
            .await;
        let approval = decided.map_err(|error| refuse(&id, error))?;
        Ok(Response::new(self.shown(&approval)))
    }

    async fn list_grants(
        &self,
        request: Request<v1::ListGrantsRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        let request = request.into_inner();
        let agent = names::agent_filter("agent", &request.agent)?;
        let all = self.gate.grants(&GrantFilter { agent });
        let key = |grant: &StandingGrant| grant.id.to_string();
        let (page, next_page_token) =
            paging::cut(all, key, request.page_size, &request.page_token)?;
        Ok(Response::new(v1::ListGrantsResponse {
            grants: page.iter().map(convert::grant).collect(),
            next_page_token,
        }))
    }

    async fn delete_grant(
        &self,
        request: Request<v1::DeleteGrantRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = caller(&request)?;
        let name = request.into_inner().name;
        let id: GrantId = names::id("name", &name, "grants")?
            .parse()
            .map_err(|_| Fault::invalid("name", "a grant's name is grants/grt-..."))?;
        match self.gate.revoke_grant(id, &caller.principal).await {
            Ok(()) => Ok(Response::new(())),
            Err(RevokeError::NotFound(_)) => {
                Err(Fault::not_found("grant", &name, "ListGrants shows them").into())
            }
            Err(RevokeError::Unavailable(reason)) => Err(Fault::unavailable(
                "NOT_RECORDED",
                format!("the withdrawal could not be recorded; repeat it: {reason}"),
            )
            .into()),
        }
    }
}

impl Approvals {
    /// Where the component comes from that a person is asked to publish. Only that whose source is the
    /// one that the question names.
    async fn lineage(&self, approval: &Approval) -> Option<Lineage> {
        if approval.kind != ActionKind::Publish {
            return None;
        }
        let lineage = match self.forge.lineage(&approval.component).await {
            Ok(lineage) => lineage?,
            Err(error) => {
                // Whoever decides can do without it.
                tracing::error!(%error, approval = %approval.id, "where a component came from can't be read");
                return None;
            }
        };
        let source = Digest::of(lineage.source.as_bytes()).to_string();
        (approval.payload.fields["source_digest"] == source).then_some(lineage)
    }

    fn shown(&self, approval: &Approval) -> v1::Approval {
        convert::approval(approval, self.gate.company(approval))
    }
}

fn watch(
    gate: Gate,
    first: Vec<v1::Approval>,
    changes: tokio::sync::broadcast::Receiver<nexus_gate::Approval>,
    agent: Option<nexus_manifest::AgentName>,
) -> Events<v1::Approval> {
    follow(first, changes, move |approval| {
        let wanted = agent.as_ref().is_none_or(|agent| *agent == approval.agent);
        wanted.then(|| convert::approval(&approval, gate.company(&approval)))
    })
}

fn id(name: &str) -> Result<ApprovalId, Status> {
    approval_id("name", names::id("name", name, "approvals")?)
}

fn approval_id(field: &str, id: &str) -> Result<ApprovalId, Status> {
    id.parse()
        .map_err(|_| Fault::invalid(field, "an approval's name is approvals/apr-...").into())
}

fn unknown(id: &ApprovalId) -> Fault {
    Fault::not_found("approval", &id.to_string(), "ListApprovals shows them")
}

/// What an approver is told when their decision did not count.
pub(crate) fn refuse(id: &ApprovalId, error: DecideError) -> Status {
    let name = format!("approvals/{id}");
    match error {
        DecideError::NotFound(id) => unknown(&id),
        DecideError::AlreadyDecided(approval) | DecideError::Closed(approval) => {
            let state = approval.state.as_str();
            let why = approval.cancel_reason.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            Fault::precondition(
                "ALREADY_DECIDED",
                format!("{name} is {state}{why}; a decision counts once, and only while it is pending"),
            )
            .with("state", state)
        }
        DecideError::DigestMismatch { .. } => Fault::new(
            tonic::Code::Aborted,
            "DIGEST_MISMATCH",
            format!("{name} is not the action that was shown to you; read it again and decide on its digest"),
        ),
        DecideError::SelfApproval { others } => Fault::new(
            tonic::Code::PermissionDenied,
            "SELF_APPROVAL",
            match others {
                true => "the principal who started the invocation may not approve it here; another approver has to (see `[approvals] self_approval`)",
                false => "the principal who started the invocation may not approve it here, and nobody else may decide yet: `nexus tokens create --role approver NAME` makes an approver (see `[approvals] self_approval`)",
            },
        ),
        DecideError::EditRefused(reason) => Fault::new(
            tonic::Code::InvalidArgument,
            "EDIT_REFUSED",
            format!("the edited action is not accepted, and {name} is as it was: {reason}"),
        ),
        DecideError::NotRemembered(reason) => Fault::precondition(
            "NOT_REMEMBERED",
            format!("nothing was decided, because the decision can't be remembered: {reason}"),
        ),
        DecideError::NotAnApprover(principal) => Fault::new(
            tonic::Code::PermissionDenied,
            "NOT_AN_APPROVER",
            format!("{principal} has no valid token that may decide; an operator can make one"),
        ),
        DecideError::Unavailable(reason) => Fault::not_recorded(&reason).unwrap_or_else(|| {
            Fault::unavailable(
                "NOT_RECORDED",
                format!("the decision could not be recorded, and so does not count: {reason}"),
            )
        }),
    }
    .with("approval", name)
    .into()
}
