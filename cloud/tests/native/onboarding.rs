//! Creating, inviting, joining, recovering; and the file of credentials.

use crate::world::{World, fetch_all, noise};
use cloud::{ClientOptions, CloudStore, Credentials, NativeStore, create_drive, invite, join};
use fs_core::CloudErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_device_joins_once_and_reads_everything() {
    let world = World::new().await;
    let bytes = noise(1, 200_000);
    let content = world.file(&bytes).await;
    let options = ClientOptions::default();
    let code = invite(&world.credentials, &options).await.unwrap();
    let typed = code.reveal().to_lowercase().replace('-', " ");
    let phone = join(&world.url(), &typed, "phone", &options).await.unwrap();
    assert_eq!((phone.drive, phone.label.as_str()), (world.credentials.drive, "Home"));
    assert_ne!(phone.device, world.credentials.device);
    let store = NativeStore::new(phone, options.clone()).unwrap();
    assert!(fetch_all(&store, content).await == bytes);
    let again = join(&world.url(), &code.reveal(), "thief", &options).await.unwrap_err();
    assert_eq!(again.kind, CloudErrorKind::Denied, "{again}");
    assert!(again.message.contains("once"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typing_mistake_is_told_apart_from_an_unknown_code() {
    let world = World::new().await;
    let other = World::new().await;
    let options = ClientOptions::default();
    let code = invite(&other.credentials, &options).await.unwrap().reveal().to_string();
    let unknown = join(&world.url(), &code, "phone", &options).await.unwrap_err();
    assert_eq!(unknown.kind, CloudErrorKind::Denied);
    let wrong = if code.starts_with('7') { '8' } else { '7' };
    let typo = format!("{wrong}{}", &code[1..]);
    let typo = join(&world.url(), &typo, "phone", &options).await.unwrap_err();
    assert_eq!(typo.kind, CloudErrorKind::Invalid);
    assert!(typo.message.contains("typing mistake"), "{typo}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recovery_key_brings_a_lost_drive_back_again_and_again() {
    let world = World::new().await;
    let bytes = noise(2, 3_000_000);
    let content = world.file(&bytes).await;
    let options = ClientOptions::default();
    for device in ["new laptop", "another"] {
        let key = world.recovery.reveal();
        let found = join(&world.url(), &key, device, &options).await.unwrap();
        let store = NativeStore::new(found, options.clone()).unwrap();
        assert!(fetch_all(&store, content).await == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setup_code_creates_nothing() {
    let world = World::new().await;
    let options = ClientOptions::default();
    let names = ("Second", "laptop");
    let error = create_drive(&world.url(), "WRONG-CODE", names, &options).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Denied, "{error}");
    let error = create_drive(&world.url(), "x", ("", "laptop"), &options).await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Invalid, "{error}");
    for url in ["ftp://host", "host:1234", "", "http://example.org", "http://10.0.0.1:80"] {
        let error = create_drive(url, "x", names, &options).await.unwrap_err();
        assert_eq!(error.kind, CloudErrorKind::Invalid, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_live_in_a_private_file() {
    let world = World::new().await;
    let path = world.dir.path().join("credentials");
    world.credentials.save(&path).unwrap();
    world.credentials.save(&path).unwrap();
    let loaded = Credentials::load(&path).unwrap();
    assert_eq!(format!("{loaded:?}"), format!("{:?}", world.credentials));
    assert_eq!(loaded.token(), world.credentials.token());
    let store = NativeStore::new(loaded, ClientOptions::default()).unwrap();
    store.connect().await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
    let shown = format!("{:?}", world.credentials);
    assert!(!shown.contains(key) && !shown.contains(world.credentials.token()), "{shown}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Credentials::load(&path).unwrap_err();
        assert!(error.message.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();
    assert!(Credentials::load(&path).unwrap_err().message.contains("damaged"));
    assert!(Credentials::load(&path.with_extension("none")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_denied() {
    let world = World::new().await;
    let path = world.dir.path().join("credentials");
    world.credentials.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(world.credentials.token(), &"0".repeat(64))).unwrap();
    let store = NativeStore::new(Credentials::load(&path).unwrap(), ClientOptions::default());
    let error = store.unwrap().connect().await.unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Denied, "{error}");
}
