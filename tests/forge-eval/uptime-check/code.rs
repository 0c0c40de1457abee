use nexus_agent::prelude::*;

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

#[derive(Serialize)]
struct Down {
    path: &'static str,
    status: u16,
}

#[derive(Serialize, Default)]
struct Output {
    up: Vec<&'static str>,
    down: Vec<Down>,
}

fn invoke(_: Value) -> Result<Output> {
    let mut pending = Vec::new();
    for path in PATHS {
        let request = http::request(http::Method::Get, format!("{{origin}}{path}"));
        pending.push((path, request.start()?));
    }
    let mut output = Output::default();
    for (path, pending) in pending {
        let response = pending.wait()?;
        if response.ok() {
            output.up.push(path);
        } else {
            output.down.push(Down { path, status: response.status() });
        }
    }
    Ok(output)
}

nexus_agent::export!(invoke);
