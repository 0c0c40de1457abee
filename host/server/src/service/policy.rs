//! `PolicyService`: what agents may do, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::{
    Callee, Context, InvocationId, Label, Policy, PolicyChange, PolicySource, Principal,
    SetPolicyError, Sketch,
};
use nexus_proto::v1;
use nexus_proto::v1::policy_service_server::PolicyService;
use nexus_runtime::Runtime;
use tonic::{Code, Request, Response, Status};

use super::caller;
use crate::auth::Caller;
use crate::fault::Fault;
use crate::policy::HostPolicy;
use crate::{convert, names};

/// See the module.
pub(crate) struct Policies {
    pub(crate) policy: HostPolicy,
    pub(crate) runtime: Runtime,
}

#[tonic::async_trait]
impl PolicyService for Policies {
    async fn get_policy(
        &self,
        _: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::Policy>, Status> {
        let in_force = self.policy.gate().policy_in_force();
        let refused = self.policy.refused();
        Ok(Response::new(convert::policy(&in_force, refused)))
    }

    async fn set_policy(
        &self,
        request: Request<v1::SetPolicyRequest>,
    ) -> Result<Response<v1::Policy>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let gate = self.policy.gate();
        let (policy, source) = match (request.use_shipped, request.text.is_empty()) {
            (true, true) => (Policy::shipped(), PolicySource::Shipped),
            (true, false) => {
                return Err(Fault::invalid("text", "leave it empty with use_shipped").into());
            }
            // An empty policy permits nothing at all, which is hardly ever meant.
            (false, true) => {
                let message = "write the policy here, or set use_shipped; a policy that permits nothing is a comment";
                return Err(Fault::invalid("text", message).into());
            }
            (false, false) => match Policy::parse(&request.text) {
                Ok(policy) => (policy, PolicySource::Set),
                Err(error) => {
                    if !request.validate_only {
                        gate.refuse_policy(PolicySource::Set, &caller.principal, &error)
                            .await
                            .map_err(|error| self.refuse(error))?;
                    }
                    return Err(invalid(&error).into());
                }
            },
        };
        let replaces = match request.etag.as_str() {
            "" => None,
            etag => Some(
                etag.parse()
                    .map_err(|_| Fault::invalid("etag", "use the etag that GetPolicy answers"))?,
            ),
        };
        if request.validate_only {
            let mut shown = gate.policy_in_force();
            shown.policy = Arc::new(policy);
            shown.source = source;
            return Ok(Response::new(convert::policy(&shown, None)));
        }
        let change = PolicyChange {
            policy,
            source,
            principal: caller.principal,
            replaces,
        };
        let set = gate
            .set_policy(change)
            .await
            .map_err(|error| self.refuse(error))?;
        Ok(Response::new(convert::policy(&set, None)))
    }

    async fn explain_action(
        &self,
        request: Request<v1::ExplainActionRequest>,
    ) -> Result<Response<v1::Explanation>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let action = self
            .sketch(&request)
            .action(Arc::new(self.context(&request, &caller)?))
            .map_err(|error| Fault::invalid("verb", error.to_string()))?;
        let explanation = self.policy.gate().explain(action);
        Ok(Response::new(convert::explanation(&explanation)))
    }
}

impl Policies {
    /// Who would act: the agent as it is now.
    fn context(
        &self,
        request: &v1::ExplainActionRequest,
        caller: &Caller,
    ) -> Result<Context, Status> {
        let agent = names::agent("agent", &request.agent)?;
        let live = self
            .runtime
            .get(&agent)
            .ok_or_else(|| Fault::not_found("agent", &request.agent, "ListAgents shows them"))?;
        let chain = request
            .chain
            .iter()
            .map(|name| names::agent("chain", name))
            .collect::<Result<_, _>>()?;
        let labels = request
            .labels
            .iter()
            .map(|label| label.parse::<Label>())
            .collect::<Result<BTreeSet<_>, _>>()
            .map_err(|error| Fault::invalid("labels", error.to_string()))?;
        Ok(Context {
            agent,
            component: live.digest,
            manifest: Arc::clone(&live.manifest),
            principal: match request.principal.as_str() {
                "" => caller.principal.clone(),
                name => Principal::new(name),
            },
            invocation: InvocationId::new(),
            root: convert::root_origin(request.root_origin()),
            chain,
            chain_class: convert::effect_class(request.chain_class()),
            reviewed: live.reviewed,
            shadow: false,
            labels,
        })
    }

    fn sketch(&self, request: &v1::ExplainActionRequest) -> Sketch {
        let capability = match request.capability.as_str() {
            "" => "http",
            capability => capability,
        };
        let peer = match capability {
            "bus" => request.target.parse().ok(),
            _ => None,
        };
        let peer = peer.and_then(|peer| self.runtime.get(&peer));
        let tags = peer.iter().flat_map(|peer| &peer.manifest.tags);
        Sketch {
            kind: convert::action_kind(request.kind()),
            class: convert::effect_class(request.effect_class()),
            headers: request.headers.clone(),
            body: request.body.clone(),
            tags: tags.map(ToString::to_string).collect(),
            callee: peer
                .as_ref()
                .map(|peer| Callee::new(peer.digest, peer.owner.clone(), &peer.manifest)),
            ..Sketch::new(capability, &*request.verb, &*request.target)
        }
    }

    fn refuse(&self, error: SetPolicyError) -> Status {
        match error {
            SetPolicyError::FromFile => {
                let file = self.policy.file().map_or_else(String::new, |file| {
                    format!(" {}", file.display())
                });
                Fault::precondition(
                    "POLICY_IS_A_FILE",
                    format!("the policy comes from the file{file}; change it there and send the host SIGHUP"),
                )
            }
            SetPolicyError::Stale { .. } => Fault::new(
                Code::Aborted,
                "STALE_ETAG",
                "the policy has changed since you read it; read it again",
            ),
            SetPolicyError::Unavailable(why) => {
                tracing::error!(error = why, "a change of policy could not be recorded");
                Fault::unavailable(
                    "NOT_RECORDED",
                    "the change could not be recorded, so it was not made; the host's log says why",
                )
            }
        }
        .into()
    }
}

fn invalid(error: &nexus_gate::PolicyError) -> Fault {
    let message = format!("{error}; `nexus policy show --schema` prints what a policy sees");
    Fault::invalid_as("INVALID_POLICY", "text", message)
}
