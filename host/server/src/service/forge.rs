//! `ForgeService`: words in, events out, and at their end an agent.

mod told;

use std::sync::Arc;

use futures::StreamExt as _;
use nexus_forge::{ForgedId, InputParameter, InputType, Mode, Request as ForgeRequest};
use nexus_proto::v1;
use nexus_proto::v1::forge_service_server::ForgeService;
use tonic::{Request, Response, Status};

pub(crate) use self::told::Told;
use super::{Events, caller, unlocked};
use crate::fault::Fault;
use crate::host::Host;
use crate::requests::Requests;
use crate::{convert, names, paging};

/// See the module.
pub(crate) struct Forging {
    pub(crate) host: Host,
    /// The forges that their clients have named.
    pub(crate) forges: Requests<Arc<Told>>,
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
        let (id, digest) = (request.request_id.clone(), told::digest(&request));
        let principal = caller.principal.clone();
        let forging = ForgeRequest {
            agent: names::agent_id("agent_id", &request.agent_id)?,
            mode: mode(&request)?,
            inputs: request
                .parameters
                .iter()
                .map(input)
                .collect::<Result<_, _>>()?,
            words: request.words,
            validate_only: request.validate_only,
            decides: caller.role.decides(),
            principal: caller.principal,
        };
        if !id.is_empty() {
            let (forge, forges) = (self.host.forge.clone(), self.forges.clone());
            return told::once(forge, forges, principal, id, digest, forging)
                .await
                .map(Response::new);
        }
        // The forge runs to its end by itself; a client that leaves finds it in the list.
        let events = self.host.forge.forge(forging);
        Ok(Response::new(Box::pin(
            events.map(|event| Ok(convert::forge_event(&event))),
        )))
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

    async fn list_forged_agents(
        &self,
        request: Request<v1::ListForgedAgentsRequest>,
    ) -> Result<Response<v1::ListForgedAgentsResponse>, Status> {
        let request = request.into_inner();
        let size = paging::size(request.page_size)?;
        let after: Option<ForgedId> = match paging::after(&request.page_token)? {
            Some(id) => Some(id.parse().map_err(|_| {
                Fault::invalid("page_token", "use the next_page_token of the page before")
            })?),
            None => None,
        };
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
