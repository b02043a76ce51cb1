//! TLS with a certificate that only this drive's devices trust.

use crate::world::{Memory, fetch_all, noise, one, whole};
use cloud::{ClientOptions, CloudStore, NativeStore, create_drive};
use fs_core::{CloudErrorKind, ContentRef, GroupOutcome, Kind, NodeId};
use server::{Server, ServerConfig, TlsFiles};

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_certificate_is_trusted_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap(), dir.path().join("data"));
    config.tls = Some(files.clone());
    let server = Server::start(config).await.unwrap();
    let url = format!("https://localhost:{}", server.local_addr().port());
    let names = ("Home", "laptop");
    let options = ClientOptions { ca_file: Some(files.cert) };
    let made = create_drive(&url, &server.setup_code(), names, &options).await;
    let store = NativeStore::new(made.unwrap().0, options).unwrap();
    let bytes = noise(1, 5 << 20);
    let item = whole(crate::world::new_node(), bytes.len() as u64);
    let source = Memory::of(&item, bytes.clone());
    let draft = one(store.stage(std::slice::from_ref(&item), source).await).unwrap();
    let op = crate::world::create(item.id, NodeId::ROOT, "f", Kind::File, Some(draft));
    let outcomes = store.commit(&crate::world::flight(vec![vec![op]])).await.unwrap();
    let GroupOutcome::Done(rev) = outcomes[0] else { panic!("not accepted: {outcomes:?}") };
    assert!(fetch_all(&store, ContentRef { id: item.id, rev }).await == bytes);

    // A device that does not know the certificate refuses to talk at all.
    let strict = ClientOptions::default();
    let error = create_drive(&url, &server.setup_code(), names, &strict).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Offline, "{error}");
    assert!(error.message.to_lowercase().contains("certificate"), "{error}");
    let missing = ClientOptions { ca_file: Some(dir.path().join("none.pem")) };
    let error = create_drive(&url, "x", names, &missing).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Invalid, "{error}");
}
