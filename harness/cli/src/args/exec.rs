//! `prebake exec`.

use super::program::{VariableArg, VariableFile, absolute, read_variables, variables};
use clap::Args;
use prebake::exec::ExecRequest;

pub(super) const EXEC_EXAMPLES: &str = "\
Examples:
  prebake exec -it work sh                       a second shell in the session `work`, which `prebake run` has in another terminal
  prebake exec alpine ps                         the session of a reference, if it has only one
  prebake exec work tar -c -C /etc . > etc.tar   output is byte-exact without -t
  prebake exec -i work sh -c 'cat > /tmp/x' < x

Exit code: that of the command; 126 if it cannot be run, 127 if it is not found, 125 if prebake failed.
SIGINT, SIGTERM and other signals go to the command; a second one ends `prebake exec`. If that ends, the command gets SIGHUP.";

/// `prebake exec`.
#[derive(Debug, Args)]
#[command(override_usage = "prebake exec [OPTIONS] SESSION COMMAND [ARGS]...")]
pub struct ExecArgs {
    /// A session that runs: its name, as `prebake sessions` lists it, or the reference that it is of
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<String>,
    /// Pass standard input on to the command
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a terminal for the command
    #[arg(short, long)]
    pub tty: bool,
    /// Set an environment variable; without a value, copy it from this environment
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<VariableArg>,
    /// Set environment variables from a file with a line NAME=VALUE for each; -e takes precedence
    #[arg(long = "env-file", value_name = "FILE", value_parser = read_variables)]
    pub environment_files: Vec<VariableFile>,
    /// The working directory; it is created if it does not exist
    #[arg(short = 'w', long = "workdir", value_name = "DIR", value_parser = absolute)]
    pub folder: Option<String>,
    /// The user to run as, by name or number
    #[arg(short = 'u', long = "user", value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Accepted as docker has it: root has all capabilities in the machine
    #[arg(long, hide = true)]
    pub privileged: bool,
}

impl From<&ExecArgs> for ExecRequest {
    fn from(args: &ExecArgs) -> Self {
        let (program, arguments) = args.command.split_first().map(|(program, rest)| (program.clone(), rest.to_vec())).unwrap_or_default();
        Self {
            program,
            arguments,
            environment: variables(&args.environment_files, &args.environment),
            folder: args.folder.clone(),
            user: args.user.clone(),
            interactive: args.interactive,
            on_terminal: args.tty,
        }
    }
}
