//! The templates keep what templates/README.md promises, and Liquid and TOML read the same files.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

fn templates() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.join("template.toml").exists() {
            folders.push(path);
        }
    }
    assert!(folders.len() >= 6, "templates are missing");
    Ok(folders)
}

fn table(folder: &Path, file: &str) -> Result<Table, Box<dyn Error>> {
    let text = fs::read_to_string(folder.join(file))?;
    text.parse()
        .map_err(|error| format!("{}/{file}: {error}", folder.display()).into())
}

/// The value at a path such as `permission.0.http.origin`.
fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let mut value = table.get(keys.next()?)?;
    for key in keys {
        value = match value {
            Value::Table(table) => table.get(key)?,
            Value::Array(array) => array.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn fits(value: &Value, kind: &str) -> bool {
    match kind {
        "origin" | "path" | "name" | "pointer" | "string" => value.is_str(),
        "integer" => value.is_integer(),
        "strings" => value
            .as_array()
            .is_some_and(|list| list.iter().all(Value::is_str)),
        "list" => value.is_array(),
        "map" => value.is_table(),
        _ => false,
    }
}

#[test]
fn parameters_name_places_of_the_manifest_that_exist() -> Result<(), Box<dyn Error>> {
    for folder in templates()? {
        let manifest = table(&folder, "agent.toml")?;
        let template = table(&folder, "template.toml")?;
        let name = folder.file_name().and_then(|name| name.to_str());
        assert_eq!(template.get("name").and_then(Value::as_str), name);
        assert_eq!(manifest.get("name").and_then(Value::as_str), name);
        let mut names = BTreeSet::new();
        for parameter in template["parameter"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().ok_or("a name")?;
            let kind = parameter["type"].as_str().ok_or("a type")?;
            let place = format!("{} of {}", name, folder.display());
            assert!(names.insert(name), "{place} stands twice");
            let required = parameter
                .get("required")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            let default = parameter.get("default");
            assert_eq!(
                required,
                default.is_none(),
                "{place}: either required or a default"
            );
            for path in parameter["sets"].as_array().into_iter().flatten() {
                let path = path.as_str().ok_or("a path")?;
                let value = at(&manifest, path).ok_or_else(|| format!("{place}: no {path}"))?;
                assert!(fits(value, kind), "{place}: {path} is no {kind}");
                assert!(
                    default.is_none_or(|default| default == value),
                    "{place}: default"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_permission_of_a_template_is_set_by_a_parameter() -> Result<(), Box<dyn Error>> {
    for folder in templates()? {
        let manifest = table(&folder, "agent.toml")?;
        let template = fs::read_to_string(folder.join("template.toml"))?;
        let permissions = manifest
            .get("permission")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        for number in 0..permissions {
            let prefix = format!("\"permission.{number}.");
            assert!(template.contains(&prefix), "{}: {prefix}", folder.display());
        }
    }
    Ok(())
}

#[test]
fn source_has_no_placeholders() -> Result<(), Box<dyn Error>> {
    for folder in templates()? {
        let generate = table(&folder, "cargo-generate.toml")?;
        let included = generate["template"]["include"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert_eq!(
            included,
            [Value::from("Cargo.toml"), Value::from("agent.toml")]
        );
        for file in ["Cargo.toml", "agent.toml"] {
            let text = fs::read_to_string(folder.join(file))?;
            let begins = text.matches("# {% capture line %}\n").count();
            let ends = text
                .matches("\n# {% endcapture %}{{ line | replace: \"")
                .count();
            let expected = if file == "Cargo.toml" { 2 } else { 1 };
            assert_eq!(
                (begins, ends),
                (expected, expected),
                "{}/{file}",
                folder.display()
            );
            assert_eq!(
                text.matches("{%").count(),
                2 * expected,
                "{}/{file}",
                folder.display()
            );
        }
    }
    Ok(())
}
