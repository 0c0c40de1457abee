use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Output {
    titles: Vec<String>,
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

fn plain(text: &str) -> String {
    text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn invoke(input: Input) -> Result<Output> {
    let feed = http::get("{{origin}}/news.xml")?.error_for_status()?.text()?;
    let titles = feed
        .split("<item>")
        .skip(1)
        .filter_map(|item| between(item, "<title>", "</title>"))
        .take(input.limit.unwrap_or(5))
        .map(plain)
        .collect();
    Ok(Output { titles })
}

nexus_agent::export!(invoke);
