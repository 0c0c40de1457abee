//! The manifest, every value checked.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::Error;
use crate::limits::{self, Limits};
use crate::name::{AgentName, NameError, SecretName, Tag};
use crate::origin::Origin;
use crate::permission::{
    Access, Class, HttpPermission, MemoryPermission, Peer, PeerPermission, Permission, ReadRule,
    SecretPermission,
};
use crate::raw;
use crate::schedule::Schedule;
use crate::schema::Schema;
use crate::target::Target;

/// The longest manifest, in bytes.
const MAX_BYTES: usize = 128 * 1024;

/// What an agent says of itself and what it asks for.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its name on a host.
    pub name: AgentName,
    /// Its version, as its author counts.
    pub version: String,
    /// One line on what it does, in its author's words.
    pub summary: String,
    /// By which peers may be allowed to call it.
    pub tags: Vec<Tag>,
    /// What inputs it takes; any JSON if it says nothing.
    pub input: Option<Schema>,
    /// What outputs it gives.
    pub output: Option<Schema>,
    /// What `config.get` returns.
    pub config: Map<String, Value>,
    /// Everything it may ask the host for.
    pub permissions: Vec<Permission>,
    /// Its own limits.
    pub limits: Limits,
    /// When it asks to be run.
    pub schedule: Option<Schedule>,
    /// The text it was read from.
    pub text: String,
}

impl Manifest {
    /// Reads and checks `agent.toml`. Unknown keys are refused.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::TooLarge(text.len()));
        }
        let raw: raw::Manifest = toml::from_str(text)
            .map_err(|error| Error::Toml(error.to_string().trim_end().to_owned()))?;
        if raw.format != 1 {
            return Err(Error::Format(raw.format));
        }
        if raw.version.is_empty() || raw.version.len() > 64 {
            return Err(value("version", "write 1 to 64 bytes, such as 0.1.0"));
        }
        if raw.summary.len() > 1024 {
            return Err(value("summary", "keep it to 1024 bytes"));
        }
        let tags = raw
            .tags
            .iter()
            .map(|tag| tag.parse())
            .collect::<Result<_, _>>();
        Ok(Self {
            name: raw.name.parse().map_err(name("name"))?,
            version: raw.version,
            summary: raw.summary,
            tags: tags.map_err(name("tags"))?,
            input: raw
                .input
                .map(|source| schema("input", source))
                .transpose()?,
            output: raw
                .output
                .map(|source| schema("output", source))
                .transpose()?,
            config: raw.config,
            permissions: permissions(raw.permissions)?,
            limits: own_limits(&raw.limits)?,
            schedule: raw.schedule.map(|s| Schedule {
                cron: s.cron,
                zone: s.zone,
                input: s.input,
            }),
            text: text.to_owned(),
        })
    }

    /// The digest of the permissions alone: equal when, and only when, the powers asked are equal.
    pub fn permissions_digest(&self) -> Digest {
        let mut lines: Vec<_> = self.permissions.iter().map(|p| format!("{p:?}")).collect();
        lines.sort();
        Digest::of_parts(lines.iter().map(String::as_bytes))
    }

    /// What it may send to `origin`; several permissions may name the same origin.
    pub fn http<'a>(&'a self, origin: &'a Origin) -> impl Iterator<Item = &'a HttpPermission> {
        self.permissions
            .iter()
            .filter_map(move |permission| match permission {
                Permission::Http(http) if http.origin == *origin => Some(http),
                _ => None,
            })
    }

    /// The permission to use a secret.
    pub fn secret(&self, name: &str) -> Option<&SecretPermission> {
        self.permissions
            .iter()
            .find_map(|permission| match permission {
                Permission::Secret(secret) if secret.name.as_str() == name => Some(secret),
                _ => None,
            })
    }

    /// What it may do in a memory space.
    pub fn memory(&self, space: &str) -> Option<Access> {
        self.space(space).map(|memory| memory.access)
    }

    /// The permission to use a memory space.
    pub fn space(&self, space: &str) -> Option<&MemoryPermission> {
        self.permissions
            .iter()
            .find_map(|permission| match permission {
                Permission::Memory(memory) if memory.space.as_str() == space => Some(memory),
                _ => None,
            })
    }

    /// Whether it may call an agent of this name and these tags.
    pub fn peer(&self, name: &AgentName, tags: &[Tag]) -> bool {
        self.peers(name, tags).next().is_some()
    }

    /// At least how far a call of such an agent reaches.
    pub fn peer_class(&self, name: &AgentName, tags: &[Tag]) -> Option<Class> {
        self.peers(name, tags)
            .filter_map(|permission| permission.class)
            .max()
    }

    fn peers(&self, name: &AgentName, tags: &[Tag]) -> impl Iterator<Item = &PeerPermission> {
        self.permissions
            .iter()
            .filter_map(|permission| match permission {
                Permission::Peer(permission) => Some(permission),
                _ => None,
            })
            .filter(move |permission| match &permission.peer {
                Peer::Agent(agent) => agent == name,
                Peer::Tag(tag) => tags.contains(tag),
            })
    }
}

fn value(at: &'static str, reason: impl Into<String>) -> Error {
    Error::Value {
        at,
        reason: reason.into(),
    }
}

fn name(at: &'static str) -> impl FnOnce(NameError) -> Error {
    move |source| Error::Name { at, source }
}

fn schema(at: &'static str, source: Value) -> Result<Schema, Error> {
    Schema::new(source).map_err(|source| Error::Schema { at, source })
}

fn own_limits(raw: &raw::Limits) -> Result<Limits, Error> {
    let time = |at, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => limits::duration(text)
            .map(Some)
            .ok_or_else(|| value(at, "write a whole number and ms, s, m or h, such as 5s")),
    };
    let memory = match &raw.memory {
        None => None,
        Some(text) => Some(limits::size(text).ok_or_else(|| {
            value(
                "limits.memory",
                "write a whole number and KiB, MiB or GiB, such as 64MiB",
            )
        })?),
    };
    Ok(Limits {
        memory,
        cpu: time("limits.cpu", &raw.cpu)?,
        wall: time("limits.wall", &raw.wall)?,
    })
}

/// Checks each permission; one secret or space named twice would be read in two ways.
fn permissions(raw: Vec<raw::Permission>) -> Result<Vec<Permission>, Error> {
    if raw.len() > 64 {
        return Err(value("permission", "ask for 64 permissions at most"));
    }
    let mut seen = HashSet::new();
    raw.into_iter()
        .map(|raw| match raw {
            raw::Permission::Http(raw) => http(raw).map(Permission::Http),
            raw::Permission::Secret(raw) => {
                let name: SecretName = raw.name.parse().map_err(name("permission.secret.name"))?;
                if !seen.insert(format!("secret {name}")) {
                    return Err(value("permission.secret", format!("{name} stands twice")));
                }
                let audience = raw
                    .audience
                    .iter()
                    .map(|text| origin("permission.secret.audience", text));
                let audience: Vec<Origin> = audience.collect::<Result<_, _>>()?;
                if audience.is_empty() || audience.iter().any(|origin| !origin.is_https()) {
                    return Err(value(
                        "permission.secret.audience",
                        "name at least one origin, all https",
                    ));
                }
                Ok(Permission::Secret(SecretPermission {
                    name,
                    audience,
                    reveal: raw.reveal,
                }))
            }
            raw::Permission::Memory(raw) => {
                let space = raw.space.parse().map_err(name("permission.memory.space"))?;
                if !seen.insert(format!("memory {space}")) {
                    return Err(value("permission.memory", format!("{space} stands twice")));
                }
                Ok(Permission::Memory(MemoryPermission {
                    space,
                    access: raw.access,
                    private: raw.private,
                    class: raw.class,
                }))
            }
            raw::Permission::Peer(raw) => {
                let peer = match (raw.agent, raw.tag) {
                    (Some(agent), None) => agent
                        .parse()
                        .map(Peer::Agent)
                        .map_err(name("permission.peer.agent")),
                    (None, Some(tag)) => tag
                        .parse()
                        .map(Peer::Tag)
                        .map_err(name("permission.peer.tag")),
                    _ => Err(value("permission.peer", "name either `agent` or `tag`")),
                }?;
                let class = raw.class;
                Ok(Permission::Peer(PeerPermission { peer, class }))
            }
        })
        .collect()
}

fn origin(at: &'static str, text: &str) -> Result<Origin, Error> {
    text.parse().map_err(|source| Error::Origin { at, source })
}

fn http(raw: raw::Http) -> Result<HttpPermission, Error> {
    let methods: Vec<_> = raw
        .methods
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(Error::Method)?;
    if methods.is_empty() {
        return Err(value("permission.http.methods", "name at least one method"));
    }
    if raw.paths.is_empty() {
        return Err(value(
            "permission.http.paths",
            "name at least one path, such as /v1 or /*",
        ));
    }
    for path in &raw.paths {
        let exact = path
            .strip_suffix('*')
            .filter(|p| p.ends_with('/'))
            .unwrap_or(path);
        let target: Target = exact
            .parse()
            .map_err(|error| value("permission.http.paths", format!("{error}")))?;
        if target.query().is_some() || exact.contains('*') {
            let reason = "write a path such as /v1, or /v1/* for everything below it";
            return Err(value("permission.http.paths", reason));
        }
    }
    for ReadRule { pointer, values } in &raw.reads {
        if !pointer.starts_with('/') || values.is_empty() {
            let reason = "name a JSON Pointer such as /method and at least one value";
            return Err(value("permission.http.reads", reason));
        }
    }
    let origin = origin("permission.http.origin", &raw.origin)?;
    Ok(HttpPermission {
        origin,
        methods,
        paths: raw.paths,
        reads: raw.reads,
        class: raw.class,
    })
}
