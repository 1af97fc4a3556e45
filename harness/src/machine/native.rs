//! The machine as a part of this program.

use super::{DiskMemory, Engine, Memory};
use crate::error::Result;
use devices::console::{Port, WindowSize};
use devices::net::{Offload, Pushed};
use emu::machine::{Machine, Stats, Stop, model};
use net::Frame;
use snapshot::Writer;
use std::os::fd::BorrowedFd;

/// The machine itself, or with someone who looks on.
pub trait Native {
    /// The machine.
    fn machine(&mut self) -> &mut Machine;
    /// See [`Engine::run`].
    fn run(&mut self, until: u64) -> Result<Stop>;
    /// See [`Engine::waits_on`].
    fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// See [`Engine::finish`].
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Native for Machine {
    fn machine(&mut self) -> &mut Machine {
        self
    }
    fn run(&mut self, until: u64) -> Result<Stop> {
        Ok(Self::run(self, until)?)
    }
}

impl<N: Native> Engine for N {
    fn run(&mut self, until: u64) -> Result<Stop> {
        Native::run(self, until)
    }
    fn run_to_safe_point(&mut self, until: u64) -> Result<Stop> {
        Ok(self.machine().run_to_safe_point(until)?)
    }
    fn at_safe_point(&mut self) -> bool {
        Machine::at_safe_point(self.machine())
    }
    fn skip_to(&mut self, tick: u64) {
        self.machine().skip_to(tick);
    }
    fn count(&mut self) -> u64 {
        Machine::count(self.machine())
    }
    fn now(&mut self) -> u64 {
        self.machine().now()
    }
    fn stats(&mut self) -> Stats {
        self.machine().stats()
    }
    fn push_input(&mut self, port: Port, bytes: &[u8]) -> usize {
        self.machine().push_input(port, bytes)
    }
    fn close_input(&mut self, port: Port) {
        self.machine().close_input(port);
    }
    fn network(&mut self) -> Option<Offload> {
        self.machine().network()
    }
    fn take_frames(&mut self) -> Vec<Frame> {
        self.machine().take_frames().into_iter().map(|(header, bytes)| Frame { header, bytes }).collect()
    }
    fn push_frame(&mut self, frame: &Frame) -> Pushed {
        self.machine().push_frame(frame.header, &frame.bytes)
    }
    fn wants_input(&mut self, port: Port) -> bool {
        self.machine().wants_input(port)
    }
    fn input_pending(&mut self, port: Port) -> usize {
        self.machine().input_pending(port)
    }
    fn resize(&mut self, window: WindowSize) {
        self.machine().resize(window);
    }
    fn disk_was_full(&mut self) -> bool {
        self.machine().disk_was_full()
    }
    fn save(&mut self) -> Result<Writer> {
        let machine = self.machine();
        let mut writer = Writer::new(machine.id());
        machine.save(&mut writer)?;
        Ok(writer)
    }
    fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        Native::waits_on(self)
    }
    fn finish(&mut self) -> Result<()> {
        Native::finish(self)
    }
    fn memory(&mut self) -> Memory<'_> {
        let machine = self.machine();
        let disks = (0..model::DISKS.count).filter_map(|number| {
            let memory = machine.disk_memory(number)?;
            Some(DiskMemory { number: number as u16, bytes: memory.bytes(), written: memory.dirty_pages() })
        });
        Memory { bytes: machine.ram().bytes(), written: machine.ram().dirty_pages(), disks: disks.collect() }
    }
}
