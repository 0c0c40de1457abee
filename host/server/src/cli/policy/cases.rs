//! `nexus policy test`: the cases that people keep beside their policy.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nexus_gate::{Case, Policy};
use serde::Deserialize;
use serde_json::json;

use crate::cli::{exit::Exit, output::Output, text::line};

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The policy, from the file's own directory; without it, the shipped one.
    policy: Option<PathBuf>,
    /// The cases.
    #[serde(default)]
    case: Vec<Case>,
}

pub(super) fn run(file: &Path, policy: Option<&Path>, output: &Output) -> anyhow::Result<Exit> {
    let text = super::read(file)?;
    let cases: File = toml::from_str(&text)
        .with_context(|| format!("the cases of {} do not read", file.display()))?;
    if cases.case.is_empty() {
        bail!("{} has no [[case]]", file.display());
    }
    let beside = |path: &PathBuf| file.parent().unwrap_or(Path::new("")).join(path);
    let named = cases.policy.as_ref().map(beside);
    let policy = match policy.or(named.as_deref()) {
        Some(path) => super::parse(path)?,
        None => Policy::shipped(),
    };
    let mut missed = 0;
    let mut results = Vec::new();
    for (number, case) in cases.case.iter().enumerate() {
        let name = match case.name.as_str() {
            "" => format!("case {}", number + 1),
            name => name.to_owned(),
        };
        let why = case.check(&policy).err().map(|why| why.to_string());
        missed += usize::from(why.is_some());
        results.push((name, why));
    }
    if output.is_json() {
        let results: Vec<_> = results
            .iter()
            .map(|(name, why)| json!({ "name": name, "ok": why.is_none(), "why": why }))
            .collect();
        let version = policy.version().to_string();
        output.json(&json!({ "policy": version, "cases": results, "missed": missed }))?;
    } else {
        for (name, why) in &results {
            match why {
                None => output.text(&format!("ok      {}", line(name)))?,
                Some(why) => output.text(&format!("MISSED  {}: {}", line(name), line(why)))?,
            }
        }
        output.note(&format!("{} cases, {missed} missed", results.len()));
    }
    Ok(if missed == 0 {
        Exit::Success
    } else {
        Exit::Error
    })
}
