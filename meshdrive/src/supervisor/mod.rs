//! Keeps the mount of a drive while its daemons come and go. A mount lives as long as somebody has its
//! channel to the kernel open; while no daemon serves it, programs wait and get no error.
//!
//! One supervisor a mount. It mounts nothing, serves nothing and knows nothing of the drive, so there is
//! little in it that could fail: it starts the daemon, takes the channel that the daemon hands over,
//! and starts another daemon with it when the first one ends without having unmounted.

mod patience;
mod wire;

use crate::{
    daemon::{self, Plan, lock, logs, ready::Ready},
    dirs::{self, STARTED_IN, private_dir, write_private},
    failure::{Attempt, Outcome},
};
use fuse_linux::Kept;
use patience::{Patience, Verdict};
use protocol::keeper::{AGAIN, Handover, Word};
use rustix::{
    net::RecvFlags,
    process::{Pid, Signal, kill_process},
};
use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::Interest,
    net::UnixStream,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};
pub(crate) use wire::{handover, kept, own_end, record};

/// Hands a word and a descriptor to the supervisor.
pub(crate) fn tell(socket: &OwnedFd, word: &Word, channel: Option<&OwnedFd>) -> io::Result<()> {
    wire::send(socket, word, channel)
}

/// Runs daemons until one of them has ended for good. Called in the process that `mount` started.
pub(crate) fn run(plan: &Plan) -> Outcome<ExitCode> {
    let started = prepare(plan).and_then(|(supervisor, lock)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt(|| "cannot start the runtime of the supervisor".into())?;
        Ok((supervisor, lock, runtime))
    });
    let (supervisor, lock, runtime) = started.map_err(|failure| Ready::Pipe.fail(failure))?;
    let code = runtime.block_on(supervisor.run());
    drop(lock);
    code
}

fn prepare(plan: &Plan) -> Outcome<(Supervisor<'_>, lock::Lock)> {
    private_dir(&plan.dirs.drive_state(&plan.label))?;
    logs::start_beside(&plan.config.log, &plan.dirs.log_file(&plan.label))?;
    // Away from the terminal, so that closing it does not end the drive.
    rustix::process::setsid().attempt(|| "cannot leave the terminal".into())?;
    let lock = daemon::take_lock(&plan.dirs, &plan.label, &plan.dirs.supervisor_lock(&plan.label))?;
    let _ = std::fs::remove_file(plan.dirs.given_up(&plan.label));
    let program = std::env::current_exe().attempt(|| "cannot find this program".into())?;
    // Relative paths of the command line mean the same in every life, and no folder is kept in use.
    let started_in = dirs::working_directory()?;
    std::env::set_current_dir("/").attempt(|| "cannot change to the root directory".into())?;
    let (handover, patience) = (Handover::default(), Patience::default());
    Ok((Supervisor { plan, program, started_in, handover, mount: None, patience }, lock))
}

struct Supervisor<'a> {
    plan: &'a Plan,
    program: PathBuf,
    started_in: PathBuf,
    handover: Handover,
    mount: Option<Kept>,
    patience: Patience,
}

/// How a daemon ended.
enum End {
    /// As it should, or before anybody was told of the drive.
    Over(ExitCode),
    /// To make room for a successor.
    Again,
    Crashed {
        how: String,
        served: Option<Duration>,
    },
}

/// A daemon that runs.
struct Life {
    child: Child,
    socket: UnixStream,
    serving: Option<Instant>,
}

impl Supervisor<'_> {
    async fn run(mut self) -> Outcome<ExitCode> {
        let mut signals = crate::system::Signals::listen()?;
        // Whoever hangs up a terminal does not mean the drive.
        let mut hangup =
            signal(SignalKind::hangup()).attempt(|| "cannot listen for signals".into())?;
        tokio::spawn(async move { while hangup.recv().await.is_some() {} });
        loop {
            let end = self.live(&mut signals).await.inspect_err(|_| self.detach())?;
            let pause = match end {
                End::Over(code) => return Ok(self.over(code)),
                End::Again => {
                    tracing::info!("a new daemon takes over");
                    Duration::ZERO
                }
                End::Crashed { how, served } => {
                    self.handover.crashes += 1;
                    match self.patience.crashed(Instant::now(), served) {
                        Verdict::Again(pause) => {
                            tracing::error!(%how, ?pause, "the daemon crashed; a new one takes over");
                            pause
                        }
                        Verdict::GiveUp(why) => return Ok(self.give_up(&why)),
                    }
                }
            };
            self.handover.life += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = signals.next() => return Ok(self.give_up("it was told to stop between two of them")),
            }
        }
    }

    /// From the start of a daemon to its end.
    async fn live(&mut self, signals: &mut crate::system::Signals) -> Outcome<End> {
        let mut life = match self.start() {
            Ok(life) => life,
            Err(failure) if self.handover.life == 0 => return Err(Ready::Pipe.fail(failure)),
            // The program may just be on its way to the disk.
            Err(failure) => return Ok(End::Crashed { how: failure.render(), served: None }),
        };
        let status = loop {
            tokio::select! {
                status = life.child.wait() => break status,
                heard = life.socket.readable() => match heard {
                    Ok(()) => {
                        if !self.listen(&life.socket, &mut life.serving) {
                            break life.wait(signals).await;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot hear from the daemon");
                        break life.wait(signals).await;
                    }
                },
                () = signals.next() => life.signal(),
            }
        };
        // Its last words may still be there.
        self.listen(&life.socket, &mut life.serving);
        let status = status.attempt(|| "cannot wait for the daemon".into())?;
        Ok(self.judge(status, life.serving))
    }

    fn start(&mut self) -> Outcome<Life> {
        let what = || format!("cannot start the daemon {}", self.program.display());
        let (ours, theirs) = wire::pair().attempt(what)?;
        let first = self.handover.life == 0;
        let mut command = Command::new(&self.program);
        command.arg("--kept").args(std::env::args_os().skip(1)).env(STARTED_IN, &self.started_in);
        command.stdin(Stdio::from(theirs));
        // On the first one's output `mount` hears how it went.
        command.stdout(if first { Stdio::inherit() } else { Stdio::null() });
        let child = command.spawn().attempt(what)?;
        drop(command);
        if first {
            let null = std::fs::File::options().write(true).open("/dev/null").attempt(what)?;
            rustix::stdio::dup2_stdout(&null).attempt(what)?;
        }
        let channel = self.mount.as_ref().map(|mount| &mount.channel);
        if let Err(error) = wire::send(&ours, &self.handover, channel) {
            tracing::error!(%error, "the daemon does not listen"); // and so it has ended
        }
        let ours = std::os::unix::net::UnixStream::from(ours);
        ours.set_nonblocking(true).attempt(what)?;
        let socket = UnixStream::from_std(ours).attempt(what)?;
        Ok(Life { child, socket, serving: None })
    }

    /// Takes in what the daemon says; false when it says no more.
    fn listen(&mut self, socket: &UnixStream, serving: &mut Option<Instant>) -> bool {
        loop {
            match socket.try_io(Interest::READABLE, || wire::receive(socket, RecvFlags::DONTWAIT)) {
                Ok(Some((Word::Serving, _))) => *serving = Some(Instant::now()),
                Ok(Some((Word::Keep(record), Some(channel)))) => {
                    self.mount = Some(wire::kept(&record, channel));
                    self.handover.mount = Some(record);
                }
                Ok(Some((Word::Keep(_), None))) => {
                    tracing::error!("a mount came without a channel")
                }
                Ok(None) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // A word of a newer version: it goes on without.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(%error, "the daemon said something that is not understood");
                }
                Err(error) => {
                    tracing::error!(%error, "cannot hear from the daemon");
                    return false;
                }
            }
        }
    }

    fn judge(&self, status: ExitStatus, serving: Option<Instant>) -> End {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let first_failed = self.handover.life == 0 && serving.is_none();
        match code {
            Some(0) => End::Over(ExitCode::SUCCESS),
            _ if first_failed || self.mount.is_none() => {
                End::Over(ExitCode::from(code.unwrap_or(1)))
            }
            Some(AGAIN) if serving.is_some() => End::Again,
            _ => {
                let served = serving.map(|since| since.elapsed());
                End::Crashed { how: status.to_string(), served }
            }
        }
    }

    /// The daemon unmounts what it has mounted; a crash in its first moments may have come before that.
    fn over(&self, code: ExitCode) -> ExitCode {
        if code != ExitCode::SUCCESS {
            self.detach();
        }
        code
    }

    fn give_up(&self, why: &str) -> ExitCode {
        let text = format!("the drive {} was given up: {why}", self.plan.label);
        tracing::error!("{text}; unmounting it, so that programs do not wait for ever");
        let note = self.plan.dirs.given_up(&self.plan.label);
        if let Err(failure) = write_private(&note, text.as_bytes()) {
            tracing::error!("{}", failure.render());
        }
        self.detach();
        // What the dead daemon had no time to remove.
        for left in
            [self.plan.dirs.mount_record(&self.plan.label), self.plan.dirs.socket(&self.plan.label)]
        {
            let _ = std::fs::remove_file(left);
        }
        ExitCode::FAILURE
    }

    fn detach(&self) {
        if let Some(mount) = &self.mount
            && let Err(error) = fuse_linux::detach(&mount.path, &mount.device)
        {
            tracing::error!(%error, "the mount is left behind; the next mount recovers it");
        }
    }
}

impl Life {
    async fn wait(&mut self, signals: &mut crate::system::Signals) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                () = signals.next() => self.signal(),
            }
        }
    }

    /// Tells the daemon to stop: it sends what is unsent, unmounts and ends.
    fn signal(&self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            tracing::warn!(%error, "the daemon cannot be told to stop");
        }
    }
}
