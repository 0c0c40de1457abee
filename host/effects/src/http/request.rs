//! A request being put together: everything the agent says, and secrets by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use nexus_gate::{Action, ActionKind, Context, EffectClass, Label, Payload};
use nexus_manifest::{Method, Origin, Target};
use nexus_vault::Vault;
use serde_json::{Value, json};

use super::headers;
use super::placement::{self, Place, Placement};
use crate::Error;
use crate::beside::beside;
use crate::leak::Scanner;
use crate::show::show;
use crate::watch::{Watch, carried, pieces};

/// The largest body of a request.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
const MAX_PLACEMENTS: usize = 8;
pub(super) const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// A request that can be sent as it is shown.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) origin: Origin,
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Bytes,
    pub(super) placements: Vec<Placement>,
    /// What else the agent that sends it must not have in it.
    pub(super) watch: Watch,
}

impl Request {
    /// Begins a request.
    pub fn new(origin: Origin, method: Method, target: Target) -> Self {
        Self {
            origin,
            method,
            target,
            headers: Vec::new(),
            body: Bytes::new(),
            placements: Vec::new(),
            watch: Watch::default(),
        }
    }

    /// Searches what the agent supplied for the secrets that are placed in it and those of the
    /// invocation that it belongs to, before anybody sees it. What is placed is watched from then on.
    ///
    /// [`Egress::send`](super::Egress::send) does it again, with the secrets as they are by then.
    pub async fn screen(
        &mut self,
        action: &Action,
        vault: &Vault,
        watch: &Watch,
    ) -> Result<(), Error> {
        self.watch = watch.clone();
        for placement in &self.placements {
            // One that does not open is told of when it is to be used.
            if let Ok(secret) = vault.open_secret(&placement.secret).await {
                watch.add(secret.name().as_str(), secret.expose().as_bytes());
                // Nobody is asked about what can't be sent.
                placement.meant_for(&self.origin, &secret)?;
            }
        }
        watch.check(action).await?;
        self.search_watched().await
    }

    /// Refuses what carries a secret that the invocation had put into requests.
    pub(super) async fn search_watched(&self) -> Result<(), Error> {
        match self.watch.scanner() {
            Some(scanner) => self.search_beside(scanner).await,
            None => Ok(()),
        }
    }

    /// Refuses what carries one of these secrets.
    pub(super) async fn search_beside(&self, scanner: Arc<Scanner>) -> Result<(), Error> {
        if scanner.is_empty() {
            return Ok(());
        }
        let request = self.clone();
        beside(self.size(), move || request.search(&scanner)).await
    }

    /// Refuses what carries a secret, in one field or over several.
    fn search(&self, scanner: &Scanner) -> Result<(), Error> {
        let joined = self.joined();
        let found = self
            .supplied()
            .chain(joined.iter().map(Vec::as_slice))
            .find_map(|bytes| scanner.find(bytes));
        match found {
            Some(name) => Err(carried(name)),
            None => Ok(()),
        }
    }

    /// The request that an edited action describes, without its secrets: they are not a person's to
    /// place.
    pub(crate) fn written(action: &Action) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid(why.to_owned());
        let text = &action.target;
        let path = text
            .find("://")
            .and_then(|at| text[at + 3..].find('/').map(|slash| at + 3 + slash))
            .ok_or_else(|| invalid("the target is no URL"))?;
        let origin = text[..path].parse();
        let target = text[path..].parse();
        let method = action.verb.parse();
        let (Ok(origin), Ok(target), Ok(method)) = (origin, target, method) else {
            return Err(invalid("the target or the method can't be sent"));
        };
        let mut request = Self::new(origin, method, target);
        if request.action_target() != *text {
            return Err(invalid("the target is not in its canonical form"));
        }
        if let Some(headers) = action.payload.fields.get("headers") {
            for header in headers
                .as_array()
                .ok_or_else(|| invalid("`headers` is no list"))?
            {
                let header = header.as_str().and_then(|header| header.split_once(": "));
                let (name, value) =
                    header.ok_or_else(|| invalid("a header is written \"name: value\""))?;
                request.header(name, value.as_bytes())?;
            }
        }
        if let Some(part) = action.payload.part("body") {
            request.body(part.bytes.clone())?;
        }
        Ok(request)
    }

    /// This request as a person has edited it, with the secrets where the agent has put them.
    pub fn amended(&self, action: &Action) -> Result<Self, Error> {
        let mut request = Self::written(action)?;
        // What was used or seen before is looked for in this answer as in any other.
        request.watch = self.watch.clone();
        for placement in &self.placements {
            request.place(placement.clone())?;
        }
        request.check()?;
        Ok(request)
    }

    /// Adds a header. Refuses names that frame the message, belong to the next hop or carry
    /// credentials, values with control characters, and more than [`MAX_HEADERS`](super::MAX_HEADERS)
    /// or [`MAX_HEADER_BYTES`](super::MAX_HEADER_BYTES).
    pub fn header(&mut self, name: &str, value: &[u8]) -> Result<&mut Self, Error> {
        let name = headers::check(&self.headers, name, value)?;
        if self.placed_header(&name) {
            return Err(Error::Invalid(format!("the header {name} is given twice")));
        }
        self.fits(name.len() + value.len())?;
        self.headers.push((name, value.to_vec()));
        Ok(self)
    }

    /// Sets the body.
    pub fn body(&mut self, body: impl Into<Bytes>) -> Result<&mut Self, Error> {
        let body = body.into();
        if !body.is_empty() {
            self.takes_body()?;
        }
        if body.len() > MAX_BODY {
            return Err(Error::Invalid(format!(
                "a body has at most {MAX_BODY} bytes"
            )));
        }
        self.body = body;
        Ok(self)
    }

    /// Names a secret that the host will put in when it sends the request.
    pub fn place(&mut self, placement: Placement) -> Result<&mut Self, Error> {
        placement.check()?;
        if !self.origin.is_https() {
            return Err(Error::Forbidden(format!(
                "{} is not https: a secret is never sent in clear",
                self.origin
            )));
        }
        if self.placements.len() >= MAX_PLACEMENTS {
            return Err(Error::Invalid(format!(
                "a request has at most {MAX_PLACEMENTS} secrets"
            )));
        }
        if let Some(name) = placement.header_name()
            && (self.placed_header(&name) || self.given(&name).is_some())
        {
            return Err(Error::Invalid(format!("the header {name} is given twice")));
        }
        if let Some(size) = placement.header_size() {
            self.fits(size)?;
        }
        if let Some(name) = placement.query_name() {
            let given = placement::names(self.target.query().unwrap_or_default().as_bytes());
            let placed = self
                .placements
                .iter()
                .any(|other| other.query_name() == Some(name));
            if placed || given.iter().any(|other| other == name.as_bytes()) {
                return Err(Error::Invalid(format!(
                    "the query parameter {name} is given twice"
                )));
            }
        }
        if let Place::Form { .. } = placement.place {
            self.takes_body()?;
        }
        self.placements.push(placement);
        Ok(self)
    }

    /// Refuses what shows only once the request is complete: a form field that is given twice or in a
    /// body of another type, and an encoding of the response that could hide a secret.
    pub fn check(&self) -> Result<(), Error> {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        for placement in &self.placements {
            let Place::Form { name } = &placement.place else {
                continue;
            };
            if fields.is_empty() {
                self.check_form()?;
                fields = placement::names(&self.body);
            }
            if fields.iter().any(|other| other == name.as_bytes()) {
                return Err(Error::Invalid(format!(
                    "the form field {name} is given twice"
                )));
            }
            fields.push(name.clone().into_bytes());
        }
        let accepted = self
            .given("accept-encoding")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let mut accepted = accepted.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        if !self.placements.is_empty()
            && accepted.any(|name| !matches!(name, b"" | b"gzip" | b"identity"))
        {
            return Err(Error::Invalid(
                "a request with secrets accepts no encoding but gzip and identity".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_form(&self) -> Result<(), Error> {
        let given = self.given("content-type").map(<[u8]>::to_ascii_lowercase);
        let essence = given
            .as_deref()
            .map(|text| text.split(|&byte| byte == b';').next().unwrap_or_default());
        match essence.map(<[u8]>::trim_ascii) {
            None | Some(FORM) => Ok(()),
            Some(_) => Err(Error::Invalid(
                "a secret in a form needs a body of type application/x-www-form-urlencoded"
                    .to_owned(),
            )),
        }
    }

    /// Where it goes.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Path and query, as the agent gave them.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The secrets to put in, by name.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Everything that will be sent and is not in the action's verb and target: headers, secrets by
    /// name, and the body. The host adds `host`, `content-length`, and, where the agent has none,
    /// `user-agent` and `accept-encoding`.
    pub fn payload(&self) -> Payload {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| match std::str::from_utf8(value) {
                // A name has no colon, so this can be read back.
                Ok(text) => json!(format!("{name}: {text}")),
                Err(_) => json!({ "name": name, "value": show(value) }),
            })
            .collect();
        let mut fields = serde_json::Map::new();
        if !headers.is_empty() {
            fields.insert("headers".to_owned(), headers.into());
        }
        if !self.placements.is_empty() {
            let placements: Vec<Value> = self.placements.iter().map(Placement::shown).collect();
            fields.insert("secrets".to_owned(), placements.into());
        }
        let payload = Payload::new(Value::Object(fields));
        if self.body.is_empty() {
            return payload;
        }
        let media_type = self.given("content-type").map(String::from_utf8_lossy);
        let media_type = media_type.as_deref().unwrap_or("application/octet-stream");
        payload.with_part("body", media_type, self.body.clone())
    }

    /// The action that sends this request, as it is given to the gate.
    pub fn action(&self, context: Arc<Context>, sequence: u64, labels: BTreeSet<Label>) -> Action {
        Action {
            kind: ActionKind::Effect,
            context,
            sequence,
            capability: "http",
            verb: self.method.as_str().to_owned(),
            target: self.action_target(),
            // The gate raises it to what the manifest says of this request.
            class: EffectClass::Read,
            labels,
            payload: self.payload(),
        }
    }

    pub(super) fn action_target(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }

    pub(super) fn given(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_slice())
    }

    /// How many bytes of the agent's it is made of.
    pub fn size(&self) -> usize {
        self.supplied().map(<[u8]>::len).sum()
    }

    /// Every text and byte that comes from the agent.
    pub(super) fn supplied(&self) -> impl Iterator<Item = &[u8]> {
        let headers = self
            .headers
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.as_slice()]);
        [self.target.as_str().as_bytes(), &self.body]
            .into_iter()
            .chain(headers)
            .chain(self.placements.iter().flat_map(Placement::supplied))
    }

    /// The values that the agent could have split a secret over: of its query, its headers and its
    /// body, each in their order.
    pub(super) fn joined(&self) -> Vec<Vec<u8>> {
        let query = self.target.as_str().split_once('?').map_or("", |(_, q)| q);
        let query = pieces(query.as_bytes()).concat();
        let values = self.headers.iter().map(|(_, value)| value.as_slice());
        let headers: Vec<u8> = values
            .chain([self.body.as_ref()])
            .flatten()
            .copied()
            .collect();
        vec![query, headers, pieces(&self.body).concat()]
    }

    /// Whether one more header of this size may be added.
    fn fits(&self, size: usize) -> Result<(), Error> {
        let given = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let placed = self.placements.iter().filter_map(Placement::header_size);
        headers::check_size(given.chain(placed).chain([size]))
    }

    fn placed_header(&self, name: &str) -> bool {
        self.placements
            .iter()
            .any(|other| other.header_name().as_deref() == Some(name))
    }

    fn takes_body(&self) -> Result<(), Error> {
        match self.method {
            // Servers disagree on whether there is one, which is how requests are smuggled.
            Method::Get | Method::Head => Err(Error::Invalid(format!(
                "a {} request has no body",
                self.method.as_str()
            ))),
            _ => Ok(()),
        }
    }
}
