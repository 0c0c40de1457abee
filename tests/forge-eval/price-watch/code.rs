use nexus_agent::prelude::*;

const BASE: &str = "{{origin}}";

#[derive(Deserialize)]
struct Input {
    symbol: String,
}

#[derive(Serialize)]
struct Output {
    price: f64,
    previous: Option<f64>,
    change_percent: Option<f64>,
}

#[derive(Deserialize)]
struct Quote {
    price: f64,
}

fn invoke(input: Input) -> Result<Output> {
    let quote: Quote = http::request(http::Method::Get, format!("{BASE}/v1/quote"))
        .query("symbol", &input.symbol)
        .send()?
        .json()?;
    let prices = memory::space("watched-prices")?;
    let key = format!("last/{}", input.symbol);
    let previous: Option<f64> = prices.get_json(&key)?;
    prices.put_json(&key, &quote.price)?;
    let change_percent = previous
        .filter(|previous| *previous != 0.0)
        .map(|previous| (quote.price - previous) / previous * 100.0);
    Ok(Output { price: quote.price, previous, change_percent })
}

nexus_agent::export!(invoke);
