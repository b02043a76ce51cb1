use super::*;
use crate::{
    client::Control,
    dirs::{self, Dirs, Label},
    failure::Kind,
};
use protocol::control::{DriveStatus, PathText};
use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
};

#[derive(Clone)]
struct Parrot;

impl Clerk for Parrot {
    async fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        match request {
            Request::Status => Ok(Reply::Status(Box::new(DriveStatus {
                sentence: "Everything is in the cloud.".into(),
                ..DriveStatus::default()
            }))),
            Request::Path { path } => Ok(Reply::Restored(vec![path])),
            _ => Err(Refusal {
                code: RefusalCode::Unsent,
                message: "3 files".into(),
                hint: Some("wait".into()),
            }),
        }
    }
}

fn place(home: &Path) -> (Dirs, Label) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    (Dirs::new(Some(home)).unwrap(), "work".parse().unwrap())
}

#[tokio::test]
async fn questions_are_answered_by_the_owner_only_socket() {
    let home = tempfile::tempdir().unwrap();
    let (dirs, label) = place(home.path());
    let path = dirs.socket(&label);
    let control = Control::new(&dirs, &label).unwrap();
    assert_eq!(control.status().await.unwrap_err().kind, Kind::NotMounted);

    let socket = Socket::bind(&path).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let folder = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(socket.serve(Parrot, async { drop(stopped.await) }));
    assert_eq!(control.status().await.unwrap().sentence, "Everything is in the cloud.");
    let odd = PathText::from_bytes(b"a/\xff\"\n".to_vec());
    let reply = control.ask(Request::Path { path: odd.clone() }).await.unwrap();
    assert_eq!(reply, Reply::Restored(vec![odd]), "a path that is not UTF-8 comes back whole");
    let refused = control.ask(Request::Pins).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unsent);
    assert!(refused.render().contains("hint: wait"));

    drop(stop);
    drop(control);
    serving.await.unwrap();
    assert!(!path.exists(), "the socket goes with its server");
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let (dirs, label) = place(home.path());
    let path = dirs.socket(&label);
    dirs::private_dir(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    Socket::bind(&path).unwrap();
}
