//! An agent of common size, about 250 KB: it values a portfolio. The benchmarks publish it.

use std::collections::BTreeMap;

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    origin: String,
    space: String,
    peer: Option<String>,
}

#[derive(Deserialize)]
struct Input {
    owner: String,
    #[serde(default)]
    positions: Vec<Position>,
    /// Kept beside the portfolio as they are.
    #[serde(default)]
    notes: BTreeMap<String, Value>,
    #[serde(default)]
    dry: bool,
}

#[derive(Serialize, Deserialize, Clone)]
struct Position {
    symbol: String,
    quantity: f64,
    #[serde(default)]
    bought_at: Option<f64>,
}

#[derive(Deserialize)]
struct Quote {
    symbol: String,
    price: f64,
    #[serde(default)]
    change: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Valuation {
    owner: String,
    total: f64,
    profit: Option<f64>,
    parts: BTreeMap<String, Part>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    quantity: f64,
    price: f64,
    value: f64,
    change: Option<f64>,
}

export!(invoke);

fn invoke(input: Input) -> Result<Valuation> {
    if input.dry {
        return Ok(Valuation {
            owner: input.owner,
            total: 0.0,
            profit: None,
            parts: BTreeMap::new(),
        });
    }
    let config: Config = config::get()?;
    let space = memory::space(&config.space)?;
    let key = format!("portfolio/{}", http::encode(&input.owner));
    let positions = if input.positions.is_empty() {
        space
            .get_json::<Vec<Position>>(&key)?
            .ok_or_else(|| Failure::new("no-portfolio", "there is none yet"))?
    } else {
        space.put_json(&key, &input.positions)?;
        input.positions
    };
    for (name, note) in &input.notes {
        ensure!(!note.is_null(), "bad-note", "note {name} is empty");
        space.put_json(format!("note/{key}/{name}"), note)?;
    }
    let quotes = quotes(&config.origin, &positions)?;
    let mut valuation = Valuation {
        owner: input.owner,
        total: 0.0,
        profit: Some(0.0),
        parts: BTreeMap::new(),
    };
    for position in &positions {
        let Some(quote) = quotes.get(&position.symbol) else {
            fail!("no-price", "there is no price for {}", position.symbol)
        };
        let value = position.quantity * quote.price;
        valuation.total += value;
        valuation.profit = valuation
            .profit
            .zip(position.bought_at)
            .map(|(profit, bought_at)| profit + value - position.quantity * bought_at);
        let part = Part {
            quantity: position.quantity,
            price: quote.price,
            value,
            change: quote.change,
        };
        valuation.parts.insert(position.symbol.clone(), part);
    }
    space.put_json(format!("valuation/{key}"), &valuation)?;
    if let Some(peer) = &config.peer {
        bus::peer(peer)?.call(&valuation)?;
    }
    log::info!(
        "valued {} positions at {:.2}",
        positions.len(),
        valuation.total
    );
    Ok(valuation)
}

/// Asks for all prices at once.
fn quotes(origin: &str, positions: &[Position]) -> Result<BTreeMap<String, Quote>> {
    let pending: Vec<_> = positions
        .iter()
        .map(|position| {
            http::request(http::Method::Get, format!("{origin}/quote"))
                .query("symbol", &position.symbol)
                .start()
        })
        .collect::<Result<_>>()?;
    pending
        .into_iter()
        .map(|pending| {
            pending
                .wait()?
                .json::<Quote>()
                .map(|quote| (quote.symbol.clone(), quote))
        })
        .collect()
}
