use nexus_agent::prelude::*;

const PAGES: usize = 20;

#[derive(Deserialize)]
struct Page {
    users: Vec<User>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    admin: bool,
}

#[derive(Serialize, Default)]
struct Output {
    users: usize,
    admins: Vec<String>,
}

fn invoke(_: Value) -> Result<Output> {
    let mut output = Output::default();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let mut request = http::request(http::Method::Get, "{{origin}}/users");
        if let Some(cursor) = &cursor {
            request = request.query("cursor", cursor);
        }
        let page: Page = request.send()?.json()?;
        output.users += page.users.len();
        let admins = page.users.into_iter().filter(|user| user.admin);
        output.admins.extend(admins.map(|user| user.name));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(output),
        }
    }
    fail!("too-many-pages", "there are more than {PAGES} pages")
}

nexus_agent::export!(invoke);
