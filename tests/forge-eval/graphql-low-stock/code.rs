use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    below: i64,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    products: Vec<Product>,
}

#[derive(Deserialize)]
struct Product {
    name: String,
    stock: i64,
}

fn invoke(input: Input) -> Result<Value> {
    let question = json!({
        "operationName": "Stock",
        "query": "query Stock { products { name stock } }",
    });
    let answer: Answer = http::post("{{origin}}/graphql").json(&question).send()?.json()?;
    let mut low: Vec<Product> = answer.data.products;
    low.retain(|product| product.stock < input.below);
    low.sort_by_key(|product| product.stock);
    let names: Vec<String> = low.into_iter().map(|product| product.name).collect();
    Ok(json!({ "low": names }))
}

nexus_agent::export!(invoke);
