//! The guest's program, and what it gets of the host.

use super::mount::MountArg;
use crate::wording::option;
use clap::Args;
use prebake::machine::limits::{Limit, Tmpfs};
use prebake::machine::program::{Program, Volume};
use std::path::Path;
use std::str::FromStr;

/// The program and what it gets.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Program")]
pub struct ProgramArgs {
    /// Set an environment variable; without a value, copy it from this environment
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<VariableArg>,
    /// Set environment variables from a file with a line NAME=VALUE for each; -e takes precedence
    #[arg(long = "env-file", value_name = "FILE", value_parser = read_variables)]
    pub environment_files: Vec<VariableFile>,
    /// Mount a directory or file of the host at a path in the guest
    #[arg(short = 'v', long = "volume", value_name = "HOST:GUEST[:ro]")]
    pub volumes: Vec<Volume>,
    /// The same in docker's long form; also type=tmpfs
    #[arg(long = "mount", value_name = "type=bind,src=HOST,dst=GUEST[,ro]")]
    pub mounts: Vec<MountArg>,
    /// Mount a file system in memory, with options such as size=64m,mode=1777
    #[arg(long, value_name = "GUEST[:OPTIONS]")]
    pub tmpfs: Vec<Tmpfs>,
    /// The working directory; it is created if it does not exist
    #[arg(short = 'w', long = "workdir", value_name = "DIR", value_parser = absolute)]
    pub folder: Option<String>,
    /// The user to run as, by name or number
    #[arg(short = 'u', long = "user", value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Override the image's entry point and command
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Limit a resource of the program, such as nofile=1024:4096; -1 is unlimited
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub limits: Vec<Limit>,
    /// Mount the root file system read-only
    #[arg(long)]
    pub read_only: bool,
}

/// What `--env-file` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableFile(Vec<VariableArg>);

/// Reads it as docker does: a variable on each line, with everything behind the first `=` in its value; empty lines and comments say nothing.
pub(super) fn read_variables(path: &str) -> Result<VariableFile, String> {
    let text = prebake::host::file::read("variables", Path::new(path)).map_err(|error| error.to_string())?;
    let text = String::from_utf8(text).map_err(|_| "it is not text in UTF-8".to_owned())?;
    parse_variables(text.trim_start_matches('\u{feff}')).map(VariableFile)
}

fn parse_variables(text: &str) -> Result<Vec<VariableArg>, String> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let problem = |problem: String| format!("line {}: {problem}", number + 1);
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            return Err(problem(format!("the name `{}` contains a blank", name.escape_debug())));
        }
        variables.push(line.parse().map_err(problem)?);
    }
    Ok(variables)
}

pub(super) fn absolute(path: &str) -> Result<String, String> {
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

/// Those of files and of options that have a value, which take precedence in this order.
pub(super) fn variables(files: &[VariableFile], options: &[VariableArg]) -> Vec<(String, String)> {
    let value = |variable: &VariableArg| Some((variable.name.clone(), variable.value.clone()?));
    files.iter().flat_map(|file| &file.0).chain(options).filter_map(value).collect()
}

impl ProgramArgs {
    /// Refuses what cannot be combined.
    pub fn check(&self) -> Result<(), String> {
        self.program(None, &[]).check().map_err(|problem| problem.to_string())
    }

    /// The first of the options that was given, by its name.
    pub fn given(&self) -> Option<&'static str> {
        let environment = !self.environment.is_empty() || !self.environment_files.is_empty();
        self.program(None, &[]).given().map(option).or(environment.then_some("-e"))
    }

    /// Whether a directory or file of the host was given.
    pub fn has_volumes(&self) -> bool {
        !self.program(None, &[]).volumes.is_empty()
    }

    /// The same for the library, with the machine's name and the arguments.
    pub fn program(&self, hostname: Option<&str>, arguments: &[String]) -> Program {
        let binds = self.mounts.iter().filter_map(|mount| match mount {
            MountArg::Bind(volume) => Some(volume.clone()),
            MountArg::Tmpfs(_) => None,
        });
        let in_memory = self.mounts.iter().filter_map(|mount| match mount {
            MountArg::Tmpfs(tmpfs) => Some(tmpfs.clone()),
            MountArg::Bind(_) => None,
        });
        Program {
            environment: variables(&self.environment_files, &self.environment),
            volumes: self.volumes.iter().cloned().chain(binds).collect(),
            folder: self.folder.clone(),
            user: self.user.clone(),
            entrypoint: self.entrypoint.clone(),
            arguments: arguments.to_vec(),
            hostname: hostname.map(str::to_owned),
            tmpfs: self.tmpfs.iter().cloned().chain(in_memory).collect(),
            limits: self.limits.clone(),
            read_only: self.read_only,
            time: None,
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
        let program = ProgramArgs { environment, ..ProgramArgs::default() }.program(None, &[]);
        assert_eq!(program.environment, [("A".into(), "1".into())]);
    }

    #[test]
    fn files_of_variables_are_read_as_docker_does() {
        let text = "# comment\n\n  A=1 # not one\nB=\"x\"\r\nC=\nCARGO_PKG_NAME\n";
        let variable = |name: &str, value: &str| VariableArg { name: name.into(), value: Some(value.into()) };
        let wanted = [variable("A", "1 # not one"), variable("B", "\"x\""), variable("C", ""), variable("CARGO_PKG_NAME", "prebake-cli")];
        assert_eq!(parse_variables(text).unwrap(), wanted);
        assert!(parse_variables("A=1\nB C=2").unwrap_err().starts_with("line 2:"));
        assert!(parse_variables("=1").unwrap_err().starts_with("line 1:"));
        assert!(read_variables("/nonexistent/file").unwrap_err().contains("cannot read"));
    }

    #[test]
    fn options_take_precedence_over_files() {
        let file = VariableFile(vec!["A=file".parse().unwrap(), "B=file".parse().unwrap()]);
        let args = ProgramArgs { environment: vec!["A=option".parse().unwrap()], environment_files: vec![file], ..ProgramArgs::default() };
        let wanted = [("A", "file"), ("B", "file"), ("A", "option")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(args.program(None, &[]).environment, wanted);
    }
}
