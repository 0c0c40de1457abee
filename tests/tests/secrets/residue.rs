//! T35: what is left of a secret in the host's memory. Nothing, once it is sealed, and once it was used.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;
use nexus_proto::v1;
use nexus_tests::{Client, Host};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Endpoint;

use super::{Stage, bearer, with_secret};

/// Stands in no other place of any process.
const CANARY: &str = "tZ8q-residue-4Kd0-Vx7m-Lw2s-Pb9n-Hc5y-Gf1r";
const PAGE: u64 = 4096;

/// Sets the secret by a connection of its own, and comes back when the host has closed its end.
async fn set(host: &Host, value: &str, audience: String) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let between = format!("http://{}", listener.local_addr()?);
    let address = host.endpoint().trim_start_matches("http://").to_owned();
    let passed_on = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await?;
        let mut host = TcpStream::connect(address).await?;
        // Ends when both have said that they are done.
        tokio::io::copy_bidirectional(&mut client, &mut host).await
    });
    let channel = Endpoint::new(between)?.origin(host.endpoint().parse()?);
    let mut client = Client::new(channel.connect().await?, Some(host.token()))?;
    let request = v1::SetSecretRequest {
        secret_id: "exchange-key".to_owned(),
        value: value.to_owned(),
        audience: vec![audience],
        ..v1::SetSecretRequest::default()
    };
    client.vault.set_secret(request).await?;
    drop(client);
    passed_on.await??;
    Ok(())
}

/// How often each of the needles stands in what a process may read and write of its own memory. `None`
/// if this user may not look, which is what everybody but root is told.
fn search(pid: u32, needles: &[&[u8]]) -> anyhow::Result<Option<Vec<usize>>> {
    let opened = |what: &str| File::open(format!("/proc/{pid}/{what}"));
    let memory = match opened("mem") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        memory => memory?,
    };
    let present = opened("pagemap")?;
    let overlap = needles.iter().map(|needle| needle.len()).max().unwrap_or(0);
    let mut found = vec![0; needles.len()];
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        let (start, end) = range.split_once('-').context("a range")?;
        let (start, end) = (
            u64::from_str_radix(start, 16)?,
            u64::from_str_radix(end, 16)?,
        );
        if !rights.starts_with("rw") {
            continue;
        }
        // Page by page, with the end of the one before: most were never touched.
        let mut window: Vec<u8> = Vec::new();
        let mut entries = vec![0; ((end - start) / PAGE * 8) as usize];
        present.read_exact_at(&mut entries, start / PAGE * 8)?;
        for (number, entry) in entries.as_chunks::<8>().0.iter().enumerate() {
            // Bit 63: in memory, bit 62: in the swap.
            if u64::from_le_bytes(*entry) >> 62 == 0 {
                window.clear();
                continue;
            }
            let mut page = [0; PAGE as usize];
            // A page may be gone by now.
            if memory
                .read_exact_at(&mut page, start + number as u64 * PAGE)
                .is_err()
            {
                window.clear();
                continue;
            }
            if page == [0; PAGE as usize] {
                window.clear();
                continue;
            }
            window.extend_from_slice(&page);
            for (needle, found) in needles.iter().zip(&mut found) {
                // What ends in the part that was there before was counted before.
                let fresh = window
                    .len()
                    .saturating_sub(PAGE as usize + needle.len() - 1);
                let fresh = window[fresh..].windows(needle.len());
                *found += fresh
                    .filter(|bytes| bytes[0] == needle[0] && bytes == needle)
                    .count();
            }
            window.drain(..window.len().saturating_sub(overlap));
        }
    }
    Ok(Some(found))
}

#[tokio::test]
async fn t35_nothing_of_a_secret_is_left_in_memory_once_it_is_sealed_and_once_it_was_used()
-> anyhow::Result<()> {
    let mut stage = Stage::new().await?;
    let pid = stage.host.pid();
    let hexadecimal = std::fs::read_to_string(stage.host.data.join("vault.key"))?;
    let hexadecimal = hexadecimal.split_whitespace().last().context("the key")?;
    let master = hex::decode(hexadecimal)?;
    let (front, back) = CANARY.as_bytes().split_at(CANARY.len() / 2);
    let needles = [front, back, &master, hexadecimal.as_bytes()];

    set(&stage.host, CANARY, stage.exchange.url()).await?;
    let Some(found) = search(pid, &needles)? else {
        // Not even the user that the host runs as may look.
        return Ok(());
    };
    // The master key is where it is used, and nowhere else.
    assert_eq!(found, [0, 0, 1, 0], "after it was sealed");

    let steps = with_secret(&stage.exchange, "get", bearer());
    assert_eq!(stage.end(&steps).await?, "ok");
    let received = stage.exchange.received();
    assert_eq!(
        received[0].headers["authorization"],
        format!("Bearer {CANARY}")
    );
    stage.exchange.closed().await?;
    assert_eq!(
        search(pid, &needles)?,
        Some(vec![0, 0, 1, 0]),
        "after it was used"
    );

    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let locked: u64 = locked
        .and_then(|line| line.split_whitespace().next())
        .context("what is locked")?
        .parse()?;
    // The master key's page, and that of the key for other data at rest.
    assert!(locked >= 8, "{locked} kB are locked");
    Ok(())
}
