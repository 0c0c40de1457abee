//! One call of a capability function: its name in the WIT, its arguments, and what came of it.

use nexus_agent::bindings::nexus::agent::types::{Access, Error as WitError};
use nexus_agent::bindings::nexus::agent::{bus, config, http, log, memory, vault};
use nexus_agent::prelude::{Deserialize, Value, json};
use nexus_agent::{Error, Failure, fail};

use crate::handles::{Handle, Handles};

/// A step of the input. `call` is `interface.resource.function` as in the WIT; the rest are its arguments.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    call: String,
    /// The handle that a method is called on, or that a static function consumes.
    on: String,
    /// The name that a new handle gets.
    #[serde(rename = "as")]
    handle: String,
    /// The secret's handle, for the functions that take one.
    secret: String,
    name: String,
    url: String,
    method: String,
    target: String,
    format: String,
    encoding: String,
    access: String,
    key: String,
    value: String,
    prefix: String,
    after: Option<String>,
    limit: u32,
    revision: Option<u64>,
    level: String,
    fraction: f64,
    /// JSON for a peer.
    input: Value,
}

/// What a step came to: `{"ok": ...}` or `{"error": "<code>", "text": "..."}`.
fn outcome<T>(result: Result<T, WitError>, show: impl FnOnce(T) -> Value) -> Value {
    match result {
        Ok(value) => json!({ "ok": show(value) }),
        Err(error) => {
            let error = Error::from(error);
            json!({ "error": error.code(), "text": error.to_string() })
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Step {
    pub(crate) fn run(&self, handles: &mut Handles) -> Result<Value, Failure> {
        match self.call.split_once('.').unwrap_or_default() {
            ("http", _) => self.http(handles),
            ("memory", _) => self.memory(handles),
            ("bus", _) => self.bus(handles),
            _ => self.rest(handles),
        }
    }

    fn http(&self, handles: &mut Handles) -> Result<Value, Failure> {
        let done = |()| Value::Null;
        let value = self.value.as_bytes();
        Ok(match self.call.as_str() {
            "http.origin.open" => outcome(http::Origin::open(&self.url), |origin| {
                self.keep(handles, Handle::Origin(origin))
            }),
            "http.origin.request" => {
                let result = handles
                    .origin(&self.on)?
                    .request(self.method()?, &self.target);
                outcome(result, |request| {
                    self.keep(handles, Handle::Request(request))
                })
            }
            "http.request.header" => {
                outcome(handles.request(&self.on)?.header(&self.name, value), done)
            }
            "http.request.body" => outcome(handles.request(&self.on)?.body(value), done),
            "http.request.secret-header" => {
                let secret = handles.secret(&self.secret)?;
                outcome(
                    handles
                        .request(&self.on)?
                        .secret_header(&self.name, &self.format, secret),
                    done,
                )
            }
            "http.request.secret-query" => {
                let secret = handles.secret(&self.secret)?;
                outcome(
                    handles.request(&self.on)?.secret_query(&self.name, secret),
                    done,
                )
            }
            "http.request.secret-basic" => {
                let secret = handles.secret(&self.secret)?;
                outcome(
                    handles.request(&self.on)?.secret_basic(&self.name, secret),
                    done,
                )
            }
            "http.request.secret-form" => {
                let secret = handles.secret(&self.secret)?;
                outcome(
                    handles.request(&self.on)?.secret_form(&self.name, secret),
                    done,
                )
            }
            "http.request.signature-header" => {
                let (secret, encoding) = (handles.secret(&self.secret)?, self.encoding()?);
                outcome(
                    handles
                        .request(&self.on)?
                        .signature_header(&self.name, value, encoding, secret),
                    done,
                )
            }
            "http.request.signature-query" => {
                let (secret, encoding) = (handles.secret(&self.secret)?, self.encoding()?);
                outcome(
                    handles
                        .request(&self.on)?
                        .signature_query(&self.name, value, encoding, secret),
                    done,
                )
            }
            "http.request.send" => {
                let result = http::Request::send(handles.take_request(&self.on)?);
                outcome(result, |pending| {
                    self.keep(handles, Handle::Response(pending))
                })
            }
            "http.pending.wait" => {
                let result = http::Pending::wait(handles.take_response(&self.on)?);
                outcome(result, |response| {
                    let headers: Vec<_> = response
                        .headers
                        .iter()
                        .map(|(name, value)| json!([name, text(value)]))
                        .collect();
                    json!({ "status": response.status, "headers": headers, "body": text(&response.body) })
                })
            }
            _ => return self.unknown(),
        })
    }

    fn memory(&self, handles: &mut Handles) -> Result<Value, Failure> {
        let value = self.value.as_bytes();
        let entry = |entry: memory::Entry| json!({ "key": entry.key, "value": text(&entry.value), "revision": entry.revision });
        Ok(match self.call.as_str() {
            "memory.space.open" => {
                outcome(memory::Space::open(&self.name, self.access()?), |space| {
                    self.keep(handles, Handle::Space(space))
                })
            }
            "memory.space.get" => outcome(handles.space(&self.on)?.get(&self.key), |found| {
                found.map_or(Value::Null, entry)
            }),
            "memory.space.scan" => {
                let result =
                    handles
                        .space(&self.on)?
                        .scan(&self.prefix, self.after.as_deref(), self.limit);
                outcome(result, |page| {
                    let entries: Vec<_> = page.entries.into_iter().map(entry).collect();
                    json!({ "entries": entries, "next": page.next })
                })
            }
            "memory.space.put" => {
                outcome(handles.space(&self.on)?.put(&self.key, value), |revision| {
                    json!(revision)
                })
            }
            "memory.space.put-if" => outcome(
                handles
                    .space(&self.on)?
                    .put_if(&self.key, value, self.revision),
                |revision| json!(revision),
            ),
            "memory.space.delete" => {
                outcome(handles.space(&self.on)?.delete(&self.key), |()| Value::Null)
            }
            _ => return self.unknown(),
        })
    }

    fn bus(&self, handles: &mut Handles) -> Result<Value, Failure> {
        let card = |card: bus::Card| json!({ "name": card.name, "summary": card.summary, "tags": card.tags, "input-schema": card.input_schema });
        Ok(match self.call.as_str() {
            "bus.peer.find" => outcome(bus::Peer::find(&self.name), |peer| {
                self.keep(handles, Handle::Peer(peer))
            }),
            "bus.peer.card" => json!({ "ok": card(handles.peer(&self.on)?.card()) }),
            "bus.peer.call" => {
                let result = handles.peer(&self.on)?.call(&self.input.to_string());
                outcome(result, |pending| self.keep(handles, Handle::Reply(pending)))
            }
            "bus.pending.wait" => {
                let result = bus::Pending::wait(handles.take_reply(&self.on)?);
                outcome(result, |reply| match reply {
                    Ok(output) => json!({ "output": output }),
                    Err(failure) => {
                        json!({ "failure": { "code": failure.code, "message": failure.message } })
                    }
                })
            }
            "bus.peers" => outcome(bus::peers(), |cards| cards.into_iter().map(card).collect()),
            _ => return self.unknown(),
        })
    }

    fn rest(&self, handles: &mut Handles) -> Result<Value, Failure> {
        Ok(match self.call.as_str() {
            "vault.secret.open" => outcome(vault::Secret::open(&self.name), |secret| {
                self.keep(handles, Handle::Secret(secret))
            }),
            "config.get" => json!({ "ok": config::get() }),
            "log.write" => {
                log::write(self.level()?, &self.value);
                json!({ "ok": null })
            }
            "log.progress" => {
                log::progress(self.fraction, &self.value);
                json!({ "ok": null })
            }
            "fail" => fail!(self.name.as_str(), "{}", self.value),
            "drop" => json!({ "ok": handles.drop(&self.on) }),
            _ => return self.unknown(),
        })
    }

    fn keep(&self, handles: &mut Handles, handle: Handle) -> Value {
        handles.put(&self.handle, handle);
        Value::Null
    }

    fn unknown(&self) -> Result<Value, Failure> {
        fail!("bad-step", "there is no function {}", self.call)
    }

    fn method(&self) -> Result<http::Method, Failure> {
        Ok(match self.method.as_str() {
            "get" => http::Method::Get,
            "head" => http::Method::Head,
            "options" => http::Method::Options,
            "post" => http::Method::Post,
            "put" => http::Method::Put,
            "patch" => http::Method::Patch,
            "delete" => http::Method::Delete,
            other => fail!("bad-step", "there is no method {other}"),
        })
    }

    fn encoding(&self) -> Result<http::Encoding, Failure> {
        Ok(match self.encoding.as_str() {
            "hex" => http::Encoding::Hex,
            "base64" => http::Encoding::Base64,
            other => fail!("bad-step", "there is no encoding {other}"),
        })
    }

    fn access(&self) -> Result<Access, Failure> {
        Ok(match self.access.as_str() {
            "read" => Access::Read,
            "read-write" => Access::ReadWrite,
            other => fail!("bad-step", "there is no access {other}"),
        })
    }

    fn level(&self) -> Result<log::Level, Failure> {
        Ok(match self.level.as_str() {
            "debug" => log::Level::Debug,
            "info" => log::Level::Info,
            "warn" => log::Level::Warn,
            "error" => log::Level::Error,
            other => fail!("bad-step", "there is no level {other}"),
        })
    }
}
