//! Two audiences: people read sentences, programs read JSON lines. With `--output json` people read standard error.

use super::args::Output;
use serde_json::Value;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub struct Say {
    pub output: Output,
}

impl Say {
    /// A sentence for people.
    pub fn tell(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        // A closed pipe ends the demo no sooner than its checks do.
        let _ = match self.output {
            Output::Text => writeln!(std::io::stdout(), "{text}"),
            Output::Json => writeln!(std::io::stderr(), "{text}"),
        };
    }

    /// A line for programs, made only if someone reads it. `line` gets the moment in milliseconds since the Unix epoch.
    pub fn line(&self, line: impl FnOnce(u64) -> Value) {
        if self.output == Output::Json {
            let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
            let _ = writeln!(std::io::stdout(), "{}", line(at_ms));
        }
    }

    /// The summary: a JSON line whatever the output is, the last one.
    pub fn last(&self, line: Value) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
