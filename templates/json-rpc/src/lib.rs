//! Calls one read-only method of a JSON-RPC service.
//!
//! With the configuration of the template, `{"address": "0x..."}` answers the address's ETH balance.

use std::collections::BTreeMap;

use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Config {
    origin: String,
    path: String,
    method: String,
    params: Vec<Value>,
    #[serde(default)]
    decimals: usize,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    message: String,
}

#[derive(Serialize)]
struct Output {
    result: Value,
    /// The result in units, such as ETH, if it is an amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
}

export!(invoke);

fn invoke(input: BTreeMap<String, Value>) -> Result<Output> {
    let config: Config = config::get()?;
    let params = config
        .params
        .iter()
        .map(|param| fill(param, &input))
        .collect::<Result<Vec<_>>>()?;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": config.method, "params": params });
    let answer: Answer = http::post(format!("{}{}", config.origin, config.path))
        .json(&call)
        .send()?
        .json()?;
    if let Some(error) = answer.error {
        fail!(
            "rpc-error",
            "{} answered {}: {}",
            config.method,
            error.code,
            error.message
        );
    }
    let amount = answer
        .result
        .as_str()
        .filter(|_| config.decimals > 0)
        .and_then(|hex| amount(hex, config.decimals));
    Ok(Output {
        result: answer.result,
        amount,
    })
}

/// A text in braces, such as `{address}`, gives way to that member of the input.
fn fill(param: &Value, input: &BTreeMap<String, Value>) -> Result<Value> {
    let name = param
        .as_str()
        .and_then(|text| text.strip_prefix('{')?.strip_suffix('}'));
    match name {
        None => Ok(param.clone()),
        Some(name) => match input.get(name) {
            Some(value) => Ok(value.clone()),
            None => fail!("bad-input", "{name} is missing"),
        },
    }
}

/// `0xde0b6b3a7640000` with 18 decimals is `1.0`. Nothing for a text that is no such number.
fn amount(hex: &str, decimals: usize) -> Option<String> {
    let digits = u128::from_str_radix(hex.strip_prefix("0x")?, 16)
        .ok()?
        .to_string();
    let digits = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    Some(format!(
        "{whole}.{}",
        if fraction.is_empty() { "0" } else { fraction }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit() {
        assert_eq!(amount("0xde0b6b3a7640000", 18).as_deref(), Some("1.0"));
        assert_eq!(amount("0x1", 18).as_deref(), Some("0.000000000000000001"));
        assert_eq!(amount("0x0", 18).as_deref(), Some("0.0"));
        assert_eq!(amount("latest", 18), None);
    }
}
