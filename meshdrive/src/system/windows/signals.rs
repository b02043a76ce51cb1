//! What ends the program from outside.

use crate::failure::{Attempt, Outcome};
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close,
    ctrl_logoff, ctrl_shutdown,
};

/// Ctrl-C, Ctrl-Break, the end of the console, of the session and of Windows. Of the last three Windows
/// waits a few seconds at most.
pub(crate) struct Signals {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub(crate) fn listen() -> Outcome<Signals> {
        let what = || "cannot listen for signals".to_string();
        Ok(Signals {
            interrupt: ctrl_c().attempt(what)?,
            stop: ctrl_break().attempt(what)?,
            close: ctrl_close().attempt(what)?,
            logoff: ctrl_logoff().attempt(what)?,
            shutdown: ctrl_shutdown().attempt(what)?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.stop.recv() => {}
            _ = self.close.recv() => {}
            _ = self.logoff.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}
