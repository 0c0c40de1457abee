//! Another NEXUS host that compiles for this one, over its `BuildService`. What it answers is taken
//! for hostile: bounded, and held against what was asked.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource as _};
use futures::{Stream, StreamExt as _};
use nexus_effects::operator_egress::{OperatorClient, OperatorError, OperatorOptions};
use nexus_manifest::{Digest, Manifest, Origin, Target, package};
use serde::Deserialize;
use serde_json::{Value, json};

use super::builder::{COMPONENT_BYTES, SOURCE_BYTES};
use super::{Built, BuiltBy, Diagnostic, Error, Level, diagnostic};

/// A host that builds, as the configuration names it.
#[derive(Debug, Clone)]
pub struct Remote {
    client: Arc<OperatorClient>,
    host: Origin,
    /// Whether every source goes there of which no request says otherwise.
    pub always: bool,
}

/// Why a building host gave no component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The configuration names none.
    #[error("find a building host: none is configured; name one under [forge.remote]")]
    NotConfigured,
    /// It can't be reached, or answered too late or too much.
    #[error("ask the building host")]
    Unreachable(#[source] nexus_effects::Error),
    /// It said no.
    #[error("the building host {host} refused, status {status}: {message}")]
    Refused {
        /// Which host.
        host: String,
        /// The status of HTTP, or of gRPC if the stream had begun.
        status: i64,
        /// The reason of its error, such as `BUILD_LIMIT`; empty if it gave none.
        reason: String,
        /// In its own words, cut.
        message: String,
    },
    /// It said something that no building host says.
    #[error("the building host {host} does not answer as one: {what}")]
    Garbage {
        /// Which host.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// The digest that it announced is not that of what it sent.
    #[error(
        "the building host {host} announced the component {announced} and sent {sent}; nothing of it is used"
    )]
    OtherDigest {
        /// Which host.
        host: String,
        /// What it said.
        announced: Digest,
        /// What its bytes are.
        sent: Digest,
    },
    /// The component carries another manifest than the one that was sent.
    #[error(
        "the component from the building host {host} does not carry the manifest that was sent: {what}"
    )]
    OtherManifest {
        /// Which host.
        host: String,
        /// What it carries.
        what: String,
    },
}

/// Where a building host listens, in its JSON.
const TARGET: &str = "/v1/components:build";
/// Its answer in all: a component in base64, and what is around it.
const ANSWER_BYTES: usize = 48 << 20;
/// From the question to the last byte. The first build of a host also compiles its libraries.
const PATIENCE: Duration = Duration::from_secs(600);
/// A building host says every 15 seconds that it is still there.
const SILENCE: Duration = Duration::from_secs(60);
/// What is kept of its words,
const TEXT_BYTES: usize = 2_000;
/// of its lines of progress,
const LINES: usize = 32;
/// and of the flags that it names.
const FLAGS: usize = 64;

/// One message of the stream, as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    log: Option<String>,
    diagnostics: Option<Diagnostics>,
    component: Option<Head>,
    chunk: Option<String>,
}

#[derive(Deserialize)]
struct Diagnostics {
    #[serde(default)]
    diagnostics: Vec<Finding>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Finding {
    severity: String,
    code: String,
    message: String,
    line: u32,
    column: u32,
    rendered: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    component_digest: Digest,
    /// JSON has 64-bit numbers as texts.
    size_bytes: String,
    #[serde(default)]
    toolchain: String,
    #[serde(default)]
    flags: Vec<String>,
}

/// What has come so far.
#[derive(Default)]
struct Answer {
    lines: usize,
    found: Vec<Diagnostic>,
    head: Option<(Head, usize)>,
    component: Vec<u8>,
}

impl Remote {
    /// A building host at this origin. In clear it is reached on this machine only, unless `options`
    /// say otherwise.
    pub fn new(
        host: Origin,
        options: OperatorOptions,
        always: bool,
    ) -> Result<Self, OperatorError> {
        let options = OperatorOptions {
            idle_timeout: SILENCE,
            total_timeout: PATIENCE,
            max_bytes: ANSWER_BYTES,
            ..options
        };
        let client = OperatorClient::new("building host", host.clone(), options)?;
        Ok(Self {
            client: Arc::new(client),
            host,
            always,
        })
    }

    /// Has `source` compiled with `manifest` there; `told` gets its lines of progress. Cancel-safe.
    pub(crate) async fn build(
        &self,
        source: &str,
        manifest: &str,
        told: impl Fn(&str),
    ) -> Result<Built, Error> {
        if source.len() > SOURCE_BYTES {
            return Err(Error::SourceTooLarge {
                bytes: source.len(),
            });
        }
        let parsed = Manifest::parse(manifest).map_err(Error::Manifest)?;
        let target: Target = TARGET
            .parse()
            .map_err(|error| self.garbage(format!("{error}")))?;
        let body = json!({ "source": source, "manifest": manifest }).to_string();
        let response = self
            .client
            .post(&target, "application/json", "text/event-stream", body)
            .await
            .map_err(RemoteError::Unreachable)?;
        if response.status != 200 {
            let status = i64::from(response.status);
            return Err(self.refused(status, &beginning(response.body).await).into());
        }
        let mut events = response.body.eventsource();
        let mut answer = Answer::default();
        loop {
            let event = match events.next().await {
                Some(Ok(event)) => event,
                Some(Err(EventStreamError::Transport(error))) => {
                    return Err(RemoteError::Unreachable(error).into());
                }
                Some(Err(other)) => return Err(self.garbage(other.to_string()).into()),
                None => return Err(self.garbage("its answer is cut off".to_owned()).into()),
            };
            match event.event.as_str() {
                "end" => break,
                "error" => return Err(self.refused(0, &event.data).into()),
                _ => self.read(&event.data, &mut answer, &told)?,
            }
        }
        self.check(answer, parsed, manifest)
    }

    /// Takes one message in.
    fn read(
        &self,
        data: &str,
        answer: &mut Answer,
        told: &impl Fn(&str),
    ) -> Result<(), RemoteError> {
        let message: Message =
            serde_json::from_str(data).map_err(|error| self.garbage(error.to_string()))?;
        if let Some(line) = message.log {
            answer.lines += 1;
            if answer.lines <= LINES {
                told(&cut(&line));
            }
        }
        if let Some(diagnostics) = message.diagnostics {
            answer
                .found
                .extend(diagnostics.diagnostics.into_iter().map(finding));
            answer.found = diagnostic::bound(std::mem::take(&mut answer.found));
        }
        if let Some(head) = message.component {
            let size = head.size_bytes.parse().ok();
            let size = size.filter(|size| *size as u64 <= COMPONENT_BYTES);
            let (Some(size), None) = (size, &answer.head) else {
                return Err(self.garbage(
                    "it announces a component twice, or one that is too large".to_owned(),
                ));
            };
            answer.head = Some((head, size));
        }
        if let Some(chunk) = message.chunk {
            let piece = STANDARD
                .decode(chunk)
                .map_err(|error| self.garbage(error.to_string()))?;
            let room = answer.head.as_ref().map_or(0, |(_, size)| *size);
            if answer.component.len() + piece.len() > room {
                return Err(self.garbage("it sends more than it announced".to_owned()));
            }
            answer.component.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Holds the answer against what was asked.
    fn check(&self, answer: Answer, parsed: Manifest, manifest: &str) -> Result<Built, Error> {
        let Answer {
            found,
            head,
            component,
            ..
        } = answer;
        if found.iter().any(|found| found.level == Level::Error) {
            return Err(Error::Rejected(found));
        }
        let Some((head, size)) = head else {
            return Err(self
                .garbage("it sent no component, and no error".to_owned())
                .into());
        };
        if component.len() != size {
            return Err(self
                .garbage("it sends less than it announced".to_owned())
                .into());
        }
        let sent = Digest::of(&component);
        if sent != head.component_digest {
            return Err(RemoteError::OtherDigest {
                host: self.host.to_string(),
                announced: head.component_digest,
                sent,
            }
            .into());
        }
        let what = match package::read_manifest(&component) {
            Ok(found) if found == manifest => None,
            Ok(_) => Some("it carries another one".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = what {
            let host = self.host.to_string();
            return Err(RemoteError::OtherManifest { host, what }.into());
        }
        Ok(Built {
            component,
            manifest: parsed,
            warnings: found,
            toolchain: cut(&head.toolchain),
            flags: head
                .flags
                .iter()
                .take(FLAGS)
                .map(|flag| cut(flag))
                .collect(),
            by: BuiltBy::Remote,
            host: Some(self.host.to_string()),
        })
    }

    /// What it said, as `google.rpc.Status` or in words of its own.
    fn refused(&self, status: i64, text: &str) -> RemoteError {
        let said: Value = serde_json::from_str(text).unwrap_or_default();
        RemoteError::Refused {
            host: self.host.to_string(),
            status: said["code"]
                .as_i64()
                .filter(|_| status == 0)
                .unwrap_or(status),
            reason: cut(reason(&said)),
            message: cut(said["message"].as_str().unwrap_or(text)),
        }
    }

    fn garbage(&self, what: String) -> RemoteError {
        RemoteError::Garbage {
            host: self.host.to_string(),
            what: cut(&what),
        }
    }
}

/// The reason in a `google.rpc.Status`.
fn reason(status: &Value) -> &str {
    let details = status["details"].as_array().into_iter().flatten();
    let mut reasons = details.filter_map(|detail| detail["reason"].as_str());
    reasons.next().unwrap_or_default()
}

fn finding(found: Finding) -> Diagnostic {
    Diagnostic {
        level: match found.severity.as_str() {
            "SEVERITY_WARNING" => Level::Warning,
            "SEVERITY_NOTE" => Level::Note,
            _ => Level::Error,
        },
        code: Some(found.code).filter(|code| !code.is_empty()),
        message: cut(&found.message),
        line: found.line,
        column: found.column,
        rendered: found.rendered,
    }
}

async fn beginning(
    mut body: impl Stream<Item = Result<Bytes, nexus_effects::Error>> + Unpin,
) -> String {
    let mut bytes = Vec::new();
    while let (true, Some(Ok(piece))) = (bytes.len() < TEXT_BYTES, body.next().await) {
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES)].to_owned()
}
