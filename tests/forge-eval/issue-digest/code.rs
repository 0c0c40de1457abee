use nexus_agent::prelude::*;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Issue {
    state: String,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Serialize)]
struct Output {
    open: usize,
    labels: BTreeMap<String, usize>,
}

fn invoke(_: Value) -> Result<Output> {
    let issues: Vec<Issue> = http::request(http::Method::Get, "{{origin}}/repos/acme/app/issues")
        .header("accept", "application/vnd.github+json")
        .send()?
        .json()?;
    let mut labels = BTreeMap::new();
    let mut open = 0;
    for issue in issues.into_iter().filter(|issue| issue.state == "open") {
        open += 1;
        for label in issue.labels {
            *labels.entry(label.name).or_insert(0) += 1;
        }
    }
    Ok(Output { open, labels })
}

nexus_agent::export!(invoke);
