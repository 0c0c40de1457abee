//! What the documents say is true: the commands of the README run and show what it shows, and the
//! tables of `docs/` have every key, reason and link.

mod docs;
mod markdown;
mod recipes;
mod session;

use std::net::TcpListener;

use anyhow::Context as _;
use nexus_tests::guests::root;

use markdown::blocks;
use session::Session;

/// Runs every block marked `sh test` in order, as a reader would type it; a `text` block after one is
/// what it has to show. `background` blocks go on until the end. How many were run.
fn follow(document: &str) -> anyhow::Result<usize> {
    let mut session = Session::start()?;
    let mut shown: Option<String> = None;
    let mut ran = 0;
    for block in blocks(document) {
        match block.info.as_str() {
            "sh test" => {
                shown = Some(session.run(&block.text)?);
                ran += 1;
            }
            "sh test background" => {
                session.background(&block.text)?;
                shown = None;
                ran += 1;
            }
            "text" => {
                let output = shown.take().context("a text block follows what shows it")?;
                if let Err(missing) = markdown::shows(&output, &block.text) {
                    panic!("the document shows {missing:?}, the commands showed\n{output}");
                }
            }
            _ => shown = None,
        }
    }
    Ok(ran)
}

#[test]
fn the_readme_leads_from_nothing_to_an_agent_of_ones_own() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    // Nobody's own host or market must be in the way, so ports are free ones.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let readme = readme.replace("8099", &port.to_string());
    let ran = follow(&on_a_free_port(&readme))?;
    assert!(ran >= 9, "only {ran} blocks of the README were run");
    Ok(())
}

#[test]
fn the_page_on_json_leads_to_an_agent_without_a_word_of_grpc() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(root().join("docs/rest.md"))?;
    let ran = follow(&on_a_free_port(&page))?;
    assert!(ran >= 7, "only {ran} blocks of docs/rest.md were run");
    Ok(())
}

fn on_a_free_port(document: &str) -> String {
    document.replace(
        "nexus serve --config",
        "nexus serve --listen 127.0.0.1:0 --config",
    )
}
