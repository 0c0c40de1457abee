//! Reads a price, and places orders. The reads go through; each order waits for a person.
//!
//! `{"action": "price", "symbol": "ETH"}` answers the price.
//! `{"action": "order", "symbol": "ETH", "side": "buy", "quantity": 0.5, "limit": 3200}` reads the price and
//! places the order unless the price is worse than the limit.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    origin: String,
    read_path: String,
    write_path: String,
    price: String,
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Input {
    Price { symbol: String },
    Order(Order),
}

#[derive(Deserialize, Serialize)]
struct Order {
    symbol: String,
    side: Side,
    /// As the caller wrote it, so that the person who is asked sees the same number.
    quantity: serde_json::Number,
    #[serde(skip_serializing)]
    limit: Option<f64>,
}

#[derive(Deserialize, Serialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Side {
    Buy,
    Sell,
}

#[derive(Serialize)]
struct Output {
    symbol: String,
    price: f64,
    /// What the service answered to the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Value>,
}

export!(invoke);

fn invoke(input: Input) -> Result<Output> {
    let config: Config = config::get()?;
    match input {
        Input::Price { symbol } => {
            let price = price(&config, &symbol)?;
            Ok(Output {
                symbol,
                price,
                order: None,
            })
        }
        Input::Order(order) => place(&config, order),
    }
}

fn price(config: &Config, symbol: &str) -> Result<f64> {
    let answer: Value = http::request(
        http::Method::Get,
        format!("{}{}", config.origin, config.read_path),
    )
    .query("symbol", symbol)
    .send()?
    .json()?;
    match answer.pointer(&config.price).and_then(Value::as_f64) {
        Some(price) => Ok(price),
        None => fail!(
            "no-price",
            "the answer for {symbol} has no number at {}",
            config.price
        ),
    }
}

fn place(config: &Config, order: Order) -> Result<Output> {
    ensure!(
        order
            .quantity
            .as_f64()
            .is_some_and(|quantity| quantity > 0.0),
        "bad-quantity",
        "{} is not above zero",
        order.quantity
    );
    let price = price(config, &order.symbol)?;
    if let Some(limit) = order.limit {
        let acceptable = match order.side {
            Side::Buy => price <= limit,
            Side::Sell => price >= limit,
        };
        ensure!(
            acceptable,
            "price-moved",
            "{} is at {price}, the limit is {limit}",
            order.symbol
        );
    }
    log::info!(
        "placing an order for {} {} at about {price}",
        order.quantity,
        order.symbol
    );
    let answer = http::post(format!("{}{}", config.origin, config.write_path))
        .json(&order)
        .send()?
        .json()?;
    Ok(Output {
        symbol: order.symbol,
        price,
        order: Some(answer),
    })
}
