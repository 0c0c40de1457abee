//! What is large is searched for secrets beside the threads that serve.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use nexus_effects::memory::{Call, Key};
use nexus_effects::{Error, Watch};

use crate::house::House;

const SECRET: &str = "alpha-secret-omega";

/// A write of a value of this size that ends in the secret, escaped.
async fn check(house: &House, watch: &Watch, size: usize) -> Result<(), Error> {
    let key = Key::new("kb".parse().unwrap(), "key").unwrap();
    let value = "%41\\n".repeat(size / 5) + &SECRET.replace('-', "%2d");
    let space = "memory = { space = \"kb\", access = \"read-write\" }".to_owned();
    let call = Call::Put(key, Bytes::from(value));
    let action = call.action(house.context(&[space]), house.next(), BTreeSet::new());
    watch.check(&action).await
}

#[test]
fn a_large_search_lets_others_work() {
    // One thread that serves, and one beside it, which is taken until another task has worked.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let house = House::new().await;
        let watch = Watch::default();
        watch.add("key", SECRET.as_bytes());
        let (worked, wait) = std::sync::mpsc::channel();
        let taken = tokio::task::spawn_blocking(move || wait.recv());
        let other = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&other);
        tokio::spawn(async move {
            done.store(true, Ordering::Relaxed);
            worked.send(())
        });
        // A small one waits for nobody.
        assert!(check(&house, &watch, 1_000).await.is_err());
        assert!(!other.load(Ordering::Relaxed));
        assert!(check(&house, &watch, 500_000).await.is_err());
        assert!(other.load(Ordering::Relaxed));
        taken.await.unwrap().unwrap();
    });
}
