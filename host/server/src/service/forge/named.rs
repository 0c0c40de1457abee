//! Forges that their clients have named.

use nexus_manifest::Digest;
use nexus_proto::v1;
use prost::Message as _;

/// Of all that is asked, the request's name left out.
pub(super) fn digest(request: &v1::ForgeAgentRequest) -> Digest {
    let mut parts: Vec<Vec<u8>> = vec![
        request.agent_id.clone().into_bytes(),
        request.words.clone().into_bytes(),
        request.mode.to_be_bytes().to_vec(),
        request.template.clone().into_bytes(),
        request.source.clone().into_bytes(),
        request.manifest.clone().into_bytes(),
        vec![u8::from(request.validate_only)],
        request.root_origin.to_be_bytes().to_vec(),
        request.builder.to_be_bytes().to_vec(),
    ];
    parts.push((request.parameters.len() as u64).to_be_bytes().to_vec());
    parts.extend(
        request
            .parameters
            .iter()
            .map(v1::InputParameter::encode_to_vec),
    );
    parts.push((request.examples.len() as u64).to_be_bytes().to_vec());
    for example in &request.examples {
        // Its one map is written in its order.
        let mut answers: Vec<_> = example.answers.iter().collect();
        answers.sort();
        let rest = v1::ForgeExample {
            answers: Default::default(),
            ..example.clone()
        };
        parts.push(rest.encode_to_vec());
        parts.push((answers.len() as u64).to_be_bytes().to_vec());
        for (agent, answer) in answers {
            parts.extend([agent.clone().into_bytes(), answer.clone().into_bytes()]);
        }
    }
    parts.push((request.shadow_inputs.len() as u64).to_be_bytes().to_vec());
    let shadow = request.shadow_inputs.iter();
    parts.extend(shadow.map(|input| input.clone().into_bytes()));
    // A map has no order of its own.
    let mut set: Vec<_> = request.set.iter().collect();
    set.sort();
    for (key, value) in set {
        parts.extend([key.clone().into_bytes(), value.clone().into_bytes()]);
    }
    Digest::of_parts(parts.iter().map(Vec::as_slice))
}
