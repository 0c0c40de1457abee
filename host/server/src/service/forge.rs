//! `ForgeService`: words in, events out, and at their end an agent.

mod examples;
mod named;
mod trigger;

use std::sync::{Arc, OnceLock};

use nexus_audit::{Event as AuditEvent, EventKind};
use nexus_forge::{BuiltBy, ForgeId, InputParameter, InputType, Mode, Request as ForgeRequest};
use nexus_proto::v1;
use nexus_proto::v1::forge::State;
use nexus_proto::v1::forge_service_server::ForgeService;
use tonic::{Request, Response, Status};

use super::invocations::origin;
use super::{Events, caller, unlocked};
use crate::auth::{Caller, Role};
use crate::fault::Fault;
use crate::forges::{BeginError, Ensured, Live};
use crate::host::Host;
use crate::requests::{Answer, Requests, interrupted};
use crate::{convert, names, paging};

/// See the module.
pub(crate) struct Forging {
    pub(crate) host: Host,
    /// The forges that their clients have named.
    pub(crate) named: Requests<Answer<v1::Forge>>,
}

#[tonic::async_trait]
impl ForgeService for Forging {
    type ForgeAgentStream = Events<v1::ForgeEvent>;

    async fn forge_agent(
        &self,
        request: Request<v1::ForgeAgentRequest>,
    ) -> Result<Response<Self::ForgeAgentStream>, Status> {
        let caller = caller(&request)?;
        unlocked(&self.host)?;
        let request = request.into_inner();
        let (id, digest) = (request.request_id.clone(), named::digest(&request));
        let forging = forging(request, &caller)?;
        let begun = Arc::new(OnceLock::new());
        let begin = begin(self.host.clone(), forging, Arc::clone(&begun));
        if id.is_empty() {
            // On a task of its own: what has begun goes on though the client leaves meanwhile.
            let begin = tokio::spawn(begin).await;
            begin.map_err(|error| Fault::internal(&error))??;
        } else {
            let principal = caller.principal.clone();
            let forge = self
                .named
                .once(principal, id.clone(), digest, begin)
                .await?;
            if begun.get().is_none() {
                return self.again(&forge.name, &id).await.map(Response::new);
            }
        }
        match begun.get() {
            Some(live) => Ok(Response::new(Arc::clone(live).follow(0))),
            None => Err(Status::internal("the forge has begun and is not there")),
        }
    }

    async fn ensure_agent(
        &self,
        request: Request<v1::EnsureAgentRequest>,
    ) -> Result<Response<v1::EnsureAgentResponse>, Status> {
        let caller = caller(&request)?;
        unlocked(&self.host)?;
        let request = request.into_inner().forge.unwrap_or_default();
        if request.validate_only {
            let message = "an agent that is to be there is published; use ForgeAgent for a dry run";
            return Err(Fault::invalid("forge.validate_only", message).into());
        }
        let forging = forging(request, &caller)?;
        let (host, agent) = (&self.host, forging.agent.clone());
        let forges = host.forges.clone();
        let ensured = tokio::spawn(async move { forges.ensure(forging).await }).await;
        let ensured = ensured.map_err(|error| Fault::internal(&error))?;
        let live = match ensured.map_err(not_begun)? {
            Ensured::There(generation) => {
                return Ok(Response::new(v1::EnsureAgentResponse {
                    agent: Some(convert::agent(&generation)),
                    forge: None,
                }));
            }
            Ensured::Forged(live) => live,
        };
        let forge = live.wait_for(|state| state == State::Waiting).await;
        let made = (forge.state() == State::Succeeded)
            .then(|| host.runtime.get(&agent))
            .flatten();
        Ok(Response::new(v1::EnsureAgentResponse {
            agent: made.map(|generation| convert::agent(&generation)),
            forge: Some(forge),
        }))
    }

    async fn get_forge(
        &self,
        request: Request<v1::GetForgeRequest>,
    ) -> Result<Response<v1::Forge>, Status> {
        let caller = caller(&request)?;
        let (_, forge) = self.visible(&request.get_ref().name, &caller).await?;
        Ok(Response::new(forge))
    }

    async fn list_forges(
        &self,
        request: Request<v1::ListForgesRequest>,
    ) -> Result<Response<v1::ListForgesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let size = paging::size(request.page_size)?;
        let after = after(&request.page_token)?;
        let agent = names::agent_filter("agent", &request.agent)?;
        let agent = agent.map(|agent| names::of_agent(&agent));
        let wanted = |forge: &v1::Forge| {
            may_see(&caller, forge) && agent.as_ref().is_none_or(|agent| *agent == forge.agent)
        };
        let page = self.host.forges.list(after, size + 1, wanted).await;
        let mut page = page.map_err(|error| Fault::internal(&error))?;
        let more = page.len() > size;
        page.truncate(size);
        let next = page.last().filter(|_| more).and_then(|last| {
            let id = names::id("name", &last.name, "forges").ok()?;
            Some(paging::token(id))
        });
        Ok(Response::new(v1::ListForgesResponse {
            forges: page,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type WatchForgeStream = Events<v1::ForgeEvent>;

    async fn watch_forge(
        &self,
        request: Request<v1::WatchForgeRequest>,
    ) -> Result<Response<Self::WatchForgeStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (id, _) = self.visible(&request.name, &caller).await?;
        if let Some(live) = self.host.forges.running_forge(id) {
            return Ok(Response::new(live.follow(request.after_sequence)));
        }
        let events = self.host.forges.events(id, request.after_sequence).await;
        let events = events.map_err(|error| Fault::internal(&error))?;
        let events = futures::stream::iter(events.into_iter().map(Ok));
        Ok(Response::new(Box::pin(events)))
    }

    async fn cancel_forge(
        &self,
        request: Request<v1::CancelForgeRequest>,
    ) -> Result<Response<v1::Forge>, Status> {
        let caller = caller(&request)?;
        let (id, forge) = self.visible(&request.get_ref().name, &caller).await?;
        let asked = AuditEvent::new(EventKind::RequestReceived)
            .principal(caller.principal.as_str())
            .detail(serde_json::json!({
                "service": "ForgeService", "verb": "cancel", "forge": id, "agent": forge.agent,
            }));
        // What only stops something is not kept from it by a disk that is full.
        if let Err(error) = self.host.services.audit.note(asked) {
            tracing::warn!(%error, forge = %id, "that it is cancelled is not recorded");
        }
        let Some(live) = self.host.forges.running_forge(id) else {
            // Cancelling what has ended changes nothing.
            return Ok(Response::new(forge));
        };
        live.stop();
        Ok(Response::new(live.wait_for(|_| false).await))
    }

    async fn get_hot_reload(
        &self,
        _: Request<v1::GetHotReloadRequest>,
    ) -> Result<Response<v1::HotReload>, Status> {
        let set = self
            .host
            .forge
            .hot_reload()
            .await
            .map_err(|error| Fault::internal(&error))?;
        Ok(Response::new(hot_reload(set)))
    }

    async fn set_hot_reload(
        &self,
        request: Request<v1::SetHotReloadRequest>,
    ) -> Result<Response<v1::HotReload>, Status> {
        let caller = caller(&request)?;
        let enabled = request.get_ref().enabled;
        let set = self
            .host
            .forge
            .set_hot_reload(enabled, &caller.principal)
            .await;
        Ok(Response::new(hot_reload(
            set.map_err(|error| Fault::internal(&error))?,
        )))
    }

    async fn trigger_hot_reload(
        &self,
        request: Request<v1::TriggerHotReloadRequest>,
    ) -> Result<Response<v1::TriggerHotReloadResponse>, Status> {
        let caller = caller(&request)?;
        unlocked(&self.host)?;
        let triggering = trigger::trigger(self.host.clone(), request.into_inner(), caller);
        // A client that leaves does not stop it halfway.
        let triggered = tokio::spawn(triggering).await;
        triggered
            .map_err(|error| Fault::internal(&error))?
            .map(Response::new)
    }

    async fn list_forged_agents(
        &self,
        request: Request<v1::ListForgedAgentsRequest>,
    ) -> Result<Response<v1::ListForgedAgentsResponse>, Status> {
        let request = request.into_inner();
        let size = paging::size(request.page_size)?;
        let after = after(&request.page_token)?;
        let mut page = self
            .host
            .forge
            .list(after, size + 1)
            .await
            .map_err(|error| Fault::internal(&error))?;
        let more = page.len() > size;
        page.truncate(size);
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| paging::token(&last.id.to_string()));
        Ok(Response::new(v1::ListForgedAgentsResponse {
            forged_agents: page.iter().map(convert::forged_agent).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }
}

impl Forging {
    /// The forge of this name, if the caller may know of it.
    async fn visible(&self, name: &str, caller: &Caller) -> Result<(ForgeId, v1::Forge), Status> {
        let unknown = || Fault::not_found("forge", name, "ListForges shows them");
        let id: ForgeId = names::id("name", name, "forges")?
            .parse()
            .map_err(|_| unknown())?;
        let found = self.host.forges.get(id).await;
        let forge = found
            .map_err(|error| Fault::internal(&error))?
            .filter(|forge| may_see(caller, forge))
            .ok_or_else(unknown)?;
        Ok((id, forge))
    }

    /// What a repeated request is told of the forge that the first one began.
    async fn again(&self, name: &str, request: &str) -> Result<Events<v1::ForgeEvent>, Status> {
        let id: ForgeId = names::id("name", name, "forges")?
            .parse()
            .map_err(|_| interrupted(request))?;
        let forges = &self.host.forges;
        if let Some(live) = forges.running_forge(id)
            && !live.has_ended()
        {
            return Ok(live.follow(0));
        }
        let forge = forges.get(id).await;
        let forge = forge.map_err(|error| Fault::internal(&error))?;
        // One of which nothing is kept any more has ended who knows how.
        let ended = forge.filter(|forge| forge.state() != State::Interrupted);
        let last = ended
            .and_then(|forge| forge.last_event)
            .ok_or_else(|| interrupted(request))?;
        Ok(Box::pin(futures::stream::iter([Ok(last)])))
    }
}

/// Forgers see what they have forged.
fn may_see(caller: &Caller, forge: &v1::Forge) -> bool {
    caller.role == Role::Operator || forge.principal == caller.principal.as_str()
}

/// Begins a forge, and says which.
async fn begin(
    host: Host,
    request: ForgeRequest,
    begun: Arc<OnceLock<Arc<Live>>>,
) -> Result<v1::Forge, Status> {
    let live = host.forges.begin(request).await;
    let live = live.map_err(not_begun)?;
    let forge = live.forge();
    begun.get_or_init(|| live);
    Ok(v1::Forge {
        name: forge.name,
        ..v1::Forge::default()
    })
}

fn not_begun(error: BeginError) -> Fault {
    match error {
        BeginError::OverBudget(over) => Fault::exhausted("FORGE_BUDGET", over.to_string())
            .with("principal", over.principal.as_str())
            .with("used", over.used.to_string())
            .with("limit", over.limit.to_string())
            .with("key", over.key)
            .retry_after(over.again),
        BeginError::Commit(error) => Fault::internal(&error),
    }
}

fn forging(request: v1::ForgeAgentRequest, caller: &Caller) -> Result<ForgeRequest, Status> {
    Ok(ForgeRequest {
        agent: names::agent_id("agent_id", &request.agent_id)?,
        mode: mode(&request)?,
        builder: builder(&request)?,
        inputs: request
            .parameters
            .iter()
            .map(input)
            .collect::<Result<_, _>>()?,
        root: origin(caller, request.root_origin())?,
        examples: examples::read(&request.examples)?,
        shadow: examples::shadow(&request)?,
        words: request.words,
        validate_only: request.validate_only,
        decides: caller.role.decides(),
        principal: caller.principal.clone(),
    })
}

fn after(page_token: &str) -> Result<Option<ForgeId>, Status> {
    let after = paging::after(page_token)?;
    let after = after.map(|id| id.parse()).transpose();
    after.map_err(|_| {
        Fault::invalid("page_token", "use the next_page_token of the page before").into()
    })
}

fn mode(request: &v1::ForgeAgentRequest) -> Result<Mode, Status> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    match request.mode() {
        v1::ForgeMode::Unspecified | v1::ForgeMode::Template => Ok(Mode::Template {
            template: given(&request.template),
            set: request.set.clone().into_iter().collect(),
        }),
        v1::ForgeMode::Source if request.source.is_empty() => Err(Fault::invalid(
            "source",
            "send src/lib.rs, which is what FORGE_MODE_SOURCE compiles",
        )
        .into()),
        v1::ForgeMode::Source if request.manifest.is_empty() => Err(Fault::invalid(
            "manifest",
            "send agent.toml, which says what the agent may do",
        )
        .into()),
        v1::ForgeMode::Source => Ok(Mode::Source {
            source: request.source.clone(),
            manifest: request.manifest.clone(),
        }),
        v1::ForgeMode::Model => Ok(Mode::Model),
    }
}

fn builder(request: &v1::ForgeAgentRequest) -> Result<Option<BuiltBy>, Status> {
    let is_template = matches!(
        request.mode(),
        v1::ForgeMode::Unspecified | v1::ForgeMode::Template
    );
    match request.builder() {
        v1::ForgeBuilder::Unspecified => Ok(None),
        v1::ForgeBuilder::Prebuilt if is_template => Ok(Some(BuiltBy::Prebuilt)),
        v1::ForgeBuilder::Prebuilt => Err(Fault::invalid(
            "builder",
            "only templates are prebuilt; leave it out to have this source compiled",
        )
        .into()),
        v1::ForgeBuilder::Local => Ok(Some(BuiltBy::Local)),
        v1::ForgeBuilder::Remote => Ok(Some(BuiltBy::Remote)),
    }
}

fn input(parameter: &v1::InputParameter) -> Result<InputParameter, Status> {
    use v1::input_parameter::Type;
    if parameter.name.is_empty() {
        return Err(Fault::invalid("parameters.name", "every parameter needs a name").into());
    }
    Ok(InputParameter {
        name: parameter.name.clone(),
        kind: match parameter.r#type() {
            Type::Unspecified | Type::String => InputType::String,
            Type::Integer => InputType::Integer,
            Type::Number => InputType::Number,
            Type::Boolean => InputType::Boolean,
            Type::Array => InputType::Array,
            Type::Object => InputType::Object,
        },
        required: parameter.required,
    })
}

fn hot_reload(set: nexus_forge::HotReload) -> v1::HotReload {
    v1::HotReload {
        enabled: set.enabled,
        update_time: set.updated_ms.map(convert::timestamp),
        principal: set
            .principal
            .map(|principal| principal.to_string())
            .unwrap_or_default(),
    }
}
