//! TLS, and clients that have to have certificates.

use std::path::Path;

use nexus_proto::v1;
use nexus_tests::host::binary;
use nexus_tests::{Authority, Client, Host};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A certificate and its key, in the files `NAME.pem` and `NAME.key`.
fn write(directory: &Path, name: &str, issued: &(String, String)) -> anyhow::Result<()> {
    std::fs::write(directory.join(format!("{name}.key")), &issued.1)?;
    std::fs::write(directory.join(format!("{name}.pem")), &issued.0)?;
    Ok(())
}

fn config(directory: &Path, more: &str) -> String {
    let file = |name: &str| directory.join(name);
    format!(
        "[server]\ncertificate = {:?}\nkey = {:?}\n{more}\n",
        file("host.pem"),
        file("host.key")
    )
}

/// A connection that trusts one authority, and shows a certificate if it has one.
async fn connect(
    host: &Host,
    authority: &Authority,
    identity: Option<&(String, String)>,
) -> anyhow::Result<Channel> {
    let pem = Certificate::from_pem(std::fs::read(authority.path())?);
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(pem)
        .domain_name("localhost");
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::new(host.endpoint.clone())?.tls_config(tls)?;
    Ok(endpoint.connect().await?)
}

async fn status(channel: Channel, token: &str) -> anyhow::Result<()> {
    let mut client = Client::new(channel, Some(token))?;
    client.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_served_and_a_renewed_certificate_without_a_restart() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let authority = Authority::new()?;
    write(directory.path(), "host", &authority.issue(&["localhost"])?)?;
    let host = Host::builder()
        .config(&config(directory.path(), ""))
        .start()?;
    assert!(host.endpoint.starts_with("https://"), "{}", host.endpoint);
    let first = connect(&host, &authority, None).await?;
    status(first.clone(), host.token()).await?;
    // The command line, and a client that speaks in clear.
    let ca = authority.path().to_string_lossy();
    let port = host.endpoint.rsplit(':').next().unwrap();
    let listed = std::process::Command::new(binary())
        .args([
            "tokens",
            "list",
            "--ca",
            &ca,
            "--endpoint",
            &format!("https://localhost:{port}"),
        ])
        .args(["--token", host.token()])
        .output()?;
    assert!(listed.status.success(), "{listed:?}");
    let clear = Endpoint::new(host.endpoint.replace("https", "http"))?.connect_lazy();
    assert!(status(clear, host.token()).await.is_err());

    // Half of a renewal: key and certificate do not fit, so the old ones stay.
    let other = Authority::new()?;
    let renewed = other.issue(&["localhost", "renewed.example"])?;
    std::fs::write(directory.path().join("host.key"), &renewed.1)?;
    status(connect(&host, &authority, None).await?, host.token()).await?;
    std::fs::write(directory.path().join("host.pem"), &renewed.0)?;
    status(connect(&host, &other, None).await?, host.token()).await?;
    assert!(
        connect(&host, &authority, None).await.is_err(),
        "the old one is still served"
    );
    // What is open stays open.
    status(first, host.token()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_needs_a_certificate_of_our_authority_and_a_token() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (hosts, clients, strangers) = (Authority::new()?, Authority::new()?, Authority::new()?);
    write(directory.path(), "host", &hosts.issue(&["localhost"])?)?;
    let more = format!("client_authorities = {:?}", clients.path());
    let host = Host::builder()
        .config(&config(directory.path(), &more))
        .start()?;
    let ours = clients.issue(&["carol"])?;
    status(connect(&host, &hosts, Some(&ours)).await?, host.token()).await?;
    // A certificate is no token.
    let without = status(connect(&host, &hosts, Some(&ours)).await?, "nexus_guess").await;
    let without = without.unwrap_err().downcast::<tonic::Status>()?;
    assert_eq!(without.code(), tonic::Code::Unauthenticated);
    // A token is no certificate: in TLS 1.3 the client hears of it with its first request.
    let theirs = strangers.issue(&["carol"])?;
    for identity in [None, Some(&theirs)] {
        let called = async { status(connect(&host, &hosts, identity).await?, host.token()).await };
        assert!(called.await.is_err(), "{identity:?}");
    }

    write(directory.path(), "client", &ours)?;
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let port = host.endpoint.rsplit(':').next().unwrap();
    let call = |identity: &[&str]| {
        std::process::Command::new(binary())
            .args([
                "tokens",
                "list",
                "--endpoint",
                &format!("https://localhost:{port}"),
            ])
            .args([
                "--token",
                host.token(),
                "--ca",
                &hosts.path().to_string_lossy(),
            ])
            .args(identity)
            .output()
    };
    let (cert, key) = (file("client.pem"), file("client.key"));
    let listed = call(&["--client-cert", &cert, "--client-key", &key])?;
    assert!(listed.status.success(), "{listed:?}");
    assert!(!call(&[])?.status.success());
    Ok(())
}

#[test]
fn half_a_tls_configuration_stops_the_start() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (one, other) = (Authority::new()?, Authority::new()?);
    write(directory.path(), "host", &one.issue(&["localhost"])?)?;
    let (_, key) = other.issue(&["localhost"])?;
    std::fs::write(directory.path().join("other.key"), key)?;
    let file = |name: &str| directory.path().join(name);
    let pem = file("host.pem");
    for (lines, word) in [
        (format!("certificate = {pem:?}"), "`key`"),
        (format!("key = {:?}", file("host.key")), "`certificate`"),
        (format!("client_authorities = {pem:?}"), "needs TLS"),
        (
            format!("certificate = {pem:?}\nkey = {:?}", file("other.key")),
            "belong together",
        ),
        (
            format!("certificate = {pem:?}\nkey = {:?}", file("none.key")),
            "none.key",
        ),
    ] {
        let started = Host::builder()
            .config(&format!("[server]\n{lines}\n"))
            .start();
        let said = format!("{:#}", started.err().unwrap());
        assert!(said.contains(word), "{lines}: {said}");
    }
    Ok(())
}
