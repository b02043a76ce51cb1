//! `meshdrive doctor`

use super::App;
use crate::{
    checkup::{self, Finding, Grade},
    dirs::Label,
    drives,
    failure::{Kind, Outcome},
    render,
};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 when something fails; warnings alone are 0.")]
pub(crate) struct Args {
    /// Look at this drive only [default: all drives of this device]
    #[arg(value_name = "DRIVE")]
    drive: Option<Label>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Outcome<ExitCode> {
    let (config, configuration) = checkup::system::config(app.config());
    let mut findings = checkup::system::all(&app.dirs, config.cache.floor.0);
    findings.push(configuration);
    let drives = match &args.drive {
        Some(label) => {
            drives::require(&app.dirs, label)?;
            vec![label.clone()]
        }
        None => drives::known(&app.dirs).unwrap_or_else(|failure| {
            findings.push(Finding::fail(
                "drives of this device",
                failure.error.to_string(),
                "make that directory readable, or set MESHDRIVE_HOME to another one",
            ));
            Vec::new()
        }),
    };
    for label in &drives {
        findings.extend(checkup::drive::all(&app.dirs, &config, label).await);
    }
    let failed = findings.iter().any(|finding| finding.grade == Grade::Fail);
    if args.json {
        render::json(&findings)?;
    } else {
        findings.iter().try_for_each(|finding| render::data(line(finding)))?;
        if drives.is_empty() {
            render::talk("No drive is set up on this device; see `meshdrive drive create --help`.");
        }
    }
    Ok(if failed { ExitCode::from(Kind::General.exit_code()) } else { ExitCode::SUCCESS })
}

fn line(finding: &Finding) -> String {
    let grade = match finding.grade {
        Grade::Ok => "ok  ",
        Grade::Warn => "warn",
        Grade::Fail => "FAIL",
    };
    let mut line = format!("{grade}  {}: {}", finding.what, finding.found);
    if let Some(advice) = &finding.advice {
        line.push_str(&format!("\n      {advice}"));
    }
    line
}
