//! `AgentService`: components in, agents out.

mod upload;

use std::sync::Arc;

use nexus_gate::{ApprovalId, RootOrigin, State, Verdict};
use nexus_manifest::{AgentName, Digest, DigestError, Manifest, PermissionDiff};
use nexus_proto::v1;
use nexus_proto::v1::agent_service_server::AgentService;
use nexus_runtime::{AgentChange, Generation, GenerationInfo, Publish, PublishError};
use tonic::{Request, Response, Status, Streaming};

use self::upload::Upload;
pub(crate) use self::upload::Uploads;
use super::{Events, caller, follow, unlocked};
use crate::auth::{Caller, Role};
use crate::fault::Fault;
use crate::host::Host;
use crate::publish::{self, Change, Published, Review};
use crate::requests::{Answer, Requests};
use crate::{convert, names, paging};

/// See the module.
pub(crate) struct Agents {
    pub(crate) host: Host,
    /// The uploads that their clients have named.
    pub(crate) deploys: Requests<Answer<v1::DeployAgentResponse>>,
    pub(crate) uploads: Uploads,
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn deploy_agent(
        &self,
        request: Request<Streaming<v1::DeployAgentRequest>>,
    ) -> Result<Response<v1::DeployAgentResponse>, Status> {
        let caller = caller(&request)?;
        unlocked(&self.host)?;
        let upload = upload::receive(request.into_inner(), &self.uploads, &caller).await?;
        let answer = if upload.request_id.is_empty() {
            deploy(self.host.clone(), upload, caller).await?
        } else {
            let (principal, id) = (caller.principal.clone(), upload.request_id.clone());
            let digest = upload.digest();
            let call = deploy(self.host.clone(), upload, caller);
            self.deploys.once(principal, id, digest, call).await?
        };
        Ok(Response::new(answer))
    }

    async fn accept_agent(
        &self,
        request: Request<v1::AcceptAgentRequest>,
    ) -> Result<Response<v1::Agent>, Status> {
        let caller = caller(&request)?;
        unlocked(&self.host)?;
        let request = request.into_inner();
        let name = names::agent("name", &request.name)?;
        let host = &self.host;
        let digest: Digest = request
            .permissions_digest
            .parse()
            .map_err(|error: DigestError| {
                Fault::invalid("permissions_digest", error.to_string())
            })?;
        let generation = if let Some(review) = host.reviews.find(&name, &digest) {
            accept(host, review, &caller).await?
        } else if let Some(review) = host.forge.review(&name, &digest) {
            approve(host, review.approval, &caller).await?;
            publish::forged(&name, review).await?
        } else {
            self.accepted(&name, &digest)?
        };
        Ok(Response::new(convert::agent(&generation)))
    }

    async fn get_agent(
        &self,
        request: Request<v1::GetAgentRequest>,
    ) -> Result<Response<v1::Agent>, Status> {
        let request = request.into_inner();
        let live = self.live(&request.name)?;
        let mut agent = convert::agent(&live);
        if request.view() == v1::AgentView::Full {
            let lineage = self.host.forge.lineage(&live.digest).await;
            agent.lineage = lineage
                .map_err(|error| Fault::internal(&error))?
                .as_ref()
                .map(convert::lineage);
        }
        Ok(Response::new(agent))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let mut all = self.host.runtime.list();
        all.retain(|live| {
            request.tag.is_empty()
                || live
                    .manifest
                    .tags
                    .iter()
                    .any(|tag| tag.as_str() == request.tag)
        });
        all.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
        let key = |live: &Arc<Generation>| live.manifest.name.to_string();
        let (page, next_page_token) =
            paging::cut(all, key, request.page_size, &request.page_token)?;
        let agents = page.iter().map(|live| convert::agent(live)).collect();
        Ok(Response::new(v1::ListAgentsResponse {
            agents,
            next_page_token,
        }))
    }

    async fn delete_agent(
        &self,
        request: Request<v1::DeleteAgentRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let live = self.live(&request.name)?;
        may_change(&live, &caller)?;
        check_etag(&live, &request.etag)?;
        let removed = self
            .host
            .runtime
            .remove(&live.manifest.name, &caller.principal)
            .await;
        removed.map_err(publish::refuse_publish)?;
        Ok(Response::new(()))
    }

    async fn list_generations(
        &self,
        request: Request<v1::ListGenerationsRequest>,
    ) -> Result<Response<v1::ListGenerationsResponse>, Status> {
        let request = request.into_inner();
        let live = self.live(&request.parent)?;
        let mut all = self.kept(live.agent()).await?;
        all.sort_by_key(|generation| std::cmp::Reverse(generation.number));
        let key = |generation: &GenerationInfo| format!("{:020}", u64::MAX - generation.number);
        let (page, next_page_token) =
            paging::cut(all, key, request.page_size, &request.page_token)?;
        let mut generations = Vec::with_capacity(page.len());
        for info in &page {
            let manifest = self.manifest(info).await?;
            generations.push(convert::generation(info, &manifest, live.number));
        }
        Ok(Response::new(v1::ListGenerationsResponse {
            generations,
            next_page_token,
        }))
    }

    async fn diff_generations(
        &self,
        request: Request<v1::DiffGenerationsRequest>,
    ) -> Result<Response<v1::GenerationDiff>, Status> {
        let request = request.into_inner();
        let live = self.live(&request.name)?;
        let name = live.agent();
        let to = match request.to_generation {
            0 => live.number,
            number => number,
        };
        let from = match request.from_generation {
            0 => self.before(name, to).await?,
            number => number,
        };
        let (from, before) = self.generation(name, from).await?;
        let (to, after) = self.generation(name, to).await?;
        let diff = PermissionDiff::between(&before.permissions, &after.permissions);
        let schedule = |manifest: &Manifest| {
            let schedule = manifest.schedule.as_ref();
            schedule.map(|schedule| format!("{} {}", schedule.cron, schedule.zone))
        };
        Ok(Response::new(v1::GenerationDiff {
            name: names::of_agent(name),
            permission_diff: Some(convert::permission_diff(
                &diff,
                Some(from.number),
                diff.widens,
            )),
            from_schedule: schedule(&before).unwrap_or_default(),
            to_schedule: schedule(&after).unwrap_or_default(),
            from_config: serde_json::Value::from(before.config.clone()).to_string(),
            to_config: serde_json::Value::from(after.config.clone()).to_string(),
            from: Some(convert::generation(&from, &before, live.number)),
            to: Some(convert::generation(&to, &after, live.number)),
        }))
    }

    async fn rollback_agent(
        &self,
        request: Request<v1::RollbackAgentRequest>,
    ) -> Result<Response<v1::Agent>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let live = self.live(&request.name)?;
        may_change(&live, &caller)?;
        check_etag(&live, &request.etag)?;
        let name = &live.manifest.name;
        let number = match request.generation {
            0 => self.before(name, live.number).await?,
            number => number,
        };
        let (host, principal) = (&self.host, &caller.principal);
        let retained = host.runtime.retained(name, number, principal).await;
        let (generation, succession) = retained.map_err(publish::refuse_publish)?;
        let digest = generation.permissions_digest().to_string();
        let accepted = !request.permissions_digest.is_empty();
        if accepted && request.permissions_digest != digest {
            let message = format!("generation {number} asks for others, whose digest is {digest}");
            return Err(Fault::invalid("permissions_digest", message).into());
        }
        if !succession.widens {
            let rolled = host.runtime.rollback(name, number, principal, None).await;
            let rolled = rolled.map_err(publish::refuse_publish)?;
            return Ok(Response::new(convert::agent(&rolled)));
        }
        unlocked(host)?;
        let change = Change::Rollback {
            generation,
            succession,
            principal: principal.clone(),
        };
        let rolled = match publish::begin(host, change).await? {
            Published::Live(generation) => generation,
            // Whoever may decide and has named the very permissions has decided.
            Published::Review(review) if accepted && caller.role.decides() => {
                accept(host, review, &caller).await?
            }
            Published::Review(review) => {
                let message = format!(
                    "generation {number} of {name} may do more than the live one; it answers once approvals/{} is approved",
                    review.approval
                );
                return Err(Fault::precondition("REVIEW_NEEDED", message)
                    .with("approval", format!("approvals/{}", review.approval))
                    .with("permissions_digest", digest)
                    .into());
            }
        };
        Ok(Response::new(convert::agent(&rolled)))
    }

    type WatchAgentsStream = Events<v1::AgentEvent>;

    async fn watch_agents(
        &self,
        request: Request<v1::WatchAgentsRequest>,
    ) -> Result<Response<Self::WatchAgentsStream>, Status> {
        let agent = names::agent_filter("agent", &request.get_ref().agent)?;
        let changes = self.host.runtime.watch();
        let runtime = self.host.runtime.clone();
        Ok(Response::new(follow(
            Vec::new(),
            changes,
            move |change: AgentChange| {
                let wanted = agent.as_ref().is_none_or(|agent| *agent == change.agent);
                wanted.then(|| convert::agent_event(&change, runtime.get(&change.agent).as_deref()))
            },
        )))
    }
}

impl Agents {
    fn live(&self, name: &str) -> Result<Arc<Generation>, Status> {
        let agent = names::agent("name", name)?;
        let live = self.host.runtime.get(&agent);
        live.ok_or_else(|| publish::no_agent(&self.host, &agent))
    }

    async fn kept(&self, name: &AgentName) -> Result<Vec<GenerationInfo>, Status> {
        let kept = self.host.runtime.generations(name).await;
        kept.map_err(|error| Fault::internal(&error).into())
    }

    /// What a kept generation says of itself.
    async fn manifest(&self, info: &GenerationInfo) -> Result<Manifest, Status> {
        let component = self.host.runtime.component(&info.digest).await;
        let component = component.map_err(|error| Fault::internal(&error))?;
        let manifest = nexus_manifest::package::read_manifest(&component);
        let manifest = manifest.map_err(|error| Fault::internal(&error))?;
        Manifest::parse(&manifest).map_err(|error| Fault::internal(&error).into())
    }

    async fn generation(
        &self,
        name: &AgentName,
        number: u64,
    ) -> Result<(GenerationInfo, Manifest), Status> {
        let mut kept = self.kept(name).await?.into_iter();
        let info = kept.find(|info| info.number == number).ok_or_else(|| {
            publish::refuse_publish(PublishError::UnknownGeneration {
                agent: name.clone(),
                number,
            })
        })?;
        let manifest = self.manifest(&info).await?;
        Ok((info, manifest))
    }

    async fn before(&self, name: &AgentName, live: u64) -> Result<u64, Status> {
        let kept = self.kept(name).await?;
        let numbers = kept.iter().map(|generation| generation.number);
        numbers
            .filter(|&number| number < live)
            .max()
            .ok_or_else(|| {
                let message = format!("{name} has no earlier generation that is kept");
                Fault::precondition("NO_EARLIER_GENERATION", message).into()
            })
    }

    /// What there is to say of permissions that nothing waits for: they may be accepted already.
    fn accepted(&self, name: &AgentName, digest: &Digest) -> Result<Arc<Generation>, Status> {
        let host = &self.host;
        if publish::waiting(host, name).is_some() {
            let message = format!(
                "what waits for review as {name} asks for other permissions; look at them again, and accept their digest"
            );
            return Err(Fault::new(tonic::Code::Aborted, "PERMISSIONS_CHANGED", message).into());
        }
        let live = host.runtime.get(name);
        live.filter(|live| live.permissions_digest() == *digest)
            .ok_or_else(|| {
                let message = format!(
                    "nothing with these permissions waits for review as {name}; deploy or forge it again and accept the digest that is answered"
                );
                Fault::precondition("NO_SUCH_REVIEW", message).into()
            })
    }
}

/// Takes an upload through review, or to where it waits for one.
async fn deploy(
    host: Host,
    upload: Upload,
    caller: Caller,
) -> Result<v1::DeployAgentResponse, Status> {
    let prepared = host.runtime.prepare(upload.component).await;
    drop(upload.place);
    let prepared = prepared.map_err(publish::refuse_component)?;
    let manifest = prepared.manifest.clone();
    if let Some(agent) = upload.agent.filter(|agent| *agent != manifest.name) {
        let message = format!(
            "the component's manifest names {}, not {agent}",
            manifest.name
        );
        return Err(Fault::invalid("metadata.agent", message).into());
    }
    let permissions_digest = manifest.permissions_digest().to_string();
    let accepted = !upload.permissions_digest.is_empty();
    if accepted && upload.permissions_digest != permissions_digest {
        let message = format!(
            "the component asks for other permissions, whose digest is {permissions_digest}"
        );
        return Err(Fault::invalid("metadata.permissions_digest", message).into());
    }
    let (runtime, root) = (&host.runtime, RootOrigin::Interactive);
    let succession = runtime.succession(&manifest, &caller.principal, root);
    // Whoever may decide and has named the very permissions has decided; that another owner's
    // agent is replaced is nothing that they have named.
    let vouched = caller.role.decides() && succession.owner.is_none();
    let decided = accepted && vouched;
    let publish = Publish {
        // What policy lets go live unasked is still this person's own upload.
        reviewed: vouched,
        ..Publish::by(caller.principal.clone())
    };
    // Byte for byte what a person has reviewed and what answers already: to ask again would teach
    // people to say yes.
    let same = runtime.get(&manifest.name).filter(|live| {
        live.digest == prepared.digest
            && live.owner == caller.principal
            && live.reviewed
            && !manifest.permissions.is_empty()
    });
    let published = match same {
        Some(live) => Published::Live(live),
        None => match publish::begin(&host, Change::Upload(prepared, publish)).await? {
            Published::Review(review) if decided => {
                Published::Live(accept(&host, review, &caller).await?)
            }
            other => other,
        },
    };
    let permissions = convert::permissions(&manifest);
    let permission_diff = Some(convert::permission_diff(
        &succession.permissions,
        succession.generation,
        succession.widens,
    ));
    Ok(match published {
        Published::Live(generation) => v1::DeployAgentResponse {
            agent: Some(convert::agent(&generation)),
            state: v1::deploy_agent_response::State::Live.into(),
            approval: String::new(),
            permissions,
            permissions_digest,
            permission_diff,
        },
        Published::Review(review) => v1::DeployAgentResponse {
            agent: host
                .runtime
                .get(&manifest.name)
                .map(|live| convert::agent(&live)),
            state: v1::deploy_agent_response::State::Review.into(),
            approval: format!("approvals/{}", review.approval),
            permissions,
            permissions_digest,
            permission_diff,
        },
    })
}

/// Approves a review and waits until the agent is callable.
async fn accept(host: &Host, review: Review, caller: &Caller) -> Result<Arc<Generation>, Status> {
    approve(host, review.approval, caller).await?;
    publish::finish(review.done).await
}

async fn approve(host: &Host, approval: ApprovalId, caller: &Caller) -> Result<(), Status> {
    let gate = &host.services.gate;
    let decided = gate
        .decide(approval, Verdict::Approve, None, &caller.principal)
        .await;
    let approval = decided.map_err(|error| super::approvals::refuse(&approval, error))?;
    if approval.state == State::Pending {
        let message = format!(
            "approvals/{} needs {} people; another one has to approve too",
            approval.id, approval.required
        );
        return Err(Fault::precondition("MORE_APPROVALS_NEEDED", message).into());
    }
    Ok(())
}

/// An agent is its owner's; an operator may set right what others own.
fn may_change(live: &Generation, caller: &Caller) -> Result<(), Status> {
    if live.owner == caller.principal || caller.role == Role::Operator {
        return Ok(());
    }
    Err(publish::refuse_publish(PublishError::OwnedByAnother {
        agent: live.manifest.name.clone(),
        owner: live.owner.clone(),
    }))
}

fn check_etag(live: &Generation, etag: &str) -> Result<(), Status> {
    if etag.is_empty() || etag == convert::etag(live) {
        return Ok(());
    }
    let message = format!(
        "{} has changed since you read it; get it again",
        live.manifest.name
    );
    Err(Fault::new(tonic::Code::Aborted, "STALE_ETAG", message).into())
}
