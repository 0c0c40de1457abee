//! A store whose commits meet the fate that a test chooses. Shared by the tests of the crates that
//! keep in memory what they commit.
#![allow(dead_code, reason = "not every crate needs every fate")]
#![allow(unreachable_pub, reason = "a module of each test that includes it")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nexus_store::{
    Commit, CommitError, Committed, KeyValue, Log, LogRecord, Operation, Position, ReadError, Scan,
    Store, Table,
};
use tokio::sync::{oneshot, watch};

/// A store over another.
pub struct Faulty {
    store: Arc<dyn Store>,
    rules: Mutex<Vec<(Table, Fate)>>,
    unread: Mutex<Vec<Table>>,
    broken: AtomicBool,
    /// Dropped after the store, so that it is closed by then.
    open: watch::Sender<()>,
}

/// What becomes of the next commit that writes a table.
enum Fate {
    /// Nothing is written, and the answer says so.
    Lost,
    /// It is written, and the answer is that it may not have been; perhaps the table can't be read then.
    Landed { unread: bool },
    /// It waits before it is written, or after that.
    Held {
        first: bool,
        reached: oneshot::Sender<()>,
        released: oneshot::Receiver<()>,
    },
}

/// A commit that is held. Dropping this lets it go on.
pub struct Hold {
    reached: Option<oneshot::Receiver<()>>,
    _release: oneshot::Sender<()>,
}

impl Hold {
    /// Waits until the commit is here.
    pub async fn reached(&mut self) {
        if let Some(reached) = self.reached.take() {
            reached.await.expect("the commit comes by");
        }
    }
}

impl Faulty {
    pub fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            rules: Mutex::default(),
            unread: Mutex::default(),
            broken: AtomicBool::new(false),
            open: watch::Sender::new(()),
        })
    }

    /// Ends once the last one that has this store has let go of it, and the file under it is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut open = self.open.subscribe();
        async move { while open.changed().await.is_ok() {} }
    }

    /// From now on nothing is written, as on a broken disk.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), CommitError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        Ok(())
    }

    /// The next commit that writes `table` is not written.
    pub fn lose(&self, table: &'static str) {
        self.rule(table, Fate::Lost);
    }

    /// The next commit that writes `table` is written, and answered with an error.
    pub fn land(&self, table: &'static str) {
        self.rule(table, Fate::Landed { unread: false });
    }

    /// The same, and the read of the table that comes next fails.
    pub fn land_unread(&self, table: &'static str) {
        self.rule(table, Fate::Landed { unread: true });
    }

    /// The next commit that writes `table` is written, and its answer held.
    pub fn hold_answer(&self, table: &'static str) -> Hold {
        self.hold(table, false)
    }

    /// The next commit that writes `table` is held before it is written.
    pub fn hold_commit(&self, table: &'static str) -> Hold {
        self.hold(table, true)
    }

    fn hold(&self, table: &'static str, first: bool) -> Hold {
        let (reached, here) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let held = Fate::Held {
            first,
            reached,
            released,
        };
        self.rule(table, held);
        Hold {
            reached: Some(here),
            _release: release,
        }
    }

    fn rule(&self, table: &'static str, fate: Fate) {
        let mut rules = self.rules.lock().expect("no test panics here");
        rules.push((Table(table), fate));
    }

    fn fate(&self, commit: &Commit) -> Option<(Table, Fate)> {
        let mut rules = self.rules.lock().expect("no test panics here");
        let writes = |wanted: Table| {
            commit.operations().iter().any(|operation| {
                matches!(operation, Operation::Put { table, .. } | Operation::Delete { table, .. } if *table == wanted)
            })
        };
        let at = rules.iter().position(|(table, _)| writes(*table))?;
        Some(rules.remove(at))
    }
}

fn unavailable() -> CommitError {
    CommitError::Unavailable("broken for the test".to_owned())
}

#[async_trait]
impl Store for Faulty {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.check()?;
        match self.fate(&commit) {
            None => self.store.commit(commit).await,
            Some((_, Fate::Lost)) => Err(unavailable()),
            Some((table, Fate::Landed { unread })) => {
                self.store.commit(commit).await?;
                if unread {
                    self.unread.lock().expect("no test panics here").push(table);
                }
                Err(unavailable())
            }
            Some((
                _,
                Fate::Held {
                    first: true,
                    reached,
                    released,
                },
            )) => {
                let _ = reached.send(());
                let _ = released.await;
                self.store.commit(commit).await
            }
            Some((
                _,
                Fate::Held {
                    reached, released, ..
                },
            )) => {
                let committed = self.store.commit(commit).await;
                let _ = reached.send(());
                let _ = released.await;
                committed
            }
        }
    }

    fn commit_soon(&self, commit: Commit) -> Result<(), CommitError> {
        self.check()?;
        self.store.commit_soon(commit)
    }

    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let unread = {
            let mut unread = self.unread.lock().expect("no test panics here");
            let at = unread.iter().position(|other| *other == table);
            at.map(|at| unread.remove(at))
        };
        if unread.is_some() {
            return Err(ReadError::Unavailable("broken for the test".to_owned()));
        }
        self.store.get(table, key).await
    }

    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<KeyValue>, ReadError> {
        self.store.scan(table, scan).await
    }

    async fn read_log(
        &self,
        log: Log,
        from: u64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, ReadError> {
        self.store.read_log(log, from, limit).await
    }

    async fn head(&self, log: Log) -> Result<Position, ReadError> {
        self.store.head(log).await
    }

    fn watch(&self, log: Log) -> watch::Receiver<u64> {
        self.store.watch(log)
    }
}
