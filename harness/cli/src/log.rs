//! Diagnostics of the library on standard error, for `PREBAKE_LOG`.

use crate::shell::{Shell, variable};
use std::io::{self, Write};
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::prelude::*;

/// What asks for them.
const VARIABLE: &str = "PREBAKE_LOG";
/// How targets begin. Those of other crates are left out: what they say may have credentials in it.
const OWN: &str = "prebake";

/// Prints diagnostics from here on, if they are wanted. Fails with what is wrong with the wish.
pub fn install(shell: &Shell) -> Result<(), String> {
    let Some(wanted) = variable(VARIABLE) else { return Ok(()) };
    let filter = filter(&wanted)?.and(filter_fn(|metadata| is_own(metadata.target())));
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_timer(uptime()).with_writer(Lines(shell.diagnostics()));
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(())
}

/// Understands a filter.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let problem =
        |problem: &str| format!("invalid {VARIABLE} `{}`: {problem}; try debug, trace, or {OWN}::registry=debug", text.escape_debug());
    for directive in text.split(',') {
        // One without a level is taken for a target, even if it is a level that is misspelt.
        let target = directive.split(['=', '[']).next().unwrap_or_default();
        if !target.is_empty() && !is_own(target) && directive.parse::<LevelFilter>().is_err() {
            return Err(problem(&format!("`{}` is neither a level nor a target of prebake", target.escape_debug())));
        }
    }
    EnvFilter::builder().parse(text).map_err(|error| problem(&error.to_string()))
}

fn is_own(target: &str) -> bool {
    target.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Gives every event, which is one line, to a function.
struct Lines<F>(F);

impl<'a, F: Fn(&str) + 'a> MakeWriter<'a> for Lines<F> {
    type Writer = Line<'a, F>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.0)
    }
}

/// Takes the line of one event.
struct Line<'a, F>(&'a F);

impl<F: Fn(&str)> Write for Line<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_levels_and_targets_of_prebake() {
        for right in
            ["debug", "TRACE", "off", "prebake=debug", "prebake::registry=trace,info", "[pull]=debug", "prebake::store[pull]=debug"]
        {
            assert!(filter(right).is_ok(), "{right}");
        }
        for wrong in ["debgu", "hyper=trace", "prebaked=debug", "prebake=loud", "prebake::store[=debug"] {
            assert!(filter(wrong).unwrap_err().contains("PREBAKE_LOG"), "{wrong}");
        }
    }
}
