use std::collections::BTreeMap;

use nexus_manifest::{AgentName, Manifest};
use toml::{Table, Value};

use crate::selftest::Example;

use super::{Catalog, Error, Missing, NeedsParameters, Parameter, Template};

/// A property of an agent's input, as the caller wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputParameter {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: InputType,
    /// Whether an input without it is refused.
    pub required: bool,
}

/// The JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputType {
    /// A text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// An object.
    Object,
}

impl InputType {
    /// Its name in a JSON Schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// What a template became.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The template.
    pub template: String,
    /// `src/lib.rs`.
    pub source: String,
    /// `agent.toml`.
    pub manifest: String,
    /// What the agent has to answer, by its template.
    pub(crate) examples: Vec<Example>,
    /// Parameters that nobody set, with what holds instead, such as `write_path = "/orders"`.
    pub defaults: Vec<String>,
}

/// The parameter whose value are names of input members, in templates that have
/// one: what the caller says of the input fills it.
const INPUTS: &str = "inputs";

impl Catalog {
    /// Chooses a template, by `name` or else by `words`, and fills it.
    ///
    /// The words only choose and stand in the summary, after the template's own. Every origin, secret, space
    /// and address comes from `set`; what is missing is answered with
    /// [`Error::NeedsParameters`].
    pub fn render(
        &self,
        agent: &AgentName,
        name: Option<&str>,
        words: &str,
        set: &BTreeMap<String, String>,
        inputs: &[InputParameter],
    ) -> Result<Rendered, Error> {
        let ranked = self.rank(words);
        let names = || {
            ranked
                .iter()
                .map(|(template, _)| template.name.clone())
                .collect()
        };
        let template = match name {
            Some(name) => self.get(name).ok_or_else(|| Error::Unknown {
                name: name.to_owned(),
                templates: self.templates().iter().map(|t| t.name.clone()).collect(),
            })?,
            None => match ranked.first() {
                Some((template, score)) if *score > 0 => *template,
                _ => {
                    return Err(Error::NeedsParameters(NeedsParameters {
                        templates: names(),
                        ..NeedsParameters::default()
                    }));
                }
            },
        };
        let missing = template.missing(set);
        if !missing.is_empty() {
            return Err(Error::NeedsParameters(NeedsParameters {
                template: Some(template.name.clone()),
                parameters: missing,
                templates: names(),
            }));
        }
        template.fill(agent, words, set, inputs)
    }
}

impl Template {
    fn missing(&self, set: &BTreeMap<String, String>) -> Vec<Missing> {
        let missing =
            |parameter: &&Parameter| parameter.required && !set.contains_key(&parameter.name);
        self.parameters
            .iter()
            .filter(missing)
            .map(|parameter| Missing {
                name: parameter.name.clone(),
                description: parameter.description.clone(),
                example: self.example(parameter),
            })
            .collect()
    }

    fn example(&self, parameter: &Parameter) -> String {
        let mut manifest = self.manifest.clone();
        match parameter
            .sets
            .first()
            .and_then(|at| place(&mut manifest, at))
        {
            Some(Value::String(text)) => text.clone(),
            Some(other) => serde_json::to_string(other).unwrap_or_default(),
            None => String::new(),
        }
    }

    fn fill(
        &self,
        agent: &AgentName,
        words: &str,
        set: &BTreeMap<String, String>,
        inputs: &[InputParameter],
    ) -> Result<Rendered, Error> {
        let mut manifest = self.manifest.clone();
        manifest.insert("name".to_owned(), agent.as_str().into());
        if !words.trim().is_empty() {
            // What the code does comes first: the words chose it and did not make it.
            let summary = format!("{}, for the words: {}", self.summary, words.trim());
            let summary = &summary[..summary.floor_char_boundary(1024)];
            manifest.insert("summary".to_owned(), summary.into());
        }
        for (name, text) in set {
            let parameter = self.parameter(name)?;
            let value = parameter.kind.read(text).map_err(|reason| Error::Value {
                parameter: name.clone(),
                expected: parameter.kind.expected(),
                reason,
            })?;
            if parameter.carries_secret() && value.as_str().is_some_and(|it| !secure(it)) {
                return Err(Error::Value {
                    parameter: name.clone(),
                    expected: "an origin that begins with https://",
                    reason: format!("a secret is only sent over https, and {name} is {text}"),
                });
            }
            put(&mut manifest, parameter, &value);
        }
        describe_input(&mut manifest, inputs);
        if let Some(parameter) = self.parameters.iter().find(|it| it.name == INPUTS) {
            if !inputs.is_empty() && !set.contains_key(INPUTS) {
                let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                put(&mut manifest, parameter, &names.into());
            }
            close_input(&mut manifest, parameter);
        }
        let text = toml::to_string(&manifest).map_err(|error| Error::Broken {
            template: self.name.clone(),
            reason: error.to_string(),
        })?;
        let parsed = Manifest::parse(&text).map_err(Error::Manifest)?;
        let examples = self.examples.iter();
        let examples: Result<Vec<_>, _> = examples.map(|it| it.fill(&parsed, set)).collect();
        let examples = examples.map_err(|reason| Error::Broken {
            template: self.name.clone(),
            reason,
        })?;
        Ok(Rendered {
            template: self.name.clone(),
            source: self.source.clone(),
            manifest: text,
            examples: examples.into_iter().flatten().collect(),
            defaults: self.defaults(set),
        })
    }

    /// What nobody said and the agent works with all the same. Defaults that say nothing are left out.
    fn defaults(&self, set: &BTreeMap<String, String>) -> Vec<String> {
        let says = |value: &&Value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(values) => !values.is_empty(),
            Value::Table(values) => !values.is_empty(),
            _ => true,
        };
        self.parameters
            .iter()
            .filter(|parameter| !set.contains_key(&parameter.name))
            .filter_map(|parameter| {
                let value = parameter.default.as_ref().filter(says)?;
                Some(format!("{} = {value}", parameter.name))
            })
            .collect()
    }

    fn parameter(&self, name: &str) -> Result<&Parameter, Error> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name == name)
            .ok_or_else(|| Error::UnknownParameter {
                template: self.name.clone(),
                parameter: name.to_owned(),
                parameters: self.parameters.iter().map(|p| p.name.clone()).collect(),
            })
    }
}

impl Parameter {
    /// Whether its value says where a secret may be sent.
    fn carries_secret(&self) -> bool {
        self.sets.iter().any(|at| at.contains(".secret.audience"))
    }
}

fn put(manifest: &mut Table, parameter: &Parameter, value: &Value) {
    for at in &parameter.sets {
        // The catalog has made sure that each place is there.
        if let Some(place) = place(manifest, at) {
            place.clone_from(value);
        }
    }
}

/// The value at keys joined by dots, numbers for elements of an array.
pub(super) fn place<'a>(table: &'a mut Table, at: &str) -> Option<&'a mut Value> {
    let mut keys = at.split('.');
    let first = table.get_mut(keys.next()?)?;
    keys.try_fold(first, |value, key| match value {
        Value::Table(table) => table.get_mut(key),
        Value::Array(array) => array.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Makes the input schema say what the code takes: the members that the parameter names, and no other.
fn close_input(manifest: &mut Table, parameter: &Parameter) {
    let mut names: Vec<String> = Vec::new();
    for at in &parameter.sets {
        let named = place(manifest, at).and_then(|value| value.as_array());
        let named = named.into_iter().flatten();
        names.extend(named.filter_map(|name| Some(name.as_str()?.to_owned())));
    }
    let input = table(manifest, "input");
    let simple = ["string", "number", "boolean"].map(String::from).to_vec();
    let properties = table(input, "properties");
    for name in names {
        let schema = || Table::from_iter([("type".to_owned(), simple.clone().into())]).into();
        properties.entry(name).or_insert_with(schema);
    }
    input.insert("additionalProperties".to_owned(), false.into());
}

/// Whether a secret may be sent to this origin.
fn secure(origin: &str) -> bool {
    origin.starts_with("https://")
}

/// Adds properties to the manifest's input schema.
fn describe_input(manifest: &mut Table, inputs: &[InputParameter]) {
    if inputs.is_empty() {
        return;
    }
    let input = table(manifest, "input");
    input.entry("type").or_insert_with(|| "object".into());
    let properties = table(input, "properties");
    for parameter in inputs {
        let schema = Table::from_iter([("type".to_owned(), parameter.kind.as_str().into())]);
        properties.insert(parameter.name.clone(), schema.into());
    }
    let mut required: Vec<String> = input
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect();
    for parameter in inputs.iter().filter(|parameter| parameter.required) {
        if !required.contains(&parameter.name) {
            required.push(parameter.name.clone());
        }
    }
    if !required.is_empty() {
        input.insert("required".to_owned(), required.into());
    }
}

/// The table under `key`, made if need be.
fn table<'a>(parent: &'a mut Table, key: &str) -> &'a mut Table {
    let value = parent
        .entry(key)
        .or_insert_with(|| Value::Table(Table::new()));
    if !value.is_table() {
        *value = Value::Table(Table::new());
    }
    match value {
        Value::Table(table) => table,
        // Made a table just above.
        _ => unreachable!("a table"),
    }
}
