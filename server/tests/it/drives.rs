use crate::client::*;
use protocol::{PROTOCOL_HEADER, codec, wire::*};
use reqwest::Method;
use serde_bytes::{ByteArray, ByteBuf};
use server::{Server, StartError};

fn invite(lookup: Raw, ttl_secs: u64) -> CreateInvite {
    let sealed_key = ByteBuf::from(&b"sealed"[..]);
    CreateInvite { invite: Invite { lookup: ByteArray::new(lookup), sealed_key }, ttl_secs }
}

fn join(lookup: Raw) -> Join {
    Join { lookup: ByteArray::new(lookup), device: "phone".to_owned() }
}

#[tokio::test]
async fn a_setup_code_makes_one_drive() {
    let store = Store::new().await;
    let code = store.server.setup_code();
    let ask = create_drive(&code);
    let member: Membership = post(&store.http, &store.base, "/v1/drives", &ask).await.ok();
    assert_eq!((member.drive, &*member.label), (ask.drive, "photos"));
    assert_eq!(&member.params[..], b"params");
    assert_eq!(member.sealed_key, None);
    assert_ne!(store.server.setup_code(), code);
    let again = post(&store.http, &store.base, "/v1/drives", &create_drive(&code)).await;
    assert_eq!(again.problem(), (404, "code_unknown".to_owned()));
    // People may type it in their own way.
    let typed = store.server.setup_code().replace('-', " ").to_lowercase();
    let second = post(&store.http, &store.base, "/v1/drives", &create_drive(&typed)).await;
    let second: Membership = second.ok();
    let taken = CreateDrive { drive: second.drive, ..create_drive(&store.server.setup_code()) };
    let answer = post(&store.http, &store.base, "/v1/drives", &taken).await;
    assert_eq!(answer.problem(), (409, "invalid".to_owned()));
}

#[tokio::test]
async fn a_join_code_is_good_once_and_the_recovery_key_for_ever() {
    let store = Store::new().await;
    let recovery = create_drive(&store.server.setup_code());
    let first: Membership = post(&store.http, &store.base, "/v1/drives", &recovery).await.ok();
    let first = Device::new(&store.base, store.http.clone(), &first);
    let lookup = fresh();
    assert_eq!(first.post("/invites", &invite(lookup, 60)).await.status, 204);
    let member: Membership = post(&store.http, &store.base, "/v1/join", &join(lookup)).await.ok();
    assert_eq!(*member.drive, first.drive);
    assert_ne!(*member.device, first.id);
    assert_eq!(&member.sealed_key.unwrap()[..], b"sealed");
    let again = post(&store.http, &store.base, "/v1/join", &join(lookup)).await;
    assert_eq!(again.problem(), (404, "code_unknown".to_owned()));
    for _ in 0..2 {
        let lookup = *recovery.recovery.lookup;
        let member = post(&store.http, &store.base, "/v1/join", &join(lookup)).await;
        let member: Membership = member.ok();
        assert_eq!(&member.sealed_key.unwrap()[..], b"recovery key");
    }
    let taken = first.post("/invites", &invite(*recovery.recovery.lookup, 60)).await;
    assert_eq!(taken.problem().0, 409);
    assert_eq!(first.post("/invites", &invite(fresh(), 0)).await.problem().0, 422);
}

#[tokio::test]
async fn wrong_codes_are_counted_and_right_ones_are_not() {
    let store = Store::new().await;
    let device = store.device().await;
    for _ in 0..8 {
        let lookup = fresh();
        device.post("/invites", &invite(lookup, 60)).await;
        let joined = post(&store.http, &store.base, "/v1/join", &join(lookup)).await;
        assert_eq!(joined.status, 200);
    }
    for _ in 0..5 {
        let answer = post(&store.http, &store.base, "/v1/join", &join(fresh())).await;
        assert_eq!(answer.problem().0, 404);
    }
    let answer = post(&store.http, &store.base, "/v1/join", &join(fresh())).await;
    assert_eq!(answer.problem(), (429, "busy".to_owned()));
    assert!(answer.headers.contains_key("retry-after"));
    let code = create_drive(&store.server.setup_code());
    assert_eq!(post(&store.http, &store.base, "/v1/drives", &code).await.problem().0, 429);
}

#[tokio::test]
async fn only_its_own_devices_reach_a_drive() {
    let store = Store::new().await;
    let (one, two) = (store.device().await, store.device().await);
    let foreign = Device { drive: two.drive, ..one.clone() };
    assert_eq!(foreign.get("").await.problem(), (404, "not_found".to_owned()));
    let wrong = Device { token: "0".repeat(64), ..one.clone() };
    for path in ["", "/snapshot", "/changes?since=0", "/trash", "/feed"] {
        assert_eq!(wrong.get(path).await.problem(), (401, "unauthorized".to_owned()), "{path}");
    }
    let url = format!("{}/v1/drives/{}", store.base, codec::hex(&one.drive));
    let bare = store.http.get(&url).header(PROTOCOL_HEADER, "1.0").send().await.unwrap();
    assert_eq!(bare.status(), 401);
    let drive: Drive = one.get("").await.ok();
    assert_eq!((*drive.drive, drive.head, drive.used_bytes), (one.drive, 0, 0));
}

#[tokio::test]
async fn tokens_are_not_in_the_database() {
    let store = Store::new().await;
    let device = store.device().await;
    assert_eq!(device.get("").await.status, 200);
    let Store { server, dir, .. } = store;
    server.stop().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(path).unwrap();
            assert!(!bytes.windows(64).any(|part| part == device.token.as_bytes()));
        }
    }
}

#[tokio::test]
async fn another_major_version_is_told_to_upgrade() {
    let store = Store::new().await;
    let device = store.device().await;
    for version in ["2.0", "0.9", "x", ""] {
        let url = format!("{}/v1/drives/{}", store.base, codec::hex(&device.drive));
        let request = store.http.get(url).bearer_auth(&device.token);
        let answer = Answer::of(request.header(PROTOCOL_HEADER, version).send().await.unwrap());
        let answer = answer.await;
        assert_eq!(answer.problem(), (426, "upgrade".to_owned()));
        assert_eq!(answer.headers[PROTOCOL_HEADER], "1.0");
    }
    let newer = device.request(Method::GET, "").header(PROTOCOL_HEADER, "1.7");
    // The header is there twice now, and the first one counts.
    assert_eq!(newer.send().await.unwrap().status(), 200);
    let info = store.http.get(format!("{}/v1/info", store.base)).send().await.unwrap();
    let info: Info = Answer::of(info).await.ok();
    assert_eq!(info.protocol, "1.0");
    assert!(info.time_ms > 1_700_000_000_000);
}

#[tokio::test]
async fn people_can_read_json() {
    let store = Store::new().await;
    let device = store.device().await;
    let id = fresh();
    device.done(vec![file(id, ROOT, "a")]).await;
    let request = device.request(Method::GET, "/snapshot").header("accept", "application/json");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let page: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(page["nodes"][0]["id"], codec::hex(&id));
    assert_eq!(page["nodes"][0]["live"], true);
    assert_eq!(page["rev"], 1);
    let request = device.request(Method::GET, "/nothing").header("accept", "application/json");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 404);
    let problem: serde_json::Value =
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "not_found");
}

#[tokio::test]
async fn health_and_counters() {
    let store = Store::new().await;
    let device = store.device().await;
    device.done(vec![file(fresh(), ROOT, "a")]).await;
    let get = async |path: &str| {
        let response = store.http.get(format!("{}{path}", store.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, "alive\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("meshdrive_commits_total 1\n"), "{text}");
    assert!(text.contains("meshdrive_ops_total 1\n"));
    let line = "meshdrive_requests_total{endpoint=\"/v1/drives/{drive}/commit\",status=\"200\"} 1";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("meshdrive_request_duration_seconds_bucket"));
}

#[tokio::test]
async fn plain_http_stays_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut public = config(dir.path());
    public.listen = "0.0.0.0:0".parse().unwrap();
    let error = Server::start(public).await.unwrap_err();
    assert!(matches!(error, StartError::NeedsTls(_)), "{error}");
    assert!(error.to_string().contains("TLS"));
}

#[tokio::test]
async fn a_data_directory_has_one_store() {
    let store = Store::new().await;
    let error = Server::start(config(store.dir.path())).await.unwrap_err();
    assert!(matches!(error, StartError::InUse(_)), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(store.dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[tokio::test]
async fn a_restart_keeps_everything_but_the_setup_code() {
    let store = Store::new().await;
    let mut device = store.device().await;
    let id = fresh();
    device.done(vec![file(id, ROOT, "a")]).await;
    let before: Drive = device.get("").await.ok();
    let code = store.server.setup_code();
    let store = store.restart().await;
    device.base = store.base.clone();
    assert_ne!(store.server.setup_code(), code);
    let after: Drive = device.get("").await.ok();
    assert_eq!(after, before);
    let (nodes, rev) = device.snapshot(10).await;
    assert_eq!((*nodes[0].id, rev), (id, 1));
}
