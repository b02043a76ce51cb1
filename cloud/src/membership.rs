//! Becoming a device of a drive: creating one, inviting to it, joining it.

use crate::client::{Call, Client, ClientOptions};
use crate::code::{self, JoinCode, RecoveryKey, Typed};
use crate::credentials::Credentials;
use crate::keys::{DriveKey, random};
use crate::params::DriveParams;
use fs_core::{CloudError, CloudErrorKind};
use protocol::codec::{decode, encode, hex};
use protocol::limits::LABEL_BYTES;
use protocol::wire;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How long a join code lives.
pub const JOIN_CODE_LIFE: Duration = Duration::from_secs(15 * 60);

/// Creates a drive on a server and makes this device its first. The recovery key is shown once: who
/// loses it and every device has lost the drive.
///
/// # Errors
/// `Denied` for a wrong setup code, `Offline` when the server cannot be reached.
pub async fn create_drive(
    server: &str,
    setup_code: &str,
    (label, device): (&str, &str),
    options: &ClientOptions,
) -> Result<(Credentials, RecoveryKey), CloudError> {
    let client = Client::new(server, None, options)?;
    let (label, device) = (label_of(label, "drive")?, label_of(device, "device")?);
    let device_name = device.clone();
    let drive = new_id()?;
    let params = DriveParams::for_new_drive().encode();
    let key = DriveKey::generate()?;
    let recovery = RecoveryKey::generate()?;
    let request = wire::CreateDrive {
        setup_code: setup_code.trim().to_owned(),
        drive: wire::Id::new(drive),
        label,
        device,
        params: params.clone().into(),
        recovery: invitation(recovery.secret(), (&drive, &params), &key)?,
    };
    let call = Call::post("/v1/drives".to_owned(), encode(&request));
    let member = client.call(call, decode::<wire::Membership>).await?;
    if *member.drive != drive || *member.params != params {
        return Err(liar(server));
    }
    Ok((credentials((server, &device_name), member, key), recovery))
}

/// Makes a code with which one more device can join within [`JOIN_CODE_LIFE`].
///
/// # Errors
/// `Denied` when this device is no longer one of the drive's.
pub async fn invite(
    credentials: &Credentials,
    options: &ClientOptions,
) -> Result<JoinCode, CloudError> {
    let client = Client::new(&credentials.server, Some(&credentials.token), options)?;
    let code = JoinCode::generate()?;
    let place = (&credentials.drive, credentials.params.as_slice());
    let invite = invitation(code.secret(), place, &credentials.key)?;
    let request = wire::CreateInvite { invite, ttl_secs: JOIN_CODE_LIFE.as_secs() };
    let path = format!("/v1/drives/{}/invites", hex(&credentials.drive));
    client.bytes(Call::post(path, encode(&request)), "").await?;
    Ok(code)
}

/// Joins a drive with a join code or its recovery key, as it was typed.
///
/// # Errors
/// `Invalid` for a code with a typing mistake, `Denied` for one that the server does not know.
pub async fn join(
    server: &str,
    code: &str,
    device: &str,
    options: &ClientOptions,
) -> Result<Credentials, CloudError> {
    let code = Typed::parse(code)?;
    let client = Client::new(server, None, options)?;
    let device = label_of(device, "device")?;
    let device_name = device.clone();
    let lookup = wire::Id::new(code::lookup(code.secret()));
    let call = Call::post("/v1/join".to_owned(), encode(&wire::Join { lookup, device }));
    let member = client.call(call, decode::<wire::Membership>).await?;
    let sealed = member.sealed_key.as_ref().ok_or_else(|| liar(server))?;
    let place = (&*member.drive, member.params.as_slice());
    let key = code::open_key(code.secret(), place, sealed).map_err(|_| liar(server))?;
    DriveParams::decode(&member.params).map_err(|refused| {
        CloudError::new(CloudErrorKind::Invalid, format!("the drive's parameters: {refused}"))
    })?;
    Ok(credentials((server, &device_name), member, key))
}

fn credentials(
    (server, device_name): (&str, &str),
    member: wire::Membership,
    key: DriveKey,
) -> Credentials {
    Credentials {
        server: server.trim_end_matches('/').to_owned(),
        drive: *member.drive,
        device: *member.device,
        device_name: device_name.to_owned(),
        label: member.label,
        token: Zeroizing::new(member.token),
        key,
        params: member.params.into_vec(),
    }
}

fn invitation(
    secret: &[u8],
    place: (&[u8; 16], &[u8]),
    key: &DriveKey,
) -> Result<wire::Invite, CloudError> {
    let sealed = code::seal_key(secret, place, key, random()?).map_err(|refused| {
        CloudError::new(CloudErrorKind::Invalid, format!("sealing the drive key: {refused}"))
    })?;
    Ok(wire::Invite { lookup: wire::Id::new(code::lookup(secret)), sealed_key: sealed.into() })
}

fn label_of(text: &str, what: &str) -> Result<String, CloudError> {
    let label = text.trim();
    if label.is_empty() || label.len() > LABEL_BYTES || label.chars().any(char::is_control) {
        let text = format!("the name of a {what} has 1 to {LABEL_BYTES} bytes on one line");
        return Err(CloudError::new(CloudErrorKind::Invalid, text));
    }
    Ok(label.to_owned())
}

/// A new UUIDv7 (RFC 9562, 5.7).
fn new_id() -> Result<[u8; 16], CloudError> {
    let mut id: [u8; 16] = random()?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    id[..6].copy_from_slice(&(since.as_millis() as u64).to_be_bytes()[2..]);
    id[6] = 0x70 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    Ok(id)
}

fn liar(server: &str) -> CloudError {
    let text = format!(
        "{server} answered with a drive that was not sealed with this code; do not use this server \
         before you know why"
    );
    CloudError::new(CloudErrorKind::Corrupt, text)
}
