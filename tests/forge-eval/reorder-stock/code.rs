use nexus_agent::prelude::*;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Item {
    sku: String,
    have: u64,
    want: u64,
}

#[derive(Serialize)]
struct Output {
    reordered: BTreeMap<String, u64>,
}

fn invoke(_: Value) -> Result<Output> {
    let stock: Vec<Item> = http::get("{{origin}}/stock")?.json()?;
    let mut reordered = BTreeMap::new();
    for item in stock.into_iter().filter(|item| item.have * 2 < item.want) {
        let quantity = item.want - item.have;
        http::put(format!("{{origin}}/reorders/{}", http::encode(&item.sku)))
            .json(&json!({ "quantity": quantity }))
            .send()?
            .error_for_status()?;
        reordered.insert(item.sku, quantity);
    }
    Ok(Output { reordered })
}

nexus_agent::export!(invoke);
