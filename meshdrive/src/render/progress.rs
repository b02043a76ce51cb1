//! A line of progress on a terminal; nothing where nobody watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// One line on stderr that goes away when it is dropped.
pub(crate) struct Line(ProgressBar);

impl Line {
    pub(crate) fn new(message: impl Into<String>) -> Line {
        let bar = ProgressBar::no_length();
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(TICK);
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(message.into());
        Line(bar)
    }

    pub(crate) fn say(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// Prints a message above the line.
    #[cfg(unix)]
    pub(crate) fn talk(&self, message: &str) {
        self.0.suspend(|| super::talk(message));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
