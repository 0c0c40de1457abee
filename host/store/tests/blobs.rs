//! Files named by their content.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs;

use nexus_store::{BlobError, BlobId, Blobs};

#[test]
fn what_is_put_can_be_had_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    let id = blobs.put(b"component").unwrap();
    assert_eq!(id, BlobId::of(b"component"));
    assert_eq!(blobs.put(b"component").unwrap(), id);
    assert_eq!(id.to_string().parse::<BlobId>().unwrap(), id);
    assert_eq!(blobs.get(&id).unwrap(), b"component");
    assert!(blobs.contains(&id));
    let empty = blobs.put(b"").unwrap();
    let mut ids = vec![id, empty];
    ids.sort();
    assert_eq!(blobs.list().unwrap(), ids);

    blobs.remove(&id).unwrap();
    blobs.remove(&id).unwrap();
    assert!(!blobs.contains(&id));
    assert!(matches!(blobs.get(&id), Err(BlobError::NotFound(missing)) if missing == id));
    assert_eq!(blobs.list().unwrap(), [empty]);
}

#[test]
fn a_damaged_blob_is_named_and_mended_by_putting_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let id = blobs.put(b"component").unwrap();
    fs::write(blobs.path(&id), b"cOmponent").unwrap();
    assert!(matches!(blobs.get(&id), Err(BlobError::Corrupt(damaged)) if damaged == id));
    blobs.put(b"component").unwrap();
    assert_eq!(blobs.get(&id).unwrap(), b"component");
}

#[test]
fn what_an_interrupted_write_left_is_removed_and_never_listed() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(".new-abc");
    fs::write(&left, b"half").unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    assert!(!left.exists());
    assert!(blobs.list().unwrap().is_empty());
}

#[test]
fn an_id_has_one_way_of_writing() {
    let id = BlobId::of(b"x").to_string();
    for wrong in [
        &id[1..],
        &id.to_uppercase(),
        "",
        "../../etc/passwd",
        &format!("{id}0"),
    ] {
        assert!(wrong.parse::<BlobId>().is_err(), "{wrong}");
    }
}
