use nexus_agent::prelude::*;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Input {
    text: String,
}

#[derive(Serialize)]
struct Output {
    words: usize,
    most_frequent: Option<String>,
}

fn invoke(input: Input) -> Result<Output> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in input.text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let words = counts.values().sum();
    let mut best: Option<(&String, usize)> = None;
    for (word, count) in &counts {
        if best.is_none_or(|(_, most)| *count > most) {
            best = Some((word, *count));
        }
    }
    let most_frequent = best.map(|(word, _)| word.clone());
    Ok(Output { words, most_frequent })
}

nexus_agent::export!(invoke);
