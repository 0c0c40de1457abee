//! `memory`: durable key-value spaces.

use nexus_effects::memory::{Call, Key, MAX_VALUE, Range};
use nexus_gate::{EffectClass, Label, Permit, kind};
use nexus_manifest::SpaceName;
use nexus_runtime::State;
use wasmtime::component::Resource;

use crate::bindings::nexus::agent::memory::{Entry, Host, HostSpace, Page};
use crate::bindings::nexus::agent::types::{Access, Error};
use crate::error::{failed, not_granted, refused};
use crate::rehearsed;

/// The right to use one space.
pub struct Space {
    name: SpaceName,
    writes: bool,
}

impl Host for State {}

impl HostSpace for State {
    async fn open(
        &mut self,
        name: String,
        access: Access,
    ) -> wasmtime::Result<Result<Resource<Space>, Error>> {
        self.host_call()?;
        let name: SpaceName = match name.parse() {
            Ok(name) => name,
            Err(error) => return Ok(Err(Error::Invalid(format!("{error}")))),
        };
        let writes = access == Access::ReadWrite;
        match self.context().manifest.memory(name.as_str()) {
            None => {
                let reason = format!("the manifest has no memory permission for the space {name}");
                Ok(Err(not_granted(self, "memory", name.as_str(), reason)))
            }
            Some(nexus_manifest::Access::Read) if writes => {
                let reason =
                    format!("the manifest's memory permission for the space {name} is for reading");
                Ok(Err(not_granted(self, "memory", name.as_str(), reason)))
            }
            Some(_) => Ok(Ok(self.table.push(Space { name, writes })?)),
        }
    }

    async fn get(
        &mut self,
        space: Resource<Space>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Entry>, Error>> {
        self.host_call()?;
        let space = self.table.get(&space)?.name.clone();
        Ok(get(self, space, key).await)
    }

    async fn scan(
        &mut self,
        space: Resource<Space>,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Page, Error>> {
        self.host_call()?;
        let space = self.table.get(&space)?.name.clone();
        Ok(scan(self, space, prefix, after, limit).await)
    }

    async fn put(
        &mut self,
        space: Resource<Space>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        self.host_call()?;
        let space = match writable(self, &space)? {
            Ok(space) => space,
            Err(error) => return Ok(Err(error)),
        };
        Ok(put(self, space, key, value).await)
    }

    async fn put_if(
        &mut self,
        space: Resource<Space>,
        key: String,
        value: Vec<u8>,
        revision: Option<u64>,
    ) -> wasmtime::Result<Result<Option<u64>, Error>> {
        self.host_call()?;
        let space = match writable(self, &space)? {
            Ok(space) => space,
            Err(error) => return Ok(Err(error)),
        };
        Ok(put_if(self, space, key, value, revision).await)
    }

    async fn delete(
        &mut self,
        space: Resource<Space>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.host_call()?;
        let space = match writable(self, &space)? {
            Ok(space) => space,
            Err(error) => return Ok(Err(error)),
        };
        Ok(delete(self, space, key).await)
    }

    async fn drop(&mut self, space: Resource<Space>) -> wasmtime::Result<()> {
        self.table.delete(space)?;
        Ok(())
    }
}

/// The space of a handle that was opened for writing.
fn writable(state: &State, space: &Resource<Space>) -> wasmtime::Result<Result<SpaceName, Error>> {
    let space = state.table.get(space)?;
    let name = &space.name;
    if space.writes {
        return Ok(Ok(name.clone()));
    }
    let reason = format!("the handle of the space {name} was opened for reading");
    Ok(Err(not_granted(state, "memory", name.as_str(), reason)))
}

async fn get(state: &mut State, space: SpaceName, key: String) -> Result<Option<Entry>, Error> {
    let key = Key::new(space, key).map_err(failed)?;
    if let Some(rehearsal) = state.rehearsal() {
        let made = rehearsal.written(key.space(), key.as_str());
        if made.is_some() || !rehearsal.is_shadow() {
            let key = key.as_str().to_owned();
            let found = made.flatten();
            return Ok(found.map(|found| entry(state, rehearsed::of(key, found))));
        }
    }
    let permit = check::<kind::MemoryRead>(state, &Call::Get(key.clone())).await?;
    let private = private(state, key.space());
    let found = state
        .services()
        .memory
        .get(permit, key)
        .await
        .map_err(failed)?;
    // That there is nothing tells something, too.
    state.add_labels(private);
    Ok(found.map(|found| entry(state, found)))
}

async fn scan(
    state: &mut State,
    space: SpaceName,
    prefix: String,
    after: Option<String>,
    limit: u32,
) -> Result<Page, Error> {
    let shadow = state.rehearsal();
    if let Some(rehearsal) = shadow.as_deref().filter(|found| !found.is_shadow()) {
        let (found, next) = rehearsed::scan(rehearsal, &space, &prefix, after.as_deref(), limit);
        let entries = found.into_iter().map(|found| entry(state, found)).collect();
        return Ok(Page { entries, next });
    }
    let asked = shadow.map(|shadow| (shadow, space.clone(), prefix.clone(), after.clone()));
    let range = Range::new(space, prefix, after, limit).map_err(failed)?;
    let permit = check::<kind::MemoryRead>(state, &Call::Scan(range.clone())).await?;
    let private = private(state, range.space());
    let page = state
        .services()
        .memory
        .scan(permit, range)
        .await
        .map_err(failed)?;
    state.add_labels(private);
    let page = match &asked {
        Some((shadow, space, prefix, after)) => {
            rehearsed::over(shadow, (space, prefix, after.as_deref()), page)
        }
        None => page,
    };
    Ok(Page {
        entries: page
            .entries
            .into_iter()
            .map(|found| entry(state, found))
            .collect(),
        next: page.next,
    })
}

async fn put(
    state: &mut State,
    space: SpaceName,
    key: String,
    value: Vec<u8>,
) -> Result<u64, Error> {
    let key = Key::new(space, key).map_err(failed)?;
    let value = sized(value)?;
    if let Some(rehearsal) = state.rehearsal() {
        rehearsed::plan(state, &rehearsal, &Call::Put(key.clone(), value.clone()));
        return Ok(rehearsal.put(key.space(), key.as_str(), value.to_vec()));
    }
    let permit = check::<kind::MemoryWrite>(state, &Call::Put(key.clone(), value.clone())).await?;
    let value = written(&permit, value);
    state
        .services()
        .memory
        .put(permit, key, value)
        .await
        .map_err(failed)
}

async fn put_if(
    state: &mut State,
    space: SpaceName,
    key: String,
    value: Vec<u8>,
    revision: Option<u64>,
) -> Result<Option<u64>, Error> {
    let key = Key::new(space, key).map_err(failed)?;
    let value = sized(value)?;
    if let Some(rehearsal) = state.rehearsal() {
        let call = Call::PutIf(key.clone(), value.clone(), revision);
        rehearsed::plan(state, &rehearsal, &call);
        let found = get(state, key.space().clone(), key.as_str().to_owned()).await?;
        return Ok((found.map(|found| found.revision) == revision)
            .then(|| rehearsal.put(key.space(), key.as_str(), value.to_vec())));
    }
    let permit =
        check::<kind::MemoryWrite>(state, &Call::PutIf(key.clone(), value.clone(), revision))
            .await?;
    let value = written(&permit, value);
    let private = private(state, key.space());
    let compared = state
        .services()
        .memory
        .put_if(permit, key, value, revision)
        .await
        .map_err(failed)?;
    // Whether it was as expected tells something of what is stored.
    state.add_labels(private);
    state.add_labels(compared.labels);
    Ok(compared.revision)
}

async fn delete(state: &mut State, space: SpaceName, key: String) -> Result<(), Error> {
    let key = Key::new(space, key).map_err(failed)?;
    if let Some(rehearsal) = state.rehearsal() {
        rehearsed::plan(state, &rehearsal, &Call::Delete(key.clone()));
        rehearsal.delete(key.space(), key.as_str());
        return Ok(());
    }
    let permit = check::<kind::MemoryWrite>(state, &Call::Delete(key.clone())).await?;
    state
        .services()
        .memory
        .delete(permit, key)
        .await
        .map_err(failed)
}

/// Refuses a value that is too large before anybody is asked about it.
fn sized(value: Vec<u8>) -> Result<bytes::Bytes, Error> {
    if value.len() > MAX_VALUE {
        return Err(Error::Invalid(format!(
            "a value has at most {MAX_VALUE} bytes"
        )));
    }
    Ok(value.into())
}

/// The value that may be written: the agent's, or what a person has put in its place.
fn written(permit: &Permit<kind::MemoryWrite>, value: bytes::Bytes) -> bytes::Bytes {
    match permit.action().payload.part("value") {
        Some(edited) if permit.edited() => edited.bytes.clone(),
        _ => value,
    }
}

/// Takes a call through the gate.
async fn check<K: nexus_gate::Kind>(state: &mut State, call: &Call) -> Result<Permit<K>, Error> {
    let sequence = state.next_sequence();
    let mut labels = state.labels();
    if K::CLASS > EffectClass::Read {
        // Stored with the value, so that it stays private wherever the space is named.
        labels.extend(private(state, call.space()));
    }
    let action = call.action(state.context().clone(), sequence, labels);
    state.watch().check(&action).await.map_err(failed)?;
    let shadow = state.rehearsal();
    let told = shadow.map(|shadow| (shadow, format!("memory {} {}", action.verb, action.target)));
    let gate = state.services().gate.clone();
    let checked = gate.check::<K>(action, &*state.observer()).await;
    state.waited();
    if let Some((shadow, told)) = told {
        match &checked {
            Ok(_) => shadow.saw(&told),
            Err(refusal) => shadow.missed(&told, &refusal.to_string()),
        }
    }
    checked.map_err(refused)
}

/// What is known of everything in a space: it is private if the operator or the agent's manifest says so.
fn private(state: &State, space: &SpaceName) -> Option<Label> {
    let marked = state.context().manifest.space(space.as_str());
    let private =
        marked.is_some_and(|memory| memory.private) || state.services().memory.is_private(space);
    private.then_some(Label::Private)
}

/// What is known of the stored value becomes known of the guest.
fn entry(state: &State, found: nexus_effects::memory::Entry) -> Entry {
    state.add_labels(found.labels);
    Entry {
        key: found.key,
        value: found.value,
        revision: found.revision,
    }
}
