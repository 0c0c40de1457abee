//! A host that is ahead of the agent: version 0.1.1, with one more function in each interface.

use std::collections::BTreeMap;

use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

wasmtime::component::bindgen!({
    path: "golden/wit-0.1.1",
    world: "nexus:agent/agent",
    imports: { default: trappable },
    require_store_data_send: true,
});

use nexus::agent::types::{Access, Error};
use nexus::agent::{bus, config, http, log, memory, types, vault};

/// A host that keeps one space, and refuses the rest.
struct Later {
    table: ResourceTable,
    wasi: WasiCtx,
    space: BTreeMap<String, Vec<u8>>,
    logged: Vec<String>,
}

impl WasiView for Later {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

fn refused<T>() -> Answer<T> {
    Ok(Err(Error::Forbidden(
        "this host has only memory".to_owned(),
    )))
}

impl types::Host for Later {}

impl config::Host for Later {
    fn version(&mut self) -> wasmtime::Result<String> {
        Ok("0.1.1".to_owned())
    }

    fn get(&mut self) -> wasmtime::Result<String> {
        Ok("{\"colour\":\"blue\"}".to_owned())
    }
}

impl log::Host for Later {
    fn flush(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: log::Level, message: String) -> wasmtime::Result<()> {
        self.logged.push(message);
        Ok(())
    }

    fn progress(&mut self, _: f64, _: String) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl vault::Host for Later {}

impl vault::HostSecret for Later {
    fn open(&mut self, _: String) -> Answer<Resource<vault::Secret>> {
        refused()
    }

    fn name(&mut self, _: Resource<vault::Secret>) -> wasmtime::Result<String> {
        Ok(String::new())
    }

    fn drop(&mut self, _: Resource<vault::Secret>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl memory::Host for Later {}

impl memory::HostSpace for Later {
    fn open(&mut self, _: String, _: Access) -> Answer<Resource<memory::Space>> {
        Ok(Ok(Resource::new_own(1)))
    }

    fn get(&mut self, _: Resource<memory::Space>, key: String) -> Answer<Option<memory::Entry>> {
        let value = self.space.get(&key).cloned();
        Ok(Ok(value.map(|value| memory::Entry {
            key,
            value,
            revision: 1,
        })))
    }

    fn scan(
        &mut self,
        _: Resource<memory::Space>,
        _: String,
        _: Option<String>,
        _: u32,
    ) -> Answer<memory::Page> {
        refused()
    }

    fn put(&mut self, _: Resource<memory::Space>, key: String, value: Vec<u8>) -> Answer<u64> {
        self.space.insert(key, value);
        Ok(Ok(1))
    }

    fn put_if(
        &mut self,
        _: Resource<memory::Space>,
        _: String,
        _: Vec<u8>,
        _: Option<u64>,
    ) -> Answer<Option<u64>> {
        refused()
    }

    fn delete(&mut self, _: Resource<memory::Space>, _: String) -> Answer<()> {
        refused()
    }

    fn count(&mut self, _: Resource<memory::Space>) -> Answer<u64> {
        Ok(Ok(self.space.len() as u64))
    }

    fn drop(&mut self, _: Resource<memory::Space>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http::Host for Later {}

impl http::HostOrigin for Later {
    fn open(&mut self, _: String) -> Answer<Resource<http::Origin>> {
        refused()
    }

    fn request(
        &mut self,
        _: Resource<http::Origin>,
        _: http::Method,
        _: String,
    ) -> Answer<Resource<http::Request>> {
        refused()
    }

    fn url(&mut self, _: Resource<http::Origin>) -> wasmtime::Result<String> {
        Ok(String::new())
    }

    fn drop(&mut self, _: Resource<http::Origin>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http::HostRequest for Later {
    fn header(&mut self, _: Resource<http::Request>, _: String, _: Vec<u8>) -> Answer<()> {
        refused()
    }

    fn body(&mut self, _: Resource<http::Request>, _: Vec<u8>) -> Answer<()> {
        refused()
    }

    fn secret_header(
        &mut self,
        _: Resource<http::Request>,
        _: String,
        _: String,
        _: Resource<vault::Secret>,
    ) -> Answer<()> {
        refused()
    }

    fn secret_query(
        &mut self,
        _: Resource<http::Request>,
        _: String,
        _: Resource<vault::Secret>,
    ) -> Answer<()> {
        refused()
    }

    fn secret_basic(
        &mut self,
        _: Resource<http::Request>,
        _: String,
        _: Resource<vault::Secret>,
    ) -> Answer<()> {
        refused()
    }

    fn secret_form(
        &mut self,
        _: Resource<http::Request>,
        _: String,
        _: Resource<vault::Secret>,
    ) -> Answer<()> {
        refused()
    }

    fn signature_header(
        &mut self,
        _: Resource<http::Request>,
        _: String,
        _: Vec<u8>,
        _: http::Encoding,
        _: Resource<vault::Secret>,
    ) -> Answer<()> {
        refused()
    }

    fn signature_query(
        &mut self,
        _: Resource<http::Request>,
        _: String,
        _: Vec<u8>,
        _: http::Encoding,
        _: Resource<vault::Secret>,
    ) -> Answer<()> {
        refused()
    }

    fn send(&mut self, _: Resource<http::Request>) -> Answer<Resource<http::Pending>> {
        refused()
    }

    fn drop(&mut self, _: Resource<http::Request>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http::HostPending for Later {
    fn wait(&mut self, _: Resource<http::Pending>) -> Answer<http::Response> {
        refused()
    }

    fn drop(&mut self, _: Resource<http::Pending>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl bus::Host for Later {
    fn count(&mut self) -> Answer<u32> {
        Ok(Ok(0))
    }

    fn peers(&mut self) -> Answer<Vec<bus::Card>> {
        Ok(Ok(Vec::new()))
    }
}

impl bus::HostPeer for Later {
    fn find(&mut self, _: String) -> Answer<Resource<bus::Peer>> {
        refused()
    }

    fn card(&mut self, _: Resource<bus::Peer>) -> wasmtime::Result<bus::Card> {
        Err(wasmtime::Error::msg("there is no peer"))
    }

    fn call(&mut self, _: Resource<bus::Peer>, _: String) -> Answer<Resource<bus::Pending>> {
        refused()
    }

    fn drop(&mut self, _: Resource<bus::Peer>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl bus::HostPending for Later {
    fn wait(&mut self, _: Resource<bus::Pending>) -> Answer<Result<String, types::Failure>> {
        refused()
    }

    fn drop(&mut self, _: Resource<bus::Pending>) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[test]
fn a_host_with_more_functions_runs_the_agent_of_before() -> anyhow::Result<()> {
    let engine = Engine::default();
    let agent = Component::new(&engine, super::agent("0.1.0")).map_err(anyhow::Error::from)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    // Only what bears the name of 0.1.1 is there; the agent asks for 0.1.0.
    config::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    log::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    types::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    vault::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    memory::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    http::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    bus::add_to_linker::<_, HasSelf<Later>>(&mut linker, |state| state)?;
    let state = Later {
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().build(),
        space: BTreeMap::new(),
        logged: Vec::new(),
    };
    let mut store = Store::new(&engine, state);
    let instance = linker.instantiate(&mut store, &agent)?;
    let handler = instance
        .get_export_index(&mut store, None, "nexus:agent/handler@0.1.0")
        .unwrap();
    let invoke = instance
        .get_export_index(&mut store, Some(&handler), "invoke")
        .unwrap();
    type Invoked = (Result<String, types::Failure>,);
    let invoke = instance.get_typed_func::<(&str,), Invoked>(&mut store, invoke)?;
    let steps = serde_json::json!([
        { "call": "config.get" },
        { "call": "log.write", "level": "info", "value": "on a later host" },
        { "call": "memory.space.open", "name": "kept", "access": "read-write", "as": "s" },
        { "call": "memory.space.put", "on": "s", "key": "k", "value": "v" },
        { "call": "memory.space.get", "on": "s", "key": "k" },
        { "call": "http.origin.open", "url": "https://example.com", "as": "o" },
    ]);
    let (answer,) = invoke.call(&mut store, (&steps.to_string(),))?;
    let results: serde_json::Value = serde_json::from_str(&answer.unwrap())?;
    assert_eq!(results[0]["ok"], "{\"colour\":\"blue\"}");
    assert_eq!(results[4]["ok"]["value"], "v");
    assert_eq!(results[5]["error"], "forbidden");
    assert_eq!(store.data().logged, ["on a later host"]);
    Ok(())
}
