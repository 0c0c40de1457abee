//! Messages as gRPC carries them: a byte that says whether they are compressed, a length, the bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tonic::{Code, Status};

use crate::fault::Fault;

const HEAD: usize = 5;

/// A message in its frame.
pub(super) fn frame(message: &[u8]) -> Result<Bytes, Status> {
    let length = u32::try_from(message.len()).map_err(|_| {
        Status::from(Fault::exhausted(
            "MESSAGE_TOO_LARGE",
            "the message is too large",
        ))
    })?;
    let mut frame = BytesMut::with_capacity(HEAD + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// Bytes as they arrive, to be taken apart into messages.
#[derive(Debug, Default)]
pub(super) struct Frames(BytesMut);

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message that is here as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(head) = self.0.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [compressed, length @ ..] = *head;
        // Nobody has said that compressed messages are understood.
        if compressed != 0 {
            return Err(Status::new(Code::Internal, "a compressed message"));
        }
        let length = u32::from_be_bytes(length) as usize;
        if self.0.len() < HEAD + length {
            return Ok(None);
        }
        self.0.advance(HEAD);
        Ok(Some(self.0.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages: [&[u8]; 3] = [b"one", b"", b"three"];
        let all: Vec<u8> = messages
            .iter()
            .flat_map(|message| frame(message).expect("framed"))
            .collect();
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for byte in all {
            frames.push(&[byte]);
            seen.extend(frames.next().expect("whole"));
        }
        assert_eq!(seen, messages);
        frames.push(&[1, 0, 0, 0, 0]);
        assert!(frames.next().is_err());
    }
}
