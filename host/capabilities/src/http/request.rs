//! A request being put together.

use nexus_effects::http as egress;
use nexus_effects::http::{Place, Placement};
use nexus_manifest as manifest;
use nexus_runtime::{Held, State};
use wasmtime::component::Resource;

use super::Pending;
use crate::bindings::nexus::agent::http::{Encoding, HostRequest, Method};
use crate::bindings::nexus::agent::types::Error;
use crate::error::failed;
use crate::vault::Secret;

/// What the guest has said so far. Nothing has left.
pub struct Request {
    pub(super) inner: egress::Request,
    pub(super) held: Held,
}

impl Request {
    /// Does what the guest asked for, and counts what the host holds for it then.
    fn change(
        &mut self,
        change: impl FnOnce(&mut egress::Request) -> Result<&mut egress::Request, nexus_effects::Error>,
    ) -> Done {
        let done = change(&mut self.inner).map(|_| ()).map_err(failed);
        self.held.resize(self.inner.size())?;
        Ok(done)
    }
}

type Done = wasmtime::Result<Result<(), Error>>;

impl HostRequest for State {
    async fn header(&mut self, request: Resource<Request>, name: String, value: Vec<u8>) -> Done {
        self.host_call()?;
        let request = self.table.get_mut(&request)?;
        request.change(|inner| inner.header(&name, &value))
    }

    async fn body(&mut self, request: Resource<Request>, bytes: Vec<u8>) -> Done {
        self.host_call()?;
        let request = self.table.get_mut(&request)?;
        request.change(|inner| inner.body(bytes))
    }

    async fn secret_header(
        &mut self,
        request: Resource<Request>,
        name: String,
        format: String,
        secret: Resource<Secret>,
    ) -> Done {
        place(self, request, secret, Place::Header { name, format })
    }

    async fn secret_query(
        &mut self,
        request: Resource<Request>,
        name: String,
        secret: Resource<Secret>,
    ) -> Done {
        place(self, request, secret, Place::Query { name })
    }

    async fn secret_basic(
        &mut self,
        request: Resource<Request>,
        user: String,
        secret: Resource<Secret>,
    ) -> Done {
        place(self, request, secret, Place::Basic { user })
    }

    async fn secret_form(
        &mut self,
        request: Resource<Request>,
        name: String,
        secret: Resource<Secret>,
    ) -> Done {
        place(self, request, secret, Place::Form { name })
    }

    async fn signature_header(
        &mut self,
        request: Resource<Request>,
        name: String,
        message: Vec<u8>,
        encoding: Encoding,
        secret: Resource<Secret>,
    ) -> Done {
        let (message, encoding) = (message.into(), signature_encoding(encoding));
        place(
            self,
            request,
            secret,
            Place::SignatureHeader {
                name,
                message,
                encoding,
            },
        )
    }

    async fn signature_query(
        &mut self,
        request: Resource<Request>,
        name: String,
        message: Vec<u8>,
        encoding: Encoding,
        secret: Resource<Secret>,
    ) -> Done {
        let (message, encoding) = (message.into(), signature_encoding(encoding));
        place(
            self,
            request,
            secret,
            Place::SignatureQuery {
                name,
                message,
                encoding,
            },
        )
    }

    async fn send(
        &mut self,
        request: Resource<Request>,
    ) -> wasmtime::Result<Result<Resource<Pending>, Error>> {
        self.host_call()?;
        let request = self.table.delete(request)?;
        if let Err(error) = request.inner.check() {
            return Ok(Err(failed(error)));
        }
        let pending = super::start(self, request);
        Ok(Ok(self.table.push(pending)?))
    }

    async fn drop(&mut self, request: Resource<Request>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

fn place(
    state: &mut State,
    request: Resource<Request>,
    secret: Resource<Secret>,
    place: Place,
) -> Done {
    state.host_call()?;
    let secret = state.table.get(&secret)?.name.clone();
    let request = state.table.get_mut(&request)?;
    request.change(|inner| inner.place(Placement { secret, place }))
}

pub(super) fn method(method: Method) -> manifest::Method {
    match method {
        Method::Get => manifest::Method::Get,
        Method::Head => manifest::Method::Head,
        Method::Options => manifest::Method::Options,
        Method::Post => manifest::Method::Post,
        Method::Put => manifest::Method::Put,
        Method::Patch => manifest::Method::Patch,
        Method::Delete => manifest::Method::Delete,
    }
}

fn signature_encoding(encoding: Encoding) -> egress::Encoding {
    match encoding {
        Encoding::Hex => egress::Encoding::Hex,
        Encoding::Base64 => egress::Encoding::Base64,
    }
}
