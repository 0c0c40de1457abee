use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::Error;
use super::example::Written;
use super::value::Type;
use crate::assets;

/// The templates in this binary.
#[derive(Debug, Clone)]
pub struct Catalog {
    templates: Vec<Template>,
}

/// An agent that lacks only its parameters.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// What agents made from it do.
    pub summary: String,
    /// Words of a request that speak for it.
    pub keywords: Vec<String>,
    /// What differs between agents made from it.
    pub parameters: Vec<Parameter>,
    /// `src/lib.rs`, the same for all of them.
    pub source: String,
    /// `agent.toml` with example values.
    pub(super) manifest: Table,
    /// What its agents answer.
    pub(super) examples: Vec<Written>,
}

/// What differs between two agents of a template.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    #[serde(rename = "type")]
    pub(super) kind: Type,
    /// Whether there is no agent without it.
    #[serde(default)]
    pub required: bool,
    /// What it means.
    pub description: String,
    /// What holds if it is not set.
    #[serde(default)]
    pub(super) default: Option<Value>,
    /// The places of the manifest that get its value.
    pub(super) sets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    name: String,
    summary: String,
    keywords: Vec<String>,
    #[serde(default, rename = "parameter")]
    parameters: Vec<Parameter>,
    #[serde(default, rename = "example")]
    examples: Vec<Written>,
}

impl Catalog {
    /// Reads the embedded templates.
    pub fn embedded() -> Result<Self, Error> {
        let broken = |template: &str, reason: String| Error::Broken {
            template: template.to_owned(),
            reason,
        };
        let files = assets::unpack(assets::TEMPLATES)
            .map_err(|error| broken("files", error.to_string()))?;
        let mut folders: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (path, content) in files {
            let Some((folder, file)) = path.split_once('/') else {
                continue;
            };
            let text =
                String::from_utf8(content).map_err(|error| broken(folder, error.to_string()))?;
            folders
                .entry(folder.to_owned())
                .or_default()
                .insert(file.to_owned(), text);
        }
        let templates = folders
            .into_iter()
            .map(|(folder, files)| {
                template(&folder, files).map_err(|reason| broken(&folder, reason))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { templates })
    }

    /// All of them, by name.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.name == name)
    }
}

fn template(folder: &str, mut files: BTreeMap<String, String>) -> Result<Template, String> {
    let mut file = |name: &str| {
        files
            .remove(name)
            .ok_or_else(|| format!("{name} is missing"))
    };
    let description: Description =
        toml::from_str(&file("template.toml")?).map_err(|error| error.to_string())?;
    let manifest: Table = file("agent.toml")?
        .parse()
        .map_err(|error: toml::de::Error| error.to_string())?;
    if description.format != 1 || description.name != folder {
        return Err("it has another format or name".to_owned());
    }
    for parameter in &description.parameters {
        for place in &parameter.sets {
            if super::fill::place(&mut manifest.clone(), place).is_none() {
                return Err(format!(
                    "{} sets {place}, which is not there",
                    parameter.name
                ));
            }
        }
        if parameter.required != parameter.default.is_none() {
            return Err(format!(
                "{} is either required or has a default",
                parameter.name
            ));
        }
    }
    let known = |name: &str| description.parameters.iter().any(|it| it.name == name);
    if let Some(name) = description
        .examples
        .iter()
        .find_map(|it| it.stranger(known))
    {
        return Err(format!(
            "an example speaks of {name}, which is no parameter"
        ));
    }
    Ok(Template {
        name: description.name,
        summary: description.summary,
        keywords: description.keywords,
        parameters: description.parameters,
        source: file("src/lib.rs")?,
        manifest,
        examples: description.examples,
    })
}
