//! What a policy is asked: everything that a policy can see, and nothing it cannot.

use nexus_manifest::{Digest, Host, Scheme};

use crate::class::permissions_are_free;
use crate::grants::http_target;
use crate::{Action, ActionKind, EffectClass, Label, Payload, entropy};

/// What the gate knows beside the action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// No person has yet seen this agent, with these permissions, go where this action goes.
    pub first_use: bool,
}

/// A policy's whole view of an action. Equal questions have equal answers, which makes them cacheable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub(crate) action: &'static str,
    pub(crate) agent: String,
    pub(crate) capability: &'static str,
    pub(crate) chain: Vec<String>,
    pub(crate) chain_class: &'static str,
    pub(crate) class: &'static str,
    pub(crate) component: Digest,
    pub(crate) first_use: bool,
    pub(crate) free_permissions: bool,
    pub(crate) high_entropy: bool,
    pub(crate) host_kind: &'static str,
    pub(crate) labels: Vec<String>,
    pub(crate) origin: &'static str,
    pub(crate) person: String,
    pub(crate) target: String,
    pub(crate) url: Option<Url>,
    pub(crate) verb: String,
    /// A publication says that it asks for more than a person has accepted.
    pub(crate) widens: bool,
    /// A publication says that the component was tried with real reads, for a person to look at.
    pub(crate) shadowed: bool,
}

/// The field of a publication that says whether it asks for more than a person has accepted.
pub const WIDENS: &str = "widens";

/// The field of a publication that says what the component did in its shadow runs.
pub const SHADOW_RUNS: &str = "shadow_runs";

/// Where an http action goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Question {
    /// The question that an action poses.
    pub fn of(action: &Action, facts: Facts) -> Self {
        let context = &*action.context;
        let mut labels: Vec<String> = action
            .labels
            .iter()
            .chain(&context.labels)
            .map(Label::to_string)
            .collect();
        if labels.iter().any(|label| label.starts_with("secret:")) {
            labels.push("secret".to_owned());
        }
        labels.sort();
        labels.dedup();
        let mut high_entropy = false;
        let (host_kind, url) = match http_target(&action.target) {
            Some((origin, target)) if action.capability == "http" => {
                let url = Url {
                    scheme: match origin.scheme() {
                        Scheme::Http => "http",
                        Scheme::Https => "https",
                    },
                    host: host_text(origin.host()),
                    port: origin.port(),
                    path: target.path().to_owned(),
                };
                high_entropy = entropy::is_high(target.as_str(), header_values(&action.payload));
                (host_kind(origin.host()), Some(url))
            }
            _ => ("none", None),
        };
        Self {
            action: match action.kind {
                ActionKind::Effect => action.class.as_str(),
                other => other.as_str(),
            },
            agent: context.agent.to_string(),
            capability: action.capability,
            chain: context
                .chain
                .iter()
                .map(|agent| agent.to_string())
                .collect(),
            chain_class: context.chain_class.as_str(),
            class: action.class.as_str(),
            component: context.component,
            first_use: facts.first_use,
            // One that takes another owner's place comes with a stricter class.
            free_permissions: action.kind == ActionKind::Publish
                && action.class <= EffectClass::Internal
                && permissions_are_free(&context.manifest.permissions),
            high_entropy,
            host_kind,
            labels,
            origin: context.root.as_str(),
            person: context.principal.to_string(),
            target: action.target.clone(),
            url,
            verb: action.verb.clone(),
            widens: action.kind == ActionKind::Publish && action.payload.fields[WIDENS] == true,
            shadowed: action.kind == ActionKind::Publish
                && action.payload.fields.get(SHADOW_RUNS).is_some(),
        }
    }

    /// Whether data that must not leave may be carried out of the host by an invocation that has seen
    /// data from outside, which may carry instructions.
    pub(crate) fn carries_labelled_data_out(&self) -> bool {
        let has = |label: &str| self.labels.iter().any(|other| other == label);
        self.capability == "http" && has("untrusted") && (has("secret") || has("private"))
    }
}

/// The values of the headers that the agent gave.
fn header_values(payload: &Payload) -> impl Iterator<Item = &[u8]> {
    let headers = payload.fields["headers"].as_array();
    headers.into_iter().flatten().map(|header| {
        // Bytes that are no text are shown escaped, next to their name.
        let text = header.as_str().or_else(|| header["value"].as_str());
        text.unwrap_or_default().as_bytes()
    })
}

/// The host as it stands in an origin, an IPv6 address without its brackets.
fn host_text(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::V4(address) => address.to_string(),
        Host::V6(address) => address.to_string(),
    }
}

/// How a host is named: loopback stands apart, for it never leaves the machine.
fn host_kind(host: &Host) -> &'static str {
    match host {
        Host::V4(address) if address.is_loopback() => "loopback",
        Host::V6(address) if address.is_loopback() => "loopback",
        Host::V4(_) | Host::V6(_) => "address",
        Host::Name(name) if name.split('.').any(|label| label.starts_with("xn--")) => "idn",
        Host::Name(_) => "name",
    }
}
