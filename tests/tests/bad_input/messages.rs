//! Every request of the contract with values that no client of ours sends: each is taken or refused
//! with a reason, and none is the host's own fault.

use std::collections::HashMap;

use bytes::Bytes;
use nexus_proto::DESCRIPTOR_SET;
use nexus_proto::v1::GetStatusRequest;
use nexus_tests::amount;
use nexus_tests::raw::Raw;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::host;

const TEXTS: [&str; 34] = [
    "",
    " ",
    "-",
    "*",
    "/",
    "agents/echo",
    "agents/",
    "agents//",
    "agents/../echo",
    "agents/ECHO",
    "agents/echo/",
    "echo",
    "approvals/apr-0",
    "approvals/",
    "invocations/inv-019a0000-0000-7000-8000-000000000000",
    "invocations/x",
    "tokens/x",
    "secrets/key",
    "spaces/kb",
    "spaces/kb/entries/a%2fb",
    "forges/x",
    "generations/1",
    "sha256:00",
    "{}",
    "[",
    "null",
    "{\"a\":1e999}",
    "https://api.example.com",
    "http://127.0.0.1",
    "\0",
    "\u{202e}",
    "a\r\nb: c",
    "\u{10ffff}",
    "MA",
];

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or_default()
    }

    fn text(&mut self) -> String {
        match self.below(12) {
            0 => "x".repeat(70_000),
            1 => "agents/".to_owned() + &"y".repeat(300),
            2 => "[".repeat(10_000),
            _ => TEXTS[self.below(TEXTS.len())].to_owned(),
        }
    }

    fn number(&mut self) -> u64 {
        [
            0,
            1,
            2,
            3,
            7,
            99,
            1_000,
            u64::from(u32::MAX),
            i64::MAX as u64,
            u64::MAX,
            i64::MIN as u64,
        ][self.below(11)]
    }
}

/// The messages of the contract, by their full names.
type Messages = HashMap<String, DescriptorProto>;

fn collect(prefix: &str, messages: &[DescriptorProto], found: &mut Messages) {
    for message in messages {
        let name = format!("{prefix}.{}", message.name());
        collect(&name, &message.nested_type, found);
        found.insert(name, message.clone());
    }
}

fn message(random: &mut Random, messages: &Messages, name: &str, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(descriptor) = messages.get(name) else {
        return out;
    };
    for field in &descriptor.field {
        let count = match field.label() {
            Label::Repeated => random.below(4),
            _ => random.below(4).min(1),
        };
        for _ in 0..count {
            value(random, messages, field, depth, &mut out);
        }
    }
    out
}

fn value(
    random: &mut Random,
    messages: &Messages,
    field: &FieldDescriptorProto,
    depth: usize,
    out: &mut Vec<u8>,
) {
    let number = u32::try_from(field.number()).unwrap();
    let mut delimited = |bytes: &[u8]| {
        encode_key(number, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    };
    match field.r#type() {
        Type::String => delimited(random.text().as_bytes()),
        Type::Bytes => delimited(&vec![0xff; random.below(40)]),
        Type::Message => {
            if depth > 0 {
                delimited(&message(random, messages, field.type_name(), depth - 1));
            }
        }
        Type::Double | Type::Fixed64 | Type::Sfixed64 => {
            encode_key(number, WireType::SixtyFourBit, out);
            out.extend_from_slice(
                &[f64::NAN, f64::INFINITY, -1.0, 0.5][random.below(4)].to_le_bytes(),
            );
        }
        Type::Float | Type::Fixed32 | Type::Sfixed32 => {
            encode_key(number, WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&f32::NAN.to_le_bytes());
        }
        _ => {
            encode_key(number, WireType::Varint, out);
            encode_varint(random.number(), out);
        }
    }
}

/// Calls any method with one message, and waits for the answer unless it is a stream.
async fn call(
    channel: &Channel,
    token: &str,
    path: &str,
    message: Vec<u8>,
    streams: bool,
) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(format!("not ready: {error}")))?;
    let mut request = Request::new(tokio_stream::iter([Bytes::from(message)]));
    let bearer = format!("Bearer {token}")
        .parse()
        .map_err(|_| Status::unknown("the test's own header"))?;
    request.metadata_mut().insert("authorization", bearer);
    let path = path
        .parse()
        .map_err(|_| Status::unknown("the test's own path"))?;
    let mut answer = client.streaming(request, path, Raw).await?.into_inner();
    // A stream that was let through stays open; it ends when it is dropped here.
    if !streams {
        answer.message().await?;
    }
    Ok(())
}

#[tokio::test]
async fn whatever_stands_in_a_request_it_is_taken_or_refused_with_a_reason() -> anyhow::Result<()> {
    let (mut host, mut client) = host().await?;
    let channel = host.channel().await?;
    let set = FileDescriptorSet::decode(DESCRIPTOR_SET)?;
    let mut messages = Messages::new();
    for file in &set.file {
        collect(
            &format!(".{}", file.package()),
            &file.message_type,
            &mut messages,
        );
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut answers: HashMap<Code, usize> = HashMap::new();
    for file in set.file.iter().filter(|file| file.package() == "nexus.v1") {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/nexus.v1.{}/{}", service.name(), method.name());
                for round in 0..amount(60, 2_000) {
                    let mut bytes = message(&mut random, &messages, method.input_type(), 3);
                    if round % 8 == 7 {
                        let at = random.below(bytes.len() + 1);
                        bytes.truncate(at);
                    }
                    let shown = bytes.escape_ascii().to_string();
                    let answer = call(
                        &channel,
                        host.token(),
                        &path,
                        bytes,
                        method.server_streaming(),
                    )
                    .await;
                    let code = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
                    assert!(
                        !matches!(code, Code::Unknown | Code::DataLoss | Code::Unavailable)
                            // What does not decode is answered by the transport, which calls it so.
                            && (code != Code::Internal || answer.as_ref().is_err_and(|status| status.message().contains("decode"))),
                        "{path} with b\"{shown:.2000}\": {answer:?}"
                    );
                    *answers.entry(code).or_default() += 1;
                }
            }
        }
    }
    assert!(host.is_running());
    client.system.get_status(GetStatusRequest {}).await?;
    assert!(answers.len() >= 4, "{answers:?}");
    Ok(())
}
