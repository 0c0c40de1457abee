//! `AuditService`: the trail, with the bytes that a client needs to verify it alone.

use nexus_audit::{Audit, AuditError};
use nexus_manifest::error_chain;
use nexus_proto::v1;
use nexus_proto::v1::audit_service_server::AuditService;
use tonic::{Code, Request, Response, Status};

use super::Events;
use crate::fault::Fault;
use crate::{convert, names, paging};

/// How many records are read from the store at once.
const BATCH: usize = 500;

/// See the module.
pub(crate) struct Trail {
    pub(crate) audit: Audit,
}

#[tonic::async_trait]
impl AuditService for Trail {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let size = paging::size(request.page_size)?;
        let agent = names::agent_filter("agent", &request.agent)?;
        let invocation = match request.invocation.as_str() {
            "" => None,
            name => Some(names::id("invocation", name, "invocations")?),
        };
        let after = match paging::after(&request.page_token)? {
            Some(token) => token.parse().map_err(|_| {
                Fault::invalid("page_token", "use the next_page_token of the page before")
            })?,
            None => request.after_sequence,
        };
        let mut events = Vec::new();
        let after: u64 = after;
        let Some(mut next) = after.checked_add(1) else {
            // Nothing comes after the last number there is.
            return Ok(Response::new(v1::ListEventsResponse::default()));
        };
        loop {
            let records = self.audit.events(next, BATCH).await.map_err(unreadable)?;
            let Some(last) = records.last() else {
                return Ok(Response::new(v1::ListEventsResponse {
                    events,
                    next_page_token: String::new(),
                }));
            };
            next = last.sequence + 1;
            for record in &records {
                let event = &record.event;
                let wanted = agent
                    .as_ref()
                    .is_none_or(|agent| event.agent.as_ref() == Some(agent))
                    && invocation.is_none_or(|id| event.invocation.as_deref() == Some(id));
                if wanted {
                    events.push(convert::event(record));
                    if events.len() == size {
                        let next_page_token = paging::token(&record.sequence.to_string());
                        return Ok(Response::new(v1::ListEventsResponse {
                            events,
                            next_page_token,
                        }));
                    }
                }
            }
        }
    }

    type WatchEventsStream = Events<v1::Event>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let start = Watch {
            audit: self.audit.clone(),
            changes: self.audit.subscribe(),
            // Nothing comes after the last number there is, and nothing at it.
            next: request.get_ref().after_sequence.saturating_add(1),
            ready: Vec::new(),
        };
        let stream = futures::stream::unfold(Some(start), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(watch))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_checkpoint(
        &self,
        _: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let checkpoint = self.audit.checkpoint().await.map_err(unreadable)?;
        Ok(Response::new(convert::checkpoint(
            &checkpoint,
            &self.audit.verifying_key(),
        )))
    }
}

struct Watch {
    audit: Audit,
    changes: tokio::sync::watch::Receiver<u64>,
    next: u64,
    ready: Vec<v1::Event>,
}

impl Watch {
    /// The next record; none of them is skipped, however slowly they are taken.
    async fn next(&mut self) -> Result<Option<v1::Event>, Status> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Ok(Some(event));
            }
            let records = self
                .audit
                .events(self.next, BATCH)
                .await
                .map_err(unreadable)?;
            if let Some(last) = records.last() {
                self.next = last.sequence + 1;
                self.ready = records.iter().rev().map(convert::event).collect();
                continue;
            }
            if self.changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

fn unreadable(error: AuditError) -> Status {
    tracing::error!(
        error = error_chain(&error),
        "the audit trail does not answer"
    );
    Fault::new(
        Code::Unavailable,
        "AUDIT_UNAVAILABLE",
        "the audit trail does not answer; the host's log says why",
    )
    .into()
}
