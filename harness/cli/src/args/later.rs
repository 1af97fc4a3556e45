//! Arguments that are defined once their verb is given: to define those of all verbs takes longer than to understand a command line. A verb with verbs
//! of its own is not among them, so that completion scripts know those.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use std::ops::{Deref, DerefMut};

/// The arguments of a verb.
#[derive(Debug)]
pub struct Later<A>(A);

impl<A> Later<A> {
    /// The arguments.
    pub fn into_inner(self) -> A {
        self.0
    }
}

impl<A> Deref for Later<A> {
    type Target = A;
    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A> DerefMut for Later<A> {
    fn deref_mut(&mut self) -> &mut A {
        &mut self.0
    }
}

impl<A: FromArgMatches> FromArgMatches for Later<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        A::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<A: Args> Args for Later<A> {
    fn augment_args(command: Command) -> Command {
        command.defer(defined::<A>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        A::augment_args_for_update(command)
    }
}

/// The verb with its arguments. What its list of verbs says of it counts, not what the arguments say of themselves.
fn defined<A: Args>(command: Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    A::augment_args(command).about(about).long_about(None::<&str>)
}
