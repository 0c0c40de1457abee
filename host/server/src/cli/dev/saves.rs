//! When something of a project was saved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// An editor writes a file in several steps, and a formatter once more.
const QUIET: Duration = Duration::from_millis(20);

/// Saves in a project's directory and in its `src`.
pub(super) struct Saves {
    root: PathBuf,
    events: mpsc::UnboundedReceiver<notify::Result<Event>>,
    /// Watches as long as it is there.
    _watcher: notify::RecommendedWatcher,
}

impl Saves {
    pub(super) fn of(root: &Path) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event| {
            // Nobody waits for saves any more.
            let _ = sender.send(event);
        })
        .context("failed to watch for saves")?;
        // Not the whole tree: cargo writes thousands of files below it.
        let watched = [
            (root.to_path_buf(), RecursiveMode::NonRecursive),
            (root.join("src"), RecursiveMode::Recursive),
        ];
        for (path, mode) in watched.iter().filter(|(path, _)| path.is_dir()) {
            watcher
                .watch(path, *mode)
                .with_context(|| format!("failed to watch {}", path.display()))?;
        }
        Ok(Self {
            root: root.to_path_buf(),
            events,
            _watcher: watcher,
        })
    }

    /// Returns once something was saved since the last call, and nothing more for a moment.
    pub(super) async fn next(&mut self) -> anyhow::Result<()> {
        loop {
            let event = self.events.recv().await;
            let event = event.context("the watch for saves has ended")??;
            if is_save(&self.root, &event) {
                break;
            }
        }
        while let Ok(Some(event)) = tokio::time::timeout(QUIET, self.events.recv()).await {
            event?;
        }
        Ok(())
    }
}

/// Whether it changes what a build sees. Cargo itself may write the lock file.
fn is_save(root: &Path, event: &Event) -> bool {
    if !matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
    ) {
        return false;
    }
    event.paths.iter().any(|path| {
        let Ok(inside) = path.strip_prefix(root) else {
            return false;
        };
        inside.starts_with("src")
            || ["Cargo.toml", "agent.toml", "build.rs"]
                .iter()
                .any(|name| inside == Path::new(name))
    })
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind};

    use super::*;

    #[test]
    fn what_a_build_does_not_see_is_no_save() {
        let root = Path::new("/a");
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let create = EventKind::Create(CreateKind::File);
        for saved in [
            "/a/src/lib.rs",
            "/a/src/deep/er.rs",
            "/a/agent.toml",
            "/a/Cargo.toml",
        ] {
            assert!(is_save(root, &event(create, saved)), "{saved}");
        }
        for other in ["/a/Cargo.lock", "/a/target", "/a/notes.md", "/b/src/lib.rs"] {
            assert!(!is_save(root, &event(create, other)), "{other}");
        }
        let read = EventKind::Access(AccessKind::Read);
        assert!(!is_save(root, &event(read, "/a/src/lib.rs")));
    }
}
