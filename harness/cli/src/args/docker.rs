//! Options of `docker run` that prebake does not have: those that ask for what is so anyway are accepted, all others are refused with a sentence
//! that says what to do instead.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// What prebake says to an option.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// It asks for what is so anyway.
    Accepted,
    /// It does with these values; with others it is refused.
    AcceptedIf(fn(&str) -> bool, &'static str),
    /// It is refused.
    Refused(&'static str),
}
use Answer::{Accepted, AcceptedIf, Refused};

/// Whether an option has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// `--option` or `--option=VALUE`, as docker's switches that are on by default.
    MaybeValue,
}
use Takes::{MaybeValue, Nothing, Value};

const DISK_LIMITS: &str = "the machine's disk has no such limit; omit it";
const CPU: &str = "the machine has one processor; omit it, or limit prebake itself with nice or taskset";
const MEMORY: &str = "the machine's memory is what -m gives it; omit it";
const HEALTH: &str = "prebake does not check health; omit it";
const LABELS: &str = "prebake keeps no labels; omit it";
const LINKS: &str = "the machine is alone in its network; omit it";

/// Name, short name, what it takes, and the answer. Options that prebake has itself are not here.
const OPTIONS: &[(&str, Option<char>, Takes, Answer)] = &[
    ("--annotation", None, Value, Refused(LABELS)),
    ("--attach", Some('a'), Value, Refused("all three streams are attached; redirect those that you do not want")),
    ("--blkio-weight", None, Value, Refused(DISK_LIMITS)),
    ("--blkio-weight-device", None, Value, Refused(DISK_LIMITS)),
    ("--cap-add", None, Value, Accepted),
    (
        "--cap-drop",
        None,
        Value,
        Refused("the machine confines its programs, so root keeps all capabilities; omit it, or choose another user with -u"),
    ),
    ("--cgroup-parent", None, Value, Refused("the machine has control groups of its own; omit it")),
    ("--cgroupns", None, Value, AcceptedIf(|value| value == "private", "the machine has control groups of its own; omit it")),
    ("--cidfile", None, Value, Refused("a run has no identifier; name it with --name")),
    ("--cpu-period", None, Value, Refused(CPU)),
    ("--cpu-quota", None, Value, Refused(CPU)),
    ("--cpu-rt-period", None, Value, Refused(CPU)),
    ("--cpu-rt-runtime", None, Value, Refused(CPU)),
    ("--cpu-shares", Some('c'), Value, Refused(CPU)),
    ("--cpus", None, Value, AcceptedIf(|value| value.parse().is_ok_and(|cpus: f64| cpus >= 1.0), CPU)),
    ("--cpuset-cpus", None, Value, Refused(CPU)),
    ("--cpuset-mems", None, Value, Refused(CPU)),
    (
        "--detach",
        Some('d'),
        Nothing,
        Refused("prebake stays in the foreground; let your shell put it into the background: prebake run … </dev/null &"),
    ),
    ("--detach-keys", None, Value, Refused("Ctrl-A x leaves, and Ctrl-A Ctrl-A sends Ctrl-A; omit it")),
    ("--device", None, Value, Refused("the machine has no devices of this host; pass a disk image with --disk")),
    ("--device-cgroup-rule", None, Value, Refused("the machine has no devices of this host; omit it")),
    ("--device-read-bps", None, Value, Refused(DISK_LIMITS)),
    ("--device-read-iops", None, Value, Refused(DISK_LIMITS)),
    ("--device-write-bps", None, Value, Refused(DISK_LIMITS)),
    ("--device-write-iops", None, Value, Refused(DISK_LIMITS)),
    ("--disable-content-trust", None, MaybeValue, Accepted),
    ("--dns-option", None, Value, Refused("the guest asks the host's name servers in its own way; omit it")),
    ("--domainname", None, Value, Refused("give the whole name with --hostname")),
    ("--expose", None, Value, Accepted),
    ("--gpus", None, Value, Refused("the machine has no graphics processor; omit it")),
    ("--group-add", None, Value, Refused("give the group with -u USER:GROUP")),
    ("--health-cmd", None, Value, Refused(HEALTH)),
    ("--health-interval", None, Value, Refused(HEALTH)),
    ("--health-retries", None, Value, Refused(HEALTH)),
    ("--health-start-interval", None, Value, Refused(HEALTH)),
    ("--health-start-period", None, Value, Refused(HEALTH)),
    ("--health-timeout", None, Value, Refused(HEALTH)),
    ("--init", None, MaybeValue, Accepted),
    (
        "--interactive",
        Some('i'),
        MaybeValue,
        AcceptedIf(|value| value != "false", "standard input is always attached; redirect it: </dev/null"),
    ),
    ("--ip", None, Value, Refused(LINKS)),
    ("--ip6", None, Value, Refused(LINKS)),
    ("--ipc", None, Value, AcceptedIf(|value| value == "private", "the machine shares no memory with others; omit it")),
    ("--isolation", None, Value, AcceptedIf(|value| value == "default", "the machine is the isolation; omit it")),
    ("--kernel-memory", None, Value, Refused(MEMORY)),
    ("--label", Some('l'), Value, Refused(LABELS)),
    ("--label-file", None, Value, Refused(LABELS)),
    ("--link", None, Value, Refused(LINKS)),
    ("--link-local-ip", None, Value, Refused(LINKS)),
    ("--log-driver", None, Value, AcceptedIf(|value| value == "none", "output goes to standard output and standard error; redirect it")),
    ("--log-opt", None, Value, Refused("output goes to standard output and standard error; redirect it")),
    ("--memory-reservation", None, Value, Refused(MEMORY)),
    ("--memory-swap", None, Value, Refused(MEMORY)),
    ("--memory-swappiness", None, Value, Refused(MEMORY)),
    ("--network-alias", None, Value, Refused(LINKS)),
    ("--no-healthcheck", None, Nothing, Accepted),
    ("--oom-kill-disable", None, MaybeValue, Refused("the guest's kernel ends what takes too much memory; give more with -m")),
    ("--oom-score-adj", None, Value, Refused("the guest's kernel ends what takes too much memory; give more with -m")),
    ("--pid", None, Value, Refused("the machine has processes of its own; omit it")),
    ("--pids-limit", None, Value, AcceptedIf(|value| matches!(value, "0" | "-1"), "the machine's memory is the limit; give it with -m")),
    ("--platform", None, Value, AcceptedIf(is_platform, "the machine is linux/amd64; omit it")),
    ("--privileged", None, MaybeValue, Accepted),
    ("--restart", None, Value, AcceptedIf(|value| value == "no", "prebake runs once; let your shell or a service manager start it again")),
    ("--runtime", None, Value, Refused("prebake is the runtime; choose with --engine")),
    ("--security-opt", None, Value, AcceptedIf(is_unconfined, "the machine confines its programs; omit it")),
    ("--shm-size", None, Value, Refused("/dev/shm may take half of the machine's memory; give more with -m")),
    ("--sig-proxy", None, MaybeValue, AcceptedIf(|value| value != "false", "signals to prebake always reach the program; omit it")),
    ("--stop-signal", None, Value, Refused("signals to prebake reach the program; send the one that you want")),
    ("--stop-timeout", None, Value, Refused("the program has the time that it needs; a second signal ends the machine")),
    ("--storage-opt", None, Value, Refused("the size of the machine's disk is fixed by convert --upper")),
    ("--sysctl", None, Value, Refused("let the program set it; root may write to /proc/sys")),
    ("--use-api-socket", None, Nothing, Refused("there is no daemon; omit it")),
    ("--userns", None, Value, Refused("the machine has users of its own; omit it")),
    ("--uts", None, Value, Refused("the machine has a name of its own; give it with --hostname")),
    ("--volume-driver", None, Value, Refused("volumes are folders of this host; omit it")),
    ("--volumes-from", None, Value, Refused("pass the same -v again")),
];

fn is_platform(value: &str) -> bool {
    let mut words = value.split('/');
    let words = [words.next(), words.next(), words.next(), words.next()];
    let is_x86 = |word: &str| matches!(word, "amd64" | "x86_64" | "x86-64");
    match words {
        [Some("linux"), None, ..] => true,
        [Some(word), None, ..] | [Some("linux"), Some(word), None, _] => is_x86(word),
        [Some("linux"), Some(word), Some(variant), None] => is_x86(word) && matches!(variant, "v1" | "v2"),
        _ => false,
    }
}

fn is_unconfined(value: &str) -> bool {
    matches!(
        value,
        "seccomp=unconfined" | "seccomp:unconfined" | "apparmor=unconfined" | "apparmor:unconfined" | "label=disable" | "label:disable"
    )
}

/// Accepts or refuses the options of docker that prebake does not have. Help does not show them.
#[derive(Debug, Clone, Copy, Default)]
pub struct DockerArgs;

impl Args for DockerArgs {
    fn augment_args(command: Command) -> Command {
        OPTIONS.iter().fold(command, |command, (name, short, takes, _)| {
            let mut option = Arg::new(*name).long(&name[2..]).hide(true);
            option = match takes {
                Nothing => option.action(ArgAction::Count),
                Value => option.action(ArgAction::Append).allow_hyphen_values(true),
                MaybeValue => option.action(ArgAction::Append).num_args(0..=1).require_equals(true).default_missing_value("true"),
            };
            command.arg(match short {
                Some(short) => option.short(*short),
                None => option,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DockerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        for (name, _, takes, answer) in OPTIONS {
            let values: Vec<&str> = match takes {
                Nothing => vec![""; usize::from(matches.get_count(name))],
                Value | MaybeValue => matches.get_many::<String>(name).into_iter().flatten().map(String::as_str).collect(),
            };
            let refused = match answer {
                Accepted => None,
                AcceptedIf(fits, why) => values.iter().find(|value| !fits(value)).map(|_| why),
                Refused(why) => values.first().map(|_| why),
            };
            if let Some(why) = refused {
                return Err(Error::raw(ErrorKind::ArgumentConflict, format!("{name} is not supported: {why}")));
            }
        }
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::Parser;

    /// The first line of the message if these words are refused.
    fn run(words: &[&str]) -> Result<(), String> {
        let words = ["prebake", "run"].iter().chain(words).chain(&["alpine", "true"]);
        Cli::try_parse_from(words).map(drop).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    }

    /// A value that docker takes, and prebake as well.
    fn fitting(name: &str) -> &'static str {
        match name {
            "--cgroupns" | "--ipc" => "private",
            "--cpus" => "1.5",
            "--isolation" => "default",
            "--log-driver" => "none",
            "--pids-limit" => "-1",
            "--platform" => "linux/amd64",
            "--restart" => "no",
            "--security-opt" => "seccomp=unconfined",
            "--interactive" | "--sig-proxy" => "true",
            _ => "x",
        }
    }

    #[test]
    fn every_option_is_accepted_or_refused_in_one_sentence() {
        for (name, short, takes, answer) in OPTIONS {
            let forms: Vec<Vec<String>> = match takes {
                Nothing => vec![vec![(*name).to_owned()]],
                Value => vec![vec![(*name).to_owned(), fitting(name).into()], vec![format!("{name}={}", fitting(name))]],
                MaybeValue => vec![vec![(*name).to_owned()], vec![format!("{name}={}", fitting(name))]],
            };
            let short_forms = short.map(|short| match takes {
                Value => vec![format!("-{short}"), fitting(name).into()],
                Nothing | MaybeValue => vec![format!("-{short}")],
            });
            for form in forms.into_iter().chain(short_forms) {
                let words: Vec<&str> = form.iter().map(String::as_str).collect();
                match answer {
                    Accepted | AcceptedIf(..) => assert_eq!(run(&words), Ok(()), "{words:?}"),
                    Refused(why) => {
                        assert_eq!(run(&words), Err(format!("error: {name} is not supported: {why}")), "{words:?}");
                    }
                }
            }
            if let AcceptedIf(_, why) = answer {
                let wrong = if matches!(name, &"--interactive" | &"--sig-proxy") { "false" } else { "0.5" };
                assert_eq!(run(&[&format!("{name}={wrong}")]), Err(format!("error: {name} is not supported: {why}")), "{name}");
            }
        }
    }

    #[test]
    fn the_machine_is_one_platform() {
        for fits in ["linux/amd64", "linux/x86_64", "linux/amd64/v2", "linux", "amd64"] {
            assert!(is_platform(fits), "{fits}");
        }
        for other in ["linux/arm64", "linux/arm64/v8", "windows/amd64", "linux/amd64/v3", "linux/386", "arm64", ""] {
            assert!(!is_platform(other), "{other}");
        }
    }
}
