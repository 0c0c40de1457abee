use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    limit: f64,
}

#[derive(Deserialize)]
struct Reading {
    celsius: f64,
}

#[derive(Serialize)]
struct Output {
    celsius: f64,
    notified: bool,
}

fn invoke(input: Input) -> Result<Output> {
    let reading: Reading = http::get("{{origin}}/sensors/room-1")?.json()?;
    let notified = reading.celsius > input.limit;
    if notified {
        let text = format!("room-1 is at {} degrees", reading.celsius);
        bus::peer("notifier")?.call(&json!({ "text": text }))?;
    }
    Ok(Output { celsius: reading.celsius, notified })
}

nexus_agent::export!(invoke);
