//! `MemoryService`: the operator's way into memory spaces.

use bytes::Bytes;
use nexus_audit::{Event, EventKind};
use nexus_effects::memory::{Key, MAX_SCAN, Memory, Range};
use nexus_manifest::SpaceName;
use nexus_proto::v1;
use nexus_proto::v1::memory_service_server::MemoryService;
use tonic::{Code, Request, Response, Status};

use super::caller;
use crate::auth::Caller;
use crate::fault::Fault;
use crate::paging;

/// See the module.
pub(crate) struct Spaces {
    pub(crate) memory: Memory,
}

#[tonic::async_trait]
impl MemoryService for Spaces {
    async fn get_entry(
        &self,
        request: Request<v1::GetEntryRequest>,
    ) -> Result<Response<v1::Entry>, Status> {
        let caller = caller(&request)?;
        let name = &request.get_ref().name;
        let key = entry_name(name)?;
        let found = self
            .memory
            .operator_get(&key, event(&caller, "get", name))
            .await
            .map_err(refuse)?;
        let found = found.ok_or_else(|| {
            Fault::not_found("entry", name, "ListEntries shows the keys of a space")
        })?;
        Ok(Response::new(entry(
            key.space(),
            found.key,
            found.value,
            found.revision,
        )))
    }

    async fn put_entry(
        &self,
        request: Request<v1::PutEntryRequest>,
    ) -> Result<Response<v1::Entry>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let key = entry_name(&request.name)?;
        let value = Bytes::from(request.value.clone());
        let event = event(&caller, "put", &request.name);
        let revision = match (request.create_only, request.etag.as_str()) {
            (false, "") => self
                .memory
                .operator_put(&key, value, event)
                .await
                .map_err(refuse)?,
            (create_only, etag) => {
                let expected = if create_only {
                    None
                } else {
                    Some(revision(etag)?)
                };
                let put = self
                    .memory
                    .operator_put_if(&key, value, expected, event)
                    .await;
                put.map_err(refuse)?.ok_or_else(|| {
                    if create_only {
                        present(&request.name)
                    } else {
                        stale(&request.name)
                    }
                })?
            }
        };
        Ok(Response::new(entry(
            key.space(),
            key.as_str().to_owned(),
            request.value,
            revision,
        )))
    }

    async fn delete_entry(
        &self,
        request: Request<v1::DeleteEntryRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let key = entry_name(&request.name)?;
        let event = event(&caller, "delete", &request.name);
        if request.etag.is_empty() {
            let deleted = self.memory.operator_delete(&key, event).await;
            deleted.map_err(refuse)?;
        } else {
            let seen = revision(&request.etag)?;
            let deleted = self.memory.operator_delete_if(&key, seen, event).await;
            if !deleted.map_err(refuse)? {
                return Err(stale(&request.name));
            }
        }
        Ok(Response::new(()))
    }

    async fn list_entries(
        &self,
        request: Request<v1::ListEntriesRequest>,
    ) -> Result<Response<v1::ListEntriesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let space = space(
            "parent",
            crate::names::id("parent", &request.parent, "spaces")?,
        )?;
        let size = u32::try_from(paging::size(request.page_size)?)
            .unwrap_or(MAX_SCAN)
            .min(MAX_SCAN);
        let after = paging::after(&request.page_token)?;
        let range = Range::new(space.clone(), request.prefix, after, size).map_err(refuse)?;
        let page = self
            .memory
            .operator_scan(&range, event(&caller, "scan", &request.parent))
            .await;
        let page = page.map_err(refuse)?;
        Ok(Response::new(v1::ListEntriesResponse {
            next_page_token: page.next.as_deref().map(paging::token).unwrap_or_default(),
            entries: page
                .entries
                .into_iter()
                .map(|found| entry(&space, found.key, found.value, found.revision))
                .collect(),
        }))
    }
}

/// What the trail says of an operator's access.
fn event(caller: &Caller, verb: &str, name: &str) -> Event {
    Event::new(EventKind::RequestReceived)
        .principal(caller.principal.as_str())
        .detail(serde_json::json!({ "service": "MemoryService", "verb": verb, "name": name }))
}

fn entry_name(name: &str) -> Result<Key, Status> {
    let parts = name
        .strip_prefix("spaces/")
        .and_then(|rest| rest.split_once("/entries/"));
    let (id, key) =
        parts.ok_or_else(|| Fault::invalid("name", "write it as spaces/SPACE/entries/KEY"))?;
    Key::new(space("name", id)?, key).map_err(refuse)
}

fn space(field: &str, id: &str) -> Result<SpaceName, Status> {
    id.parse()
        .map_err(|error: nexus_manifest::NameError| Fault::invalid(field, error.to_string()).into())
}

fn revision(etag: &str) -> Result<u64, Status> {
    etag.parse()
        .map_err(|_| Fault::invalid("etag", "use the etag of an entry as it was read").into())
}

fn stale(name: &str) -> Status {
    let message = format!("{name} has changed since you read it; read it again");
    Fault::new(Code::Aborted, "STALE_ETAG", message).into()
}

fn present(name: &str) -> Status {
    let message = format!("{name} is there already; write it without create_only to replace it");
    Fault::new(Code::AlreadyExists, "ALREADY_EXISTS", message).into()
}

fn entry(space: &SpaceName, key: String, value: Vec<u8>, revision: u64) -> v1::Entry {
    v1::Entry {
        name: format!("spaces/{space}/entries/{key}"),
        value,
        revision,
        etag: revision.to_string(),
    }
}

fn refuse(error: nexus_effects::Error) -> Status {
    match error {
        nexus_effects::Error::Invalid(message) => Fault::invalid("entry", message),
        nexus_effects::Error::Exhausted(message) => Fault::exhausted("MEMORY_LIMIT", message),
        nexus_effects::Error::DiskFull => Fault::disk_full(),
        error => Fault::internal(&error),
    }
    .into()
}
