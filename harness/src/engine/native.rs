//! The machine as a part of this program.

use super::{DiskMemory, Engine, Memory};
use crate::error::Result;
use devices::console::{Port, WindowSize};
use emu::machine::{Machine, Stats, Stop, model};
use snapshot::Writer;

impl Engine for Machine {
    fn run(&mut self, until: u64) -> Result<Stop> {
        Ok(self.run(until)?)
    }
    fn run_to_safe_point(&mut self, until: u64) -> Result<Stop> {
        Ok(self.run_to_safe_point(until)?)
    }
    fn at_safe_point(&mut self) -> bool {
        Self::at_safe_point(self)
    }
    fn skip_to(&mut self, tick: u64) {
        self.skip_to(tick);
    }
    fn count(&mut self) -> u64 {
        Self::count(self)
    }
    fn now(&mut self) -> u64 {
        self.now()
    }
    fn stats(&mut self) -> Stats {
        self.stats()
    }
    fn push_input(&mut self, port: Port, bytes: &[u8]) -> usize {
        self.push_input(port, bytes)
    }
    fn close_input(&mut self, port: Port) {
        self.close_input(port);
    }
    fn wants_input(&mut self, port: Port) -> bool {
        self.wants_input(port)
    }
    fn input_pending(&mut self, port: Port) -> usize {
        self.input_pending(port)
    }
    fn resize(&mut self, window: WindowSize) {
        self.resize(window);
    }
    fn disk_was_full(&mut self) -> bool {
        self.disk_was_full()
    }
    fn save(&mut self) -> Result<Writer> {
        let mut writer = Writer::new(self.id());
        self.save(&mut writer)?;
        Ok(writer)
    }
    fn memory(&mut self) -> Memory<'_> {
        let disks = (0..model::MAX_DISKS).filter_map(|number| {
            let memory = self.disk_memory(number)?;
            Some(DiskMemory { number: number as u16, bytes: memory.bytes(), written: memory.dirty_pages() })
        });
        Memory { bytes: self.ram().bytes(), written: self.ram().dirty_pages(), disks: disks.collect() }
    }
}
