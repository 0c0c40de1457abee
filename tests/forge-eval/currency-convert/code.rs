use nexus_agent::prelude::*;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Input {
    amount: f64,
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct Rates {
    base: String,
    rates: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct Output {
    amount: f64,
    currency: String,
}

impl Rates {
    fn of(&self, currency: &str) -> Result<f64> {
        if currency == self.base {
            return Ok(1.0);
        }
        match self.rates.get(currency) {
            Some(rate) => Ok(*rate),
            None => fail!("unknown-currency", "there is no rate for {currency}"),
        }
    }
}

fn invoke(input: Input) -> Result<Output> {
    let rates: Rates = http::get("{{origin}}/rates")?.json()?;
    let amount = input.amount / rates.of(&input.from)? * rates.of(&input.to)?;
    Ok(Output { amount: (amount * 100.0).round() / 100.0, currency: input.to })
}

nexus_agent::export!(invoke);
