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
        let mut ranked: Vec<_> = self
            .templates()
            .iter()
            .map(|template| {
                let score: usize = template
                    .keywords
                    .iter()
                    .filter(|keyword| words.contains(&stem(keyword)))
                    .map(|keyword| WEIGHT / self.sharing(keyword).max(1))
                    .sum();
                (template, score)
            })
            .collect();
        ranked.sort_by(|(a, one), (b, two)| two.cmp(one).then_with(|| a.name.cmp(&b.name)));
        ranked
    }

    fn sharing(&self, keyword: &str) -> usize {
        self.templates()
            .iter()
            .filter(|template| template.keywords.iter().any(|other| other == keyword))
            .count()
    }
}

/// The words of a text, in lower case and singular. Parts of a hyphenated word
/// count too.
fn split(text: &str) -> BTreeSet<String> {
    let text = text.to_lowercase();
    let whole = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    let parts = text.split(|c: char| !c.is_alphanumeric());
    whole
        .chain(parts)
        .filter(|word| !word.is_empty())
        .map(stem)
        .collect()
}

fn stem(word: &str) -> String {
    let word = word.to_lowercase();
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    }
}
