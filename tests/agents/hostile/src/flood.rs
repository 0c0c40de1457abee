//! Asks too much of the host.

use nexus_agent::prelude::*;

/// Logs for ever.
pub(crate) fn log() -> ! {
    let line = "x".repeat(1_000);
    loop {
        log::info!("{line}");
    }
}

/// Logs a message of 16 MiB.
pub(crate) fn log_big() -> Result<String> {
    log::info!("{}", "x".repeat(16 << 20));
    Ok("\"logged\"".to_owned())
}

/// Reports progress that is none.
pub(crate) fn progress() -> Result<String> {
    for fraction in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
        log::progress(fraction, "\u{1b}[2J\u{202e}");
    }
    Ok("\"reported\"".to_owned())
}

/// Prints for ever.
pub(crate) fn stdout() -> ! {
    let line = "x".repeat(1_000);
    loop {
        println!("{line}");
    }
}

/// Calls the host for ever.
pub(crate) fn calls() -> ! {
    loop {
        std::hint::black_box(config::text());
    }
}

/// Opens spaces and keeps them all; answers how many it got if the host let it.
pub(crate) fn handles(times: usize) -> Result<String> {
    let spaces: Vec<_> = (0..times)
        .map(|_| memory::space("hostile"))
        .collect::<Result<_>>()?;
    Ok(spaces.len().to_string())
}

/// Opens spaces and gives each back before the next.
pub(crate) fn churn(times: usize) -> Result<String> {
    for _ in 0..times {
        drop(memory::space("hostile")?);
    }
    Ok(times.to_string())
}

/// Writes a value of 16 MiB.
pub(crate) fn put_big() -> Result<String> {
    let revision = memory::space("hostile")?.put("big", vec![b'x'; 16 << 20])?;
    Ok(revision.to_string())
}

/// Writes under a key of 1 MiB.
pub(crate) fn key_big() -> Result<String> {
    let revision = memory::space("hostile")?.put("k".repeat(1 << 20), "x")?;
    Ok(revision.to_string())
}

/// Sends a read with very many headers.
pub(crate) fn headers(url: &str, times: usize) -> Result<String> {
    let mut request = http::request(http::Method::Get, url);
    for number in 0..times {
        request = request.header(format!("x-header-{number}"), "x".repeat(100));
    }
    Ok(request.send()?.status().to_string())
}

/// Starts many reads and waits for none.
pub(crate) fn pending(url: &str, times: usize) -> Result<String> {
    let pending: Vec<_> = (0..times)
        .map(|_| http::request(http::Method::Get, url).start())
        .collect::<Result<_>>()?;
    Ok(pending.len().to_string())
}
