//! The console.

use devices::console::{Console, ConsoleSink, ConsoleState};
use snapshot::{Sections, Writer};

use super::error::MachineError;
use super::model::{self, SlotRange};
use super::plug::Pluggable;

/// The console as the guest sees it.
pub type ConsoleDevice = Console<Box<dyn ConsoleSink>>;

impl Pluggable for ConsoleDevice {
    const SLOTS: SlotRange = model::CONSOLE;
    const TAKES_INPUT: bool = true;
    type Part = Box<dyn ConsoleSink>;

    fn boot(sink: Self::Part, _: u16) -> Result<Self, MachineError> {
        Ok(Self::new(sink))
    }

    fn restore(sink: Self::Part, number: u16, sections: &mut Sections<'_>) -> Result<Self, MachineError> {
        Ok(Self::restore(sink, &sections.take::<ConsoleState>(number)?)?)
    }

    fn save(&mut self, number: u16, writer: &mut Writer) -> Result<(), MachineError> {
        Ok(writer.add(number, &Console::save(self))?)
    }
}
