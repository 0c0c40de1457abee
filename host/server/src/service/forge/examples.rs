//! Examples as they come over the wire.

use nexus_forge::Example;
use nexus_manifest::{Method, Schema, SpaceName};
use nexus_proto::v1;
use nexus_runtime::Recorded;
use prost::Message as _;
use serde_json::Value;
use tonic::Status;

use crate::fault::Fault;

const MOST: usize = 16;
const BYTES: usize = 256 * 1024;

/// Reads the examples of a request.
pub(super) fn read(examples: &[v1::ForgeExample]) -> Result<Vec<Example>, Status> {
    if examples.len() > MOST {
        return Err(Fault::invalid("examples", format!("send at most {MOST}")).into());
    }
    let bytes: usize = examples.iter().map(v1::ForgeExample::encoded_len).sum();
    if bytes > BYTES {
        let message = format!("they have {bytes} bytes, and {BYTES} are allowed");
        return Err(Fault::invalid("examples", message).into());
    }
    examples.iter().map(example).collect()
}

/// The inputs of shadow runs.
const SHADOWS: usize = 8;

/// Reads the inputs with which the agent is to run before it is published.
pub(super) fn shadow(request: &v1::ForgeAgentRequest) -> Result<Vec<String>, Status> {
    const FIELD: &str = "shadow_inputs";
    let inputs = &request.shadow_inputs;
    if inputs.len() > SHADOWS {
        return Err(Fault::invalid(FIELD, format!("send at most {SHADOWS}")).into());
    }
    let bytes: usize = inputs.iter().map(String::len).sum();
    if bytes > BYTES {
        let message = format!("they have {bytes} bytes, and {BYTES} are allowed");
        return Err(Fault::invalid(FIELD, message).into());
    }
    let attended = matches!(
        request.root_origin(),
        v1::RootOrigin::Unspecified | v1::RootOrigin::Interactive | v1::RootOrigin::Mcp
    );
    if !inputs.is_empty() && !attended {
        let message =
            "a shadow run is for a person to look at; leave it out where data or the clock asks";
        return Err(Fault::invalid(FIELD, message).into());
    }
    for input in inputs {
        json(FIELD, input)?;
    }
    Ok(inputs.clone())
}

fn example(example: &v1::ForgeExample) -> Result<Example, Status> {
    json("examples.input", &example.input)?;
    let mut world = nexus_runtime::Example {
        input: example.input.clone(),
        ..nexus_runtime::Example::default()
    };
    for response in &example.responses {
        world.responses.push(recorded(response)?);
    }
    for (agent, answer) in &example.answers {
        let agent = crate::names::agent_id("examples.answers", agent)?;
        json("examples.answers", answer)?;
        world.answers.insert(agent, answer.clone());
    }
    for entry in &example.entries {
        let space = entry.space.parse::<SpaceName>().map_err(|error| {
            Status::from(Fault::invalid("examples.entries.space", format!("{error}")))
        })?;
        let (key, value) = (entry.key.clone(), entry.value.clone());
        world.entries.push((space, key, value));
    }
    let given = |text: &str, field| match text.is_empty() {
        true => Ok(None),
        false => json(field, text).map(Some),
    };
    let schema = given(&example.output_schema, "examples.output_schema")?;
    let schema = schema.map(Schema::new).transpose();
    Ok(Example {
        world,
        output: given(&example.output, "examples.output")?,
        schema: schema
            .map_err(|error| Fault::invalid("examples.output_schema", error.to_string()))?,
    })
}

fn recorded(response: &v1::RecordedResponse) -> Result<Recorded, Status> {
    let method = response.method.parse::<Method>();
    let method = method.map_err(|error| {
        Status::from(Fault::invalid(
            "examples.responses.method",
            error.to_string(),
        ))
    })?;
    let status = match response.status {
        0 => 200,
        status => u16::try_from(status)
            .ok()
            .filter(|status| (200..600).contains(status))
            .ok_or_else(|| {
                Fault::invalid("examples.responses.status", "use one from 200 to 599")
            })?,
    };
    let content_type = match response.content_type.as_str() {
        "" => "application/json".to_owned(),
        given => given.to_owned(),
    };
    Ok(Recorded {
        method,
        url: response.url.clone(),
        status,
        content_type,
        body: response.body.clone(),
    })
}

fn json(field: &'static str, text: &str) -> Result<Value, Status> {
    serde_json::from_str(text)
        .map_err(|error| Fault::invalid(field, format!("write JSON: {error}")).into())
}
