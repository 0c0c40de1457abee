//! Sends a JSON document to an API that wants a key. The host adds the key when the request leaves.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    origin: String,
    path: String,
    secret: String,
    header: String,
    format: String,
}

#[derive(Deserialize)]
struct Input {
    body: Value,
}

#[derive(Serialize)]
struct Output {
    status: u16,
    /// The JSON that came back, or the text if it was none.
    response: Value,
}

export!(invoke);

fn invoke(input: Input) -> Result<Output> {
    let config: Config = config::get()?;
    let secret = vault::secret(&config.secret)?;
    let response = http::post(format!("{}{}", config.origin, config.path))
        .secret_header(&config.header, &config.format, &secret)
        .json(&input.body)
        .send()?
        .error_for_status()?;
    log::info!("sent, status {}", response.status());
    let body = match response.json() {
        Ok(body) => body,
        Err(_) => Value::String(response.text()?),
    };
    Ok(Output {
        status: response.status(),
        response: body,
    })
}
