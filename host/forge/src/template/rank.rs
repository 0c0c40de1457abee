use std::collections::BTreeSet;

use super::{Catalog, Template};

/// A keyword that only one template has counts this much; one that several have
/// counts its share.
const WEIGHT: usize = 60;

impl Catalog {
    /// The templates, those first for which the words speak most, with how much
    /// that is. The same words always give the same order.
    pub fn rank(&self, words: &str) -> Vec<(&Template, usize)> {
        let words = split(words);
        let templates: Vec<_> = self.templates().iter().map(|it| (it, stems(it))).collect();
        let sharing = |stem: &String| {
            let others = templates.iter();
            others.filter(|(_, stems)| stems.contains(stem)).count()
        };
        let mut ranked: Vec<_> = templates
            .iter()
            .map(|(template, stems)| {
                let score: usize = stems
                    .intersection(&words)
                    .map(|stem| WEIGHT / sharing(stem).max(1))
                    .sum();
                (*template, score)
            })
            .collect();
        ranked.sort_by(|(a, one), (b, two)| two.cmp(one).then_with(|| a.name.cmp(&b.name)));
        ranked
    }
}

fn stems(template: &Template) -> BTreeSet<String> {
    template
        .keywords
        .iter()
        .map(|keyword| stem(keyword))
        .collect()
}

/// The stems of a text's words. Parts of a hyphenated word count too.
fn split(text: &str) -> BTreeSet<String> {
    let whole = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    let parts = text.split(|c: char| !c.is_alphanumeric());
    whole
        .chain(parts)
        .filter(|word| !word.is_empty())
        .map(stem)
        .collect()
}

/// What the forms of an English word have in common, near enough: `fetch` of fetches, fetching and
/// fetched, `pric` of price and prices.
fn stem(word: &str) -> String {
    let word = word.to_lowercase();
    let without = |ending: &str| {
        let stem = word.strip_suffix(ending)?;
        (stem.chars().count() > 2).then(|| stem.to_owned())
    };
    if let Some(stem) = without("ies").or_else(|| without("ied")) {
        return stem + "y";
    }
    let stem = ["ing", "ed", "es"]
        .iter()
        .find_map(|ending| without(ending));
    let stem = stem.or_else(|| without("s").filter(|_| !word.ends_with("ss")));
    let stem = stem.or_else(|| without("e")).unwrap_or(word);
    // Getting, planned.
    let mut end = stem.chars().rev();
    match (end.next(), end.next()) {
        (Some(last), Some(before)) if last == before && "bdgmnprt".contains(last) => {
            stem[..stem.len() - last.len_utf8()].to_owned()
        }
        _ => stem,
    }
}
