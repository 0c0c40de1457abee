use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    id: String,
}

#[derive(Serialize)]
struct Output {
    id: String,
    cancelled: bool,
    reason: Option<String>,
}

fn invoke(input: Input) -> Result<Output> {
    let url = format!("{{origin}}/subscriptions/{}", http::encode(&input.id));
    let (cancelled, reason) = match http::delete(url).send() {
        Ok(response) => {
            response.error_for_status()?;
            (true, None)
        }
        Err(Error::Denied(reason)) => (false, reason),
        Err(error) => return Err(error),
    };
    Ok(Output { id: input.id, cancelled, reason })
}

nexus_agent::export!(invoke);
