//! Reading a response's body within its limit.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Why a body could not be read to its end.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is larger than the limit, as sent or decoded.
    TooLarge,
    /// The connection broke off.
    Broken,
    /// It is not what its encoding says.
    Damaged,
    /// It is in an encoding that this host does not read.
    Encoding(String),
}

/// Reads and decodes a body. `decode_all`: refuse what can't be decoded instead of handing it on,
/// because it has to be looked through.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    max: usize,
    decode_all: bool,
) -> Result<Bytes, BodyError> {
    let mut sink = Sink::of(headers, max, decode_all)?;
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(BodyError::Broken);
        };
        // Trailers are dropped: an agent is given one list of headers.
        let Some(data) = frame.data_ref() else {
            continue;
        };
        received += data.len();
        if received > max {
            return Err(BodyError::TooLarge);
        }
        sink.write(data)?;
    }
    sink.finish(received)
}

enum Sink {
    Plain(Limited),
    Gzip(Box<MultiGzDecoder<Limited>>),
}

/// A buffer that refuses to grow beyond `max`.
struct Limited {
    bytes: Vec<u8>,
    max: usize,
}

impl Sink {
    fn of(headers: &HeaderMap, max: usize, decode_all: bool) -> Result<Self, BodyError> {
        let limited = Limited {
            bytes: Vec::new(),
            max,
        };
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let encoding = match (encodings.next(), encodings.next()) {
            (None, _) => return Ok(Self::Plain(limited)),
            (Some(one), None) => String::from_utf8_lossy(one.as_bytes())
                .trim()
                .to_ascii_lowercase(),
            (Some(_), Some(_)) => "several".to_owned(),
        };
        match encoding.as_str() {
            "" | "identity" => Ok(Self::Plain(limited)),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(limited)))),
            _ if decode_all => Err(BodyError::Encoding(encoding.chars().take(40).collect())),
            _ => Ok(Self::Plain(limited)),
        }
    }

    fn write(&mut self, data: &[u8]) -> Result<(), BodyError> {
        match self {
            Self::Plain(limited) => limited.write_all(data),
            Self::Gzip(decoder) => decoder.write_all(data),
        }
        .map_err(|error| cause(&error))
    }

    fn finish(self, received: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Plain(limited) => Ok(limited.bytes.into()),
            // An answer to HEAD, and 204 and 304, name an encoding and have no body.
            Self::Gzip(_) if received == 0 => Ok(Bytes::new()),
            Self::Gzip(decoder) => Ok(decoder
                .finish()
                .map_err(|error| cause(&error))?
                .bytes
                .into()),
        }
    }
}

impl Write for Limited {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cause(error: &io::Error) -> BodyError {
    match error.kind() {
        io::ErrorKind::StorageFull => BodyError::TooLarge,
        _ => BodyError::Damaged,
    }
}
