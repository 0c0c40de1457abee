//! The models that write agents: whether they are set up, and whether their endpoints answer.

use std::time::Duration;

use nexus_effects::operator_egress::OperatorOptions;
use nexus_forge::model::{Key, Probe, Profile, hint, probe};
use nexus_manifest::error_chain;

use super::{Finding, State};
use crate::config::Config;

const PART: &str = "model";
/// Nobody waits long for a doctor.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let Some(set) = &config.model else {
        return vec![Finding::new(
            PART,
            State::Missing,
            "none is configured, agents are forged from templates and source; name one under [model]",
        )];
    };
    let models = crate::host::authorities(config.egress.extra_roots.as_deref())
        .and_then(|roots| crate::model::models(set, &roots));
    let models = match models {
        Ok(models) => models,
        Err(error) => return vec![Finding::new(PART, State::Failed, format!("{error:#}"))],
    };
    let options = OperatorOptions {
        connect_timeout: CONNECT,
        first_byte_timeout: ANSWER,
        total_timeout: ANSWER,
        ..models.patience
    };
    let mut findings = vec![finding(&models.spec, options.clone()).await];
    let name = |profile: &Profile| (profile.base_url.clone(), profile.model.clone());
    if name(&models.spec) != name(&models.code) {
        findings.push(finding(&models.code, options).await);
    }
    findings
}

/// The host that runs is the one to ask.
pub(super) fn with_the_host() -> Finding {
    Finding::new(
        PART,
        State::Note,
        "the host says below whether one is configured; with --config FILE its endpoint is tried",
    )
}

async fn finding(profile: &Profile, options: OperatorOptions) -> Finding {
    let (state, told) = match (probe(profile, options).await, &profile.key) {
        (Ok(Probe::Serves), _) => (State::Ok, "it is there".to_owned()),
        (Ok(Probe::Lists(others)), _) => (
            State::Note,
            format!(
                "the endpoint answers and does not list it, but {:?}",
                others
            ),
        ),
        (Ok(Probe::RefusesKey(_)), Some(Key::Vault(name))) => (
            State::Ok,
            format!("the endpoint answers; the key vault:{name} is used by forges only"),
        ),
        (Ok(Probe::RefusesKey(status)), Some(Key::Value(_))) => (
            State::Failed,
            format!("the endpoint refuses the key ({status}); look at it under [model]"),
        ),
        (Ok(Probe::RefusesKey(status)), None) => (
            State::Failed,
            format!("the endpoint wants a key ({status}); name one under [model]"),
        ),
        (Ok(Probe::Answers(status @ 500..)), _) => {
            (State::Failed, format!("the endpoint answers {status}"))
        }
        (Ok(Probe::Answers(status)), _) => (
            State::Note,
            format!(
                "the endpoint lists no models (status {status} at /models){}",
                hint(status)
            ),
        ),
        (Err(error), _) => (State::Failed, error_chain(&error)),
    };
    Finding::new(
        PART,
        state,
        format!("{} at {}: {told}", profile.model, profile.base_url),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Model;

    #[tokio::test]
    async fn a_missing_key_is_named_without_its_value() {
        let config = Config {
            model: Some(Model {
                base_url: "http://localhost:1/v1".to_owned(),
                model: "m".to_owned(),
                api_key_env: Some("NEXUS_TEST_NO_SUCH_KEY".to_owned()),
                ..Model::default()
            }),
            ..Config::default()
        };
        let found = findings(&config).await;
        assert_eq!(found[0].state, State::Failed);
        assert!(found[0].message.contains("NEXUS_TEST_NO_SUCH_KEY"));
    }
}
