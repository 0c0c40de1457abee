use nexus_manifest::{Origin, SecretName, Target};
use serde::Deserialize;
use toml::Value;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Origin,
    Path,
    Name,
    Pointer,
    String,
    Integer,
    Number,
    Boolean,
    Strings,
    List,
    Map,
}

impl Type {
    /// What a person has to write.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Origin => "an origin such as https://api.example.com",
            Self::Path => "an absolute path such as /v1/items, without query or `*`",
            Self::Name => "a name of lower-case letters, digits and hyphens",
            Self::Pointer => "a JSON Pointer such as /data/0, or nothing",
            Self::String => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Strings => "texts, separated by commas or as a JSON array",
            Self::List => "a JSON array",
            Self::Map => "a JSON object",
        }
    }

    /// Reads the text that a caller gave; the error says what is wrong with it.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Origin => text
                .parse::<Origin>()
                .map(|origin| origin.to_string().into())
                .map_err(|error| error.to_string()),
            Self::Path => path(text),
            Self::Name => text
                .parse::<SecretName>()
                .map(|name| name.as_str().to_owned().into())
                .map_err(|error| error.to_string()),
            Self::Pointer => pointer(text),
            Self::String => Ok(text.to_owned().into()),
            Self::Integer => text
                .parse::<i64>()
                .map(Value::from)
                .map_err(|error| error.to_string()),
            Self::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number.into()),
                Ok(_) => Err("it is not finite".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Self::Boolean => text
                .parse::<bool>()
                .map(Value::from)
                .map_err(|error| error.to_string()),
            Self::Strings => strings(text),
            Self::List => json(text, Value::is_array),
            Self::Map => json(text, Value::is_table),
        }
    }
}

fn path(text: &str) -> Result<Value, String> {
    // In a manifest `*` would stand for everything below.
    if text.contains('*') {
        return Err("it has a `*`".to_owned());
    }
    let target: Target = text.parse().map_err(|error| format!("{error}"))?;
    if target.query().is_some() {
        return Err("it has a query".to_owned());
    }
    Ok(target.path().to_owned().into())
}

fn pointer(text: &str) -> Result<Value, String> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err("it does not begin with /".to_owned());
    }
    let escapes = text.split('~').skip(1);
    if escapes
        .into_iter()
        .any(|rest| !rest.starts_with(['0', '1']))
    {
        return Err("after ~ comes 0 or 1".to_owned());
    }
    Ok(text.to_owned().into())
}

fn strings(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('[') {
        let texts: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return Ok(texts.into());
    }
    let texts: Vec<String> = text
        .split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    Ok(texts.into())
}

fn json(text: &str, fits: impl Fn(&Value) -> bool) -> Result<Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let value = Value::try_from(value).map_err(|error| error.to_string())?;
    if fits(&value) {
        Ok(value)
    } else {
        Err(format!("it is of the type {}", value.type_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_their_type_says_or_refused() {
        let good = [
            (
                Type::Origin,
                "https://API.example.com",
                "https://api.example.com",
            ),
            (Type::Path, "/v1/a", "/v1/a"),
            (Type::Name, "kb-08", "kb-08"),
            (Type::String, "\"]\n[x]", "\"]\n[x]"),
        ];
        for (kind, text, value) in good {
            assert_eq!(kind.read(text), Ok(Value::from(value)), "{kind:?}");
        }
        assert_eq!(
            Type::Strings.read("a, b"),
            Type::Strings.read(r#"["a","b"]"#)
        );
        let bad = [
            (Type::Origin, "https://example.com/path"),
            (Type::Origin, "example.com"),
            (Type::Path, "/v1/*"),
            (Type::Path, "/../x"),
            (Type::Path, "v1"),
            (Type::Path, "/a?b=c"),
            (Type::Name, "A b"),
            (Type::Pointer, "data"),
            (Type::Pointer, "/~2"),
            (Type::Integer, "1.5"),
            (Type::Number, "NaN"),
            (Type::List, "{}"),
            (Type::Map, "[]"),
            (Type::Strings, "[1]"),
        ];
        for (kind, text) in bad {
            assert!(kind.read(text).is_err(), "{kind:?} {text}");
        }
    }
}
