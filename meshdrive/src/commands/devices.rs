//! `meshdrive devices`

use super::App;
use crate::{
    client::locate,
    dirs::Label,
    drives,
    failure::{Failure, Outcome},
    render::{self, table, text},
    store,
};
use cloud::{CloudStore, DeviceInfo};
use protocol::codec::hex;
use std::{ffi::OsString, sync::Arc};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meshdrive devices                   list the devices of the only drive
  meshdrive devices --revoke phone    the device `phone` has no access from now on")]
pub(crate) struct Args {
    /// Name or mountpoint of the drive [default: the only one of this device]
    #[arg(value_name = "DRIVE")]
    drive: Option<OsString>,
    /// Take this device's access away, by its name or id; what it has not sent stays on it
    #[arg(long, value_name = "DEVICE")]
    revoke: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Listed<'a> {
    id: String,
    device: &'a str,
    own: bool,
    joined_ns: i64,
    revoked_ns: Option<i64>,
    last_change_ns: Option<i64>,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome {
    let label = match &args.drive {
        Some(drive) => locate::drive(&app.dirs, drive)?,
        None => only(app)?,
    };
    let opened = store::open(&app.dirs, &app.config()?, &label)?;
    let cloud: Arc<dyn CloudStore> = opened.throttled;
    let devices = cloud.devices().await.map_err(|error| {
        Failure::from(error).context(format!("cannot list the devices of {label}"))
    })?;
    match &args.revoke {
        Some(device) => revoke(&cloud, &label, find(&devices, device)?).await,
        None => list(&devices, args.json),
    }
}

fn only(app: &App) -> Outcome<Label> {
    let mut known = drives::known(&app.dirs)?;
    match (known.pop(), known.is_empty()) {
        (Some(label), true) => Ok(label),
        (Some(_), false) => Err(Failure::usage("this device has several drives")
            .hint("name the one you mean; `meshdrive drive list` shows them")),
        (None, _) => Err(Failure::usage("no drive on this device")
            .hint("create one with `meshdrive drive create`, or join one")),
    }
}

fn find<'a>(devices: &'a [DeviceInfo], wanted: &str) -> Outcome<&'a DeviceInfo> {
    let by_id = devices.iter().find(|device| hex(&device.id) == wanted);
    if let Some(device) = by_id {
        return Ok(device);
    }
    let mut named: Vec<&DeviceInfo> = devices
        .iter()
        .filter(|device| device.label == wanted && device.revoked.is_none())
        .collect();
    match (named.pop(), named.is_empty()) {
        (Some(device), true) => Ok(device),
        (Some(_), false) => Err(Failure::usage(format!("several devices are called {wanted}"))
            .hint("name it by its id; `meshdrive devices` shows them")),
        (None, _) => Err(Failure::usage(format!("no device with access is called {wanted}"))
            .hint("`meshdrive devices` lists them")),
    }
}

async fn revoke(cloud: &Arc<dyn cloud::CloudStore>, label: &Label, device: &DeviceInfo) -> Outcome {
    cloud.revoke(device.id).await.map_err(|error| {
        Failure::from(error).context(format!("cannot take the access of {} away", device.label))
    })?;
    render::talk(format!("{} has no access to {label} any more.", device.label));
    if device.own {
        render::talk("That was this device: it joins again only with a new code.");
    }
    Ok(())
}

fn list(devices: &[DeviceInfo], json: bool) -> Outcome {
    if json {
        let listed = |device| {
            let device: &DeviceInfo = device;
            Listed {
                id: hex(&device.id),
                device: &device.label,
                own: device.own,
                joined_ns: device.joined.0,
                revoked_ns: device.revoked.map(|time| time.0),
                last_change_ns: device.last.map(|moment| moment.stored.0),
            }
        };
        return render::json(&devices.iter().map(listed).collect::<Vec<_>>());
    }
    let row = |device: &DeviceInfo| {
        let state = match (device.revoked, device.own) {
            (Some(time), _) => format!("no access since {}", text::time(time.0)),
            (None, true) => "this device".into(),
            (None, false) => String::new(),
        };
        let last = device.last.map_or("-".into(), |moment| text::time(moment.stored.0));
        let id = hex(&device.id);
        [device.label.clone(), text::time(device.joined.0), last, state, id]
    };
    let head = ["DEVICE", "JOINED", "LAST CHANGE", "STATE", "ID"];
    table::print(head, &devices.iter().map(row).collect::<Vec<_>>())
}
