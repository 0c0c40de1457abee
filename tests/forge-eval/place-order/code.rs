use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    sku: String,
    quantity: i64,
}

#[derive(Deserialize)]
struct Receipt {
    id: String,
    total: f64,
}

#[derive(Serialize)]
struct Output {
    order: String,
    total: f64,
}

fn invoke(input: Input) -> Result<Output> {
    ensure!(input.quantity >= 1, "bad-quantity", "{} is no quantity", input.quantity);
    let key = vault::secret("shop-key")?;
    let receipt: Receipt = http::post("{{origin}}/orders")
        .secret_header("x-api-key", "{}", &key)
        .json(&json!({ "sku": input.sku, "quantity": input.quantity }))
        .send()?
        .json()?;
    log::info!("ordered {}", receipt.id);
    Ok(Output { order: receipt.id, total: receipt.total })
}

nexus_agent::export!(invoke);
