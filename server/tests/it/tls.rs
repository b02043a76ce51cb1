//! The store behind TLS.

use crate::client::*;
use protocol::{PROTOCOL_HEADER, PROTOCOL_VERSION, codec, wire::*};
use server::{Server, StartError, TlsFiles};
use std::path::Path;

/// Makes a certificate for `localhost` and its key; also gives the certificate as PEM.
fn files(dir: &Path) -> (TlsFiles, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.pem())
}

#[tokio::test]
async fn a_drive_over_tls() {
    let keys = tempfile::tempdir().unwrap();
    let (files, cert) = files(keys.path());
    let store = Store::with(|config| {
        config.tls = Some(files);
        config.listen = "0.0.0.0:0".parse().unwrap();
    })
    .await;
    let base = format!("https://localhost:{}", store.server.local_addr().port());
    let root = reqwest::Certificate::from_pem(cert.as_bytes()).unwrap();
    // Only this certificate is trusted, so a success says that it was the one.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let ask = create_drive(&store.server.setup_code());
    let request = client.post(format!("{base}/v1/drives")).body(codec::encode(&ask));
    let response = request.header(PROTOCOL_HEADER, PROTOCOL_VERSION).send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    let member: Membership = Answer::of(response).await.ok();
    let device = Device::new(&base, client, &member);
    device.done(vec![file(fresh(), ROOT, "a")]).await;
    assert_eq!(device.head().await, 1);
    // Who trusts other certificates, or speaks plain HTTP, gets nowhere.
    assert!(http().get(format!("{base}/healthz")).send().await.is_err());
    assert!(http().get(base.replace("https", "http")).send().await.is_err());
}

#[tokio::test]
async fn files_that_are_not_tls_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let (good, _) = files(dir.path());
    config.tls = Some(TlsFiles { cert: dir.path().join("none"), ..good.clone() });
    let error = Server::start(config.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::Tls { .. }), "{error}");
    config.tls = Some(TlsFiles { key: good.cert.clone(), ..good });
    let error = Server::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Tls { .. }), "{error}");
}
