//! What came back.

use bytes::Bytes;
use nexus_manifest::Digest;

use super::headers;
use crate::leak::Scanner;

/// A complete response: decoded, limited in size, and without the secrets that were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status. A redirect is a response too: following it is another request.
    pub status: u16,
    /// Header fields in the order received, names in lower case, without those about the connection,
    /// the length or the encoding.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    pub(super) fn new(head: &http::response::Parts, body: Bytes) -> Self {
        let headers = head
            .headers
            .iter()
            .filter(|(name, _)| {
                !headers::is_hop_by_hop(name.as_str()) && *name != http::header::CONTENT_ENCODING
            })
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        Self {
            status: head.status.as_u16(),
            headers,
            body,
        }
    }

    /// Takes out what the scanner knows. True if there was something.
    pub(super) fn redact(&mut self, scanner: &Scanner) -> bool {
        let mut found = false;
        self.headers.retain(|(name, _)| {
            let clean = scanner.find(name.as_bytes()).is_none();
            found |= !clean;
            clean
        });
        for (_, value) in &mut self.headers {
            if let Some(clean) = scanner.redact(value) {
                *value = clean;
                found = true;
            }
        }
        if let Some(clean) = scanner.redact(&self.body) {
            self.body = clean.into();
            found = true;
        }
        found
    }

    /// What the audit keeps of it.
    pub fn digest(&self) -> Digest {
        let status = self.status.to_be_bytes();
        let headers = self
            .headers
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.as_slice()]);
        Digest::of_parts(
            [status.as_slice()]
                .into_iter()
                .chain(headers)
                .chain([self.body.as_ref()]),
        )
    }
}
