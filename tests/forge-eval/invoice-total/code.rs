use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    items: Vec<Item>,
    vat_percent: i64,
}

#[derive(Deserialize)]
struct Item {
    cents: i64,
    quantity: i64,
}

#[derive(Serialize)]
struct Output {
    net: i64,
    vat: i64,
    gross: i64,
}

fn invoke(input: Input) -> Result<Output> {
    let net: i64 = input.items.iter().map(|item| item.cents * item.quantity).sum();
    // Half a cent is rounded up.
    let vat = (net * input.vat_percent + 50).div_euclid(100);
    Ok(Output { net, vat, gross: net + vat })
}

nexus_agent::export!(invoke);
