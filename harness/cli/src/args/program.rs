//! The guest's program, and what it gets of the host.

use crate::wording::option;
use clap::Args;
use prebake::machine::program::{Program, Volume};
use std::str::FromStr;

/// The program and what it gets.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Program")]
pub struct ProgramArgs {
    /// Set an environment variable; without a value, copy it from this environment
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<VariableArg>,
    /// Mount a directory or file of the host at a path in the guest
    #[arg(short = 'v', long = "volume", value_name = "HOST:GUEST[:ro]")]
    pub volumes: Vec<Volume>,
    /// The working directory; it is created if it does not exist
    #[arg(short = 'w', long = "workdir", value_name = "DIR", value_parser = absolute)]
    pub folder: Option<String>,
    /// The user to run as, by name or number
    #[arg(short = 'u', long = "user", value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Override the image's entry point and command
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Arguments that override the image's command
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err("expected an absolute path in the guest".into()) }
}

/// `NAME=VALUE`, or `NAME` for what this process has under that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableArg {
    /// The name.
    pub name: String,
    /// The value; none that this process could have given.
    pub value: Option<String>,
}

impl FromStr for VariableArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err("the name is missing".into());
        }
        if text.contains('\0') {
            return Err("a variable cannot contain a NUL character".into());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

impl ProgramArgs {
    /// Refuses what cannot be combined.
    pub fn check(&self) -> Result<(), String> {
        Program::from(self).check().map_err(|problem| problem.to_string())
    }

    /// The first of the options that was given, by its name.
    pub fn given(&self) -> Option<&'static str> {
        Program::from(self).given().map(option).or((!self.environment.is_empty()).then_some("-e"))
    }
}

impl From<&ProgramArgs> for Program {
    fn from(args: &ProgramArgs) -> Self {
        let value = |variable: &VariableArg| Some((variable.name.clone(), variable.value.clone()?));
        Self {
            environment: args.environment.iter().filter_map(value).collect(),
            volumes: args.volumes.clone(),
            folder: args.folder.clone(),
            user: args.user.clone(),
            entrypoint: args.entrypoint.clone(),
            arguments: args.arguments.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_values_or_the_hosts() {
        let is = |name: &str, value: Option<&str>| Ok(VariableArg { name: name.into(), value: value.map(str::to_owned) });
        assert_eq!("A=b=c".parse(), is("A", Some("b=c")));
        assert_eq!("A=".parse(), is("A", Some("")));
        assert_eq!("CARGO_PKG_NAME".parse(), is("CARGO_PKG_NAME", Some("prebake-cli")));
        assert_eq!("PREBAKE_NO_SUCH_VARIABLE".parse(), is("PREBAKE_NO_SUCH_VARIABLE", None));
        assert!("=b".parse::<VariableArg>().is_err());
    }

    #[test]
    fn a_variable_that_is_not_set_is_left_out() {
        let environment = ["A=1", "PREBAKE_NO_SUCH_VARIABLE"].map(|text| text.parse().unwrap()).into();
        let program = Program::from(&ProgramArgs { environment, ..ProgramArgs::default() });
        assert_eq!(program.environment, [("A".into(), "1".into())]);
    }
}
