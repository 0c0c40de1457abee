use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    pair: String,
}

#[derive(Deserialize)]
struct Book {
    bid: f64,
    ask: f64,
}

#[derive(Serialize)]
struct Output {
    buy: &'static str,
    sell: &'static str,
    profit: f64,
}

fn ask(exchange: &str, pair: &str) -> Result<http::Pending> {
    let url = format!("{{origin}}/{exchange}/book");
    http::request(http::Method::Get, url).query("pair", pair).start()
}

fn invoke(input: Input) -> Result<Value> {
    let pair = input.pair;
    let (north, south) = (ask("north", &pair)?, ask("south", &pair)?);
    let north: Book = north.wait()?.json()?;
    let south: Book = south.wait()?.json()?;
    let ways = [
        Output { buy: "north", sell: "south", profit: south.bid - north.ask },
        Output { buy: "south", sell: "north", profit: north.bid - south.ask },
    ];
    let best = ways.into_iter().filter(|way| way.profit > 0.0);
    let best = best.max_by(|a, b| a.profit.total_cmp(&b.profit));
    Ok(json!({ "pair": input.pair, "best": best }))
}

nexus_agent::export!(invoke);
