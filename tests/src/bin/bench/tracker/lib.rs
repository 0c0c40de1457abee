//! Watches prices: fetches those of some symbols, and says how each stands to its limit.

use std::collections::BTreeMap;

use nexus_agent::prelude::*;

const ORIGIN: &str = "https://prices.example.com";
const EDITION: u32 = 0;

#[derive(Deserialize)]
struct Input {
    /// Symbol to the price that is worth a word.
    limits: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Quote {
    price: f64,
    #[serde(default)]
    venue: Option<String>,
}

#[derive(Serialize)]
struct Standing {
    price: f64,
    venue: String,
    above: bool,
    percent: f64,
}

#[derive(Serialize)]
struct Output {
    edition: u32,
    above: usize,
    standings: BTreeMap<String, Standing>,
}

export!(invoke);

fn invoke(input: Input) -> Result<Output> {
    let mut standings = BTreeMap::new();
    for (symbol, limit) in &input.limits {
        ensure!(*limit > 0.0, "bad-input", "the limit of {symbol} is not above zero");
        let quote: Quote = http::request(http::Method::Get, format!("{ORIGIN}/price"))
            .query("symbol", symbol)
            .send()?
            .json()?;
        let percent = (quote.price / limit - 1.0) * 100.0;
        log::info!("{symbol} is at {}, {percent:.1} % from its limit", quote.price);
        let standing = Standing {
            price: quote.price,
            venue: quote.venue.unwrap_or_else(|| "unknown".to_owned()),
            above: quote.price > *limit,
            percent,
        };
        standings.insert(symbol.clone(), standing);
    }
    let above = standings.values().filter(|standing| standing.above).count();
    Ok(Output { edition: EDITION, above, standings })
}
