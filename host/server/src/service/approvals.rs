//! `ApprovalService`: what waits for a person, and their decisions.

use nexus_gate::{ApprovalId, DecideError, Decision, Filter, Gate, Page, State, Verdict};
use nexus_proto::v1;
use nexus_proto::v1::approval_service_server::ApprovalService;
use tonic::{Request, Response, Status};

use super::{Events, caller, follow};
use crate::fault::Fault;
use crate::{convert, names, paging};

/// The longest reason of a decision, in bytes: it is kept, audited and told to the agent.
const MAX_REASON: usize = 4096;

/// See the module.
pub(crate) struct Approvals {
    pub(crate) gate: Gate,
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
            approvals: page.iter().map(convert::approval).collect(),
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
        Ok(Response::new(convert::approval(&approval)))
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
        let first: Vec<_> = pending.iter().map(convert::approval).collect();
        Ok(Response::new(watch(first, changes, agent)))
    }

    async fn decide_approval(
        &self,
        request: Request<v1::DecideApprovalRequest>,
    ) -> Result<Response<v1::Approval>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = id(&request.name)?;
        let verdict = match request.verdict() {
            v1::Verdict::Approve => Verdict::Approve,
            v1::Verdict::Deny => Verdict::Deny,
            v1::Verdict::Unspecified => {
                return Err(
                    Fault::invalid("verdict", "use VERDICT_APPROVE or VERDICT_DENY").into(),
                );
            }
        };
        let digest = match request.digest.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error: nexus_manifest::DigestError| {
                Fault::invalid("digest", error.to_string())
            })?),
        };
        if request.reason.len() > MAX_REASON {
            let message = format!("keep the reason to {MAX_REASON} bytes");
            return Err(Fault::invalid("reason", message).into());
        }
        let decision = Decision {
            reason: Some(request.reason).filter(|reason| !reason.is_empty()),
            ..verdict.into()
        };
        let decided = self
            .gate
            .decide(id, decision, digest, &caller.principal)
            .await;
        let approval = decided.map_err(|error| refuse(&id, error))?;
        Ok(Response::new(convert::approval(&approval)))
    }
}

fn watch(
    first: Vec<v1::Approval>,
    changes: tokio::sync::broadcast::Receiver<nexus_gate::Approval>,
    agent: Option<nexus_manifest::AgentName>,
) -> Events<v1::Approval> {
    follow(first, changes, move |approval| {
        let wanted = agent.as_ref().is_none_or(|agent| *agent == approval.agent);
        wanted.then(|| convert::approval(&approval))
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
        DecideError::SelfApproval => Fault::new(
            tonic::Code::PermissionDenied,
            "SELF_APPROVAL",
            "the principal who started the invocation may not approve it here; another approver has to",
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
