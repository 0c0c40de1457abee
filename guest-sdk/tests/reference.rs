//! `API.md`, which people read and models are given, ends with everything that the SDK offers, taken
//! from its sources. With `NEXUS_UPDATE=1` in the environment it is written anew.

use std::fs;
use std::path::Path;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The modules as agents name them, and where they stand.
const MODULES: [(&str, &[&str]); 7] = [
    (
        "http",
        &[
            "http/mod.rs",
            "http/request.rs",
            "http/response.rs",
            "http/url.rs",
        ],
    ),
    ("memory", &["memory.rs"]),
    ("bus", &["bus.rs"]),
    ("vault", &["vault.rs"]),
    ("config", &["config.rs"]),
    ("log", &["log.rs"]),
    ("", &["error.rs", "export.rs"]),
];
/// What no forged agent gets, and what only macros call.
const LEFT_OUT: [&str; 3] = ["reveal", "json<I, O, E>", "raw<E"];
const HEADING: &str = "# Everything";

/// One thing that agents can name.
struct Item {
    line: String,
    said: String,
}

/// The public items of a source, in its order: functions with their types, structs with their public
/// fields, enumerations with their cases, macros.
fn items(source: &str) -> Vec<Item> {
    let source = source
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines: Vec<&str> = source.lines().collect();
    let (mut items, mut said, mut within) = (Vec::new(), String::new(), None::<String>);
    let mut exported = false;
    for (at, line) in lines.iter().enumerate() {
        let text = line.trim_start();
        if let Some(doc) = text.strip_prefix("///") {
            // The first sentence, over as many lines as it takes.
            if !said.ends_with('.') {
                said.push_str(doc);
            }
            if let Some((first, _)) = said.split_once(". ") {
                said = format!("{first}.");
            }
            continue;
        }
        if text.starts_with("#[") {
            exported |= text == "#[macro_export]";
            continue;
        }
        let rest = || lines[at..].iter().map(|line| line.trim());
        let until = |end: fn(&str) -> bool| {
            let mut whole = String::new();
            for line in rest() {
                whole.push(' ');
                whole.push_str(line);
                if end(line) {
                    break;
                }
            }
            whole.trim().to_owned()
        };
        let mut found = None;
        if let Some(of) = line.strip_prefix("impl") {
            let of = of.trim_end_matches(" {").trim_start_matches("<'_>").trim();
            within = (!of.contains(" for ")).then(|| of.to_owned());
        } else if *line == "}" {
            within = None;
        } else if text.starts_with("pub fn ") {
            let whole = until(|line| line.ends_with('{'));
            let whole = whole.trim_start_matches("pub fn ").trim_end_matches('{');
            let whole = whole.replace("( ", "(").replace(", )", ")");
            let whole = whole.replace("(mut self", "(self");
            let name = match (&within, line.starts_with(' ')) {
                (Some(of), true) => format!("{of}::{}", whole.trim()),
                (None, true) => String::new(),
                _ => whole.trim().to_owned(),
            };
            found = Some(name);
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            let body = until(|line| line == "}" || line.ends_with(';'));
            let fields: Vec<&str> = body
                .split("pub ")
                .skip(2)
                .filter_map(|field| field.split(',').next())
                .filter(|field| field.contains(": "))
                .collect();
            let name = name.trim_end_matches([' ', '{', ';']);
            if !fields.is_empty() {
                found = Some(format!("struct {name} {{ {} }}", fields.join(", ")));
            }
        } else if let Some(name) = line.strip_prefix("pub enum ") {
            let cases = lines[at + 1..]
                .iter()
                .take_while(|line| **line != "}")
                .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
                .map(|line| line.trim().trim_end_matches([',', '{', ' ']))
                .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
                .collect::<Vec<_>>();
            let name = name.trim_end_matches(" {");
            found = Some(format!("enum {name} {{ {} }}", cases.join(", ")));
        } else if let Some(name) = line.strip_prefix("macro_rules! ") {
            let name = name.trim_end_matches(" {");
            if exported && !name.starts_with("__") {
                found = Some(format!("{name}!"));
            }
        } else if let Some(name) = line.strip_prefix("pub use crate::__log_") {
            let name = name.trim_end_matches(';').split(" as ").last();
            found = name.map(|name| format!("{name}!"));
        }
        if let Some(line) = found.filter(|line| !line.is_empty()) {
            let left_out = LEFT_OUT
                .iter()
                .any(|out| line.starts_with(out) || line.contains(&format!("::{out}")));
            if !left_out {
                items.push(Item {
                    line,
                    said: said.trim().to_owned(),
                });
            }
        }
        said.clear();
        exported = false;
    }
    items
}

/// A comment without the links of rustdoc: their words stay.
fn plain(said: &str) -> String {
    let mut plain = String::new();
    let mut rest = said;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else {
            break;
        };
        plain.push_str(&format!("{before}`{name}`"));
        let target = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'));
        // A place may follow a link as well as its target.
        rest = match target {
            Some((target, after)) if target.contains("::") => after,
            _ => after,
        };
    }
    plain + rest
}

fn everything(sources: &Path) -> Result<String> {
    let mut text = format!(
        "{HEADING}\n\nBelow the name of each module, as the prelude brings it; `Result` is `nexus_agent::Result`.\n\n```text\n"
    );
    for (module, files) in MODULES {
        for file in files {
            for item in items(&fs::read_to_string(sources.join(file))?) {
                let path = match module.is_empty()
                    || item.line.starts_with("struct ")
                    || item.line.starts_with("enum ")
                {
                    true => String::new(),
                    false => format!("{module}::"),
                };
                text.push_str(&format!("{path}{}", item.line));
                if !item.said.is_empty() {
                    text.push_str(&format!("  // {}", plain(&item.said)));
                }
                text.push('\n');
            }
        }
    }
    text.push_str("```\n");
    Ok(text)
}

#[test]
fn the_reference_holds_everything_that_the_sources_offer() -> Result {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("API.md");
    let written = fs::read_to_string(&path)?;
    let generated = everything(&root.join("src"))?;
    let hand = written.split(HEADING).next().unwrap_or_default();
    let whole = format!("{}\n\n{generated}", hand.trim_end());
    if std::env::var_os("NEXUS_UPDATE").is_some() {
        fs::write(&path, &whole)?;
    }
    let checked_in = fs::read_to_string(&path)?;
    assert!(
        whole == checked_in,
        "API.md differs from what the sources offer: run `NEXUS_UPDATE=1 cargo test -p nexus-agent --test reference`"
    );
    for known in [
        "http::get(url: impl AsRef<str>) -> Result<Response>",
        "http::RequestBuilder::query(",
        "memory::Space::put_if(",
        "bus::Peer::call<",
        "enum Method { Get,",
        "struct Entry { key: String, value: Vec<u8>, revision: u64 }",
        "log::info!",
        "\nfail!",
    ] {
        assert!(
            checked_in.contains(known),
            "the search finds what is there: {known}"
        );
    }
    Ok(())
}

/// The files that agents can name something of are all looked at.
#[test]
fn every_source_is_looked_at() -> Result {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let listed: Vec<&str> = MODULES
        .iter()
        .flat_map(|(_, files)| *files)
        .copied()
        .collect();
    let mut left = vec![sources.clone()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(&sources)?.display().to_string();
            let other = ["lib.rs", "prelude.rs", "bindings.rs", "bindings_reveal.rs"];
            assert!(
                listed.contains(&name.as_str()) || other.contains(&name.as_str()),
                "{name} is not in the reference"
            );
        }
    }
    Ok(())
}
