//! What came back.

use bytes::Bytes;
use nexus_manifest::Digest;

use super::headers;
use crate::leak::Scanner;
use crate::watch::pieces;

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
        if scanner.is_empty() {
            return false;
        }
        let mut found = false;
        self.headers.retain(|(name, _)| {
            let clean = scanner.find(name.as_bytes()).is_none();
            found |= !clean;
            clean
        });
        let mut body = Vec::from(std::mem::take(&mut self.body));
        // A value over several headers, or over the last of them and the body, is one value.
        let values = self.headers.iter_mut().map(|(_, value)| value);
        let mut fields: Vec<_> = values.chain([&mut body]).collect();
        found |= scanner.redact_fields(&mut fields);
        // In the fields of a document it can't be cut out without guessing what the rest then means.
        let pieces = pieces(&body);
        if let Some(name) = scanner.find_joined(pieces.iter().map(Vec::as_slice)) {
            body = format!("[secret:{name}]").into_bytes();
            found = true;
        }
        self.body = body.into();
        found
    }

    /// How many bytes it is made of.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.len());
        headers.sum::<usize>() + self.body.len()
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
