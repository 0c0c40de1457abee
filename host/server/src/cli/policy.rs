//! `nexus policy`.

mod cases;

use std::path::Path;

use anyhow::Context as _;
use nexus_gate::Policy as Cedar;
use nexus_proto::v1::{
    ActionKind, EffectClass, ExplainActionRequest, GetPolicyRequest, RootOrigin, SetPolicyRequest,
};

use super::{
    args::{Explain, Global, Policy},
    connection::Client,
    exit::Exit,
    output::Output,
    text::{block, name},
    view::policy as view,
};

pub(crate) async fn run(command: Policy, global: &Global, output: &Output) -> anyhow::Result<Exit> {
    let connect = || Client::connect(global);
    match command {
        Policy::Show { schema } => {
            let request = GetPolicyRequest {};
            let policy = connect()?.policy().get_policy(request).await?.into_inner();
            if !policy.refused.is_empty() {
                let why = block(&policy.refused);
                output.note(&format!("the file as it is now was refused: {why}"));
            }
            output.message(&policy, |policy| {
                if schema {
                    block(&policy.schema)
                } else {
                    view::full(policy)
                }
            })?;
        }
        Policy::Set {
            file,
            shipped,
            etag,
        } => {
            let request = SetPolicyRequest {
                text: file.as_deref().map(read).transpose()?.unwrap_or_default(),
                use_shipped: shipped,
                etag,
                validate_only: false,
            };
            let policy = connect()?.policy().set_policy(request).await?.into_inner();
            output.message(&policy, view::summary)?;
        }
        Policy::Check { file } => {
            let policy = parse(&file)?;
            let rules: Vec<String> = policy.rules().into_iter().map(|(id, _)| id).collect();
            if output.is_json() {
                let version = policy.version().to_string();
                output.json(&serde_json::json!({ "version": version, "rules": rules }))?;
            } else {
                output.text(&view::checked(&policy.version().to_string(), &rules))?;
            }
        }
        Policy::Explain(explain) => {
            let request = request(explain);
            let explained = connect()?.policy().explain_action(request).await?;
            output.message(&explained.into_inner(), view::explanation)?;
        }
        Policy::Test { file, policy } => return cases::run(&file, policy.as_deref(), output),
    }
    Ok(Exit::Success)
}

fn request(explain: Explain) -> ExplainActionRequest {
    let agents = |names: &[String]| names.iter().map(|id| name("agents", id)).collect();
    ExplainActionRequest {
        kind: ActionKind::from(explain.kind).into(),
        agent: name("agents", &explain.agent),
        capability: explain.capability,
        verb: explain.verb,
        target: explain.target,
        effect_class: EffectClass::from(explain.class).into(),
        labels: explain.label,
        root_origin: RootOrigin::from(explain.origin).into(),
        chain: agents(&explain.caller),
        chain_class: EffectClass::from(explain.chain_class).into(),
        principal: explain.principal,
        headers: explain.header,
        body: explain.body,
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

fn parse(file: &Path) -> anyhow::Result<Cedar> {
    Cedar::parse(&read(file)?).with_context(|| format!("{} is no policy", file.display()))
}
