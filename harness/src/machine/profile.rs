//! A profile: how often each block of a machine's code runs.

use super::native::Native;
use crate::error::Result;
use crate::host::file::place::Destination;
use emu::machine::{Machine, Stop};
use std::path::Path;
use translate::Profile;

/// A machine that counts what it runs, and at its end writes that into a file.
pub struct Profiled {
    machine: Machine,
    /// Taken when it is written.
    file: Option<Destination>,
}

impl Profiled {
    /// Counts from now on. The machine has not run yet.
    pub fn new(mut machine: Machine, path: &Path) -> Result<Self> {
        machine.start_profile();
        Ok(Self { machine, file: Some(Destination::open(path)?) })
    }
}

impl Native for Profiled {
    fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    fn run(&mut self, until: u64) -> Result<Stop> {
        Ok(self.machine.run(until)?)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.write(&Profile::new(self.machine.profile()).encode())
    }
}
