//! `nexus demo`: the whole story on one machine, against the same binary that serves and over the
//! same protocol that every client speaks.
//!
//! Each scene checks what it tells. The demo succeeds only if every one of them came true.

mod host;
mod market;
mod scenes;
mod story;

use anyhow::{Context as _, bail};
use nexus_forge::toolchain::{self, Toolchain};
use nexus_proto::v1::ForgeBuilder;

use self::{host::Host, market::Market, scenes::Model, story::Story};
use crate::cli::{args::Demo, exit::Exit, failure::NeedsAnswer, output::Output, prompt};

/// Runs the demo. Whatever becomes of it, its host is stopped and its directory removed.
pub(crate) async fn run(arguments: &Demo, output: &Output) -> anyhow::Result<Exit> {
    if !arguments.yes && !prompt::is_attended() {
        return Err(NeedsAnswer {
            question: "the demo asks before its agent may write".to_owned(),
            flag: "`nexus demo --yes`".to_owned(),
        }
        .into());
    }
    let mut story = Story::new(arguments.yes, *output);
    let told = tokio::select! {
        told = Box::pin(tell(&mut story)) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("the demo was interrupted")),
    };
    told?;
    story.end()?;
    Ok(Exit::Success)
}

async fn tell(story: &mut Story) -> anyhow::Result<()> {
    let model = Model::from_environment();
    let by = precondition(model.is_some()).await?;

    let directory = tempfile::Builder::new()
        .prefix("nexus-demo-")
        .tempdir()
        .context("failed to make a temporary directory; TMPDIR names another place for it")?;
    let market = Market::start().await?;
    story.scene("A host and a market, on this machine only");
    let mut host = Host::start(directory.path(), &market.origin, model.as_ref())?;
    let told = scenes::play(story, &mut host, &market, model.as_ref(), by).await;
    let told = match told {
        Ok(()) => host.stop().await,
        Err(error) => {
            story.say(&host.last_words());
            let _ = host.stop().await;
            Err(error)
        }
    };
    drop(market);
    directory
        .close()
        .context("failed to remove the temporary directory")?;
    told
}

/// Says what is missing before anything is started, and who can make the second version.
async fn precondition(model: bool) -> anyhow::Result<ForgeBuilder> {
    let by = match Toolchain::find(&toolchain::Config::default()).await {
        Ok(_) => ForgeBuilder::Local,
        Err(error) if model => {
            let error = anyhow::Error::new(error);
            bail!("what a model writes cannot be compiled on this machine: failed to {error:#}");
        }
        // A template is a component already.
        Err(_) => ForgeBuilder::Prebuilt,
    };
    if !nexus_sandbox::probe().confines() {
        bail!(
            "agents are not compiled on this machine, as nothing confines the compiler; `nexus doctor` says \
             what would"
        );
    }
    Ok(by)
}
