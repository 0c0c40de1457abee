use nexus_agent::prelude::*;

const BASE: &str = "{{origin}}";

#[derive(Deserialize)]
struct Input {
    limit: u64,
}

#[derive(Deserialize)]
struct Queue {
    depth: u64,
}

#[derive(Serialize)]
struct Output {
    depth: u64,
    alerted: bool,
}

fn invoke(input: Input) -> Result<Output> {
    let queue: Queue = http::get(format!("{BASE}/queue/depth"))?.json()?;
    let alerted = queue.depth > input.limit;
    if alerted {
        log::warn!("the queue holds {}", queue.depth);
        http::post(format!("{BASE}/hooks/ops"))
            .json(&json!({ "alert": "queue", "depth": queue.depth }))
            .send()?
            .error_for_status()?;
    }
    Ok(Output { depth: queue.depth, alerted })
}

nexus_agent::export!(invoke);
