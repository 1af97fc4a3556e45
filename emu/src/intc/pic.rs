//! The pair of 8259A interrupt controllers of a PC, the second cascaded through IRQ 2 (Intel 8259A data sheet), with the edge/level control
//! registers that chipsets add at ports 0x4d0 and 0x4d1.

use devices::platform::InterruptLine;

snapshot::saved! {
    /// One 8259A.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ChipState {
        /// Levels of the eight request lines.
        pub lines: u8,
        /// Edge/level control register: lines that are level-triggered.
        pub level_triggered: u8,
        /// IRR.
        pub requests: u8,
        /// ISR.
        pub in_service: u8,
        /// IMR.
        pub mask: u8,
        /// ICW2: vector of IRQ 0.
        pub base: u8,
        /// Initialisation words still expected: 0 none, else the number of the next (2 to 4).
        pub expects: u8,
        /// ICW1 announced an ICW4.
        pub wants_icw4: bool,
        /// ICW4: automatic end of interrupt.
        pub automatic_eoi: bool,
        /// OCW3: reads give ISR instead of IRR.
        pub reads_in_service: bool,
        /// OCW3: the next read polls.
        pub polls: bool,
        /// OCW3: special mask mode.
        pub special_mask: bool,
        /// IRQ with the lowest priority: 7 unless rotated.
        pub lowest: u8,
        /// OCW2: rotate in automatic end-of-interrupt mode.
        pub rotate_on_automatic_eoi: bool,
    }

    /// Both.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PicState {
        /// IRQ 0 to 7.
        pub master: ChipState,
        /// IRQ 8 to 15.
        pub slave: ChipState,
    }
}

const CASCADE: u8 = 2;
/// The line of x87 exceptions, at the second chip.
const FLOAT: u8 = 13;

impl ChipState {
    fn set_line(&mut self, number: u8, high: bool) {
        let bit = 1 << number;
        if high && (self.lines & bit == 0 || self.level_triggered & bit != 0) {
            self.requests |= bit;
        }
        if high {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
            self.requests &= !bit;
        }
    }

    /// Of the set bits the one with the highest priority.
    fn highest(&self, bits: u8) -> Option<u8> {
        (1..=8).map(|step| (self.lowest + step) & 7).find(|&number| bits >> number & 1 != 0)
    }

    fn rank(&self, number: u8) -> u8 {
        number.wrapping_sub(self.lowest + 1) & 7
    }

    /// The request that the chip would present now.
    fn pending(&self) -> Option<u8> {
        let request = self.highest(self.requests & !self.mask)?;
        let serving = if self.special_mask { self.in_service & !self.mask } else { self.in_service };
        match self.highest(serving) {
            Some(current) if self.rank(request) >= self.rank(current) => None,
            _ => Some(request),
        }
    }

    /// Takes a request into service; the spurious IRQ 7 when there is none.
    fn acknowledge(&mut self) -> u8 {
        let Some(number) = self.pending() else { return 7 };
        let bit = 1 << number;
        // A level-triggered line goes on requesting while it is high.
        self.requests &= !(bit & !(self.lines & self.level_triggered));
        if self.automatic_eoi {
            if self.rotate_on_automatic_eoi {
                self.lowest = number;
            }
        } else {
            self.in_service |= bit;
        }
        number
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            *self = Self {
                lines: self.lines,
                level_triggered: self.level_triggered,
                expects: 2,
                wants_icw4: value & 1 != 0,
                lowest: 7,
                ..Self::default()
            };
        } else if value & 0x08 != 0 {
            match value & 3 {
                2 => self.reads_in_service = false,
                3 => self.reads_in_service = true,
                _ => {}
            }
            self.polls = value & 4 != 0;
            match value >> 5 & 3 {
                2 => self.special_mask = false,
                3 => self.special_mask = true,
                _ => {}
            }
        } else {
            self.end_of_interrupt(value);
        }
    }

    /// OCW2.
    fn end_of_interrupt(&mut self, value: u8) {
        let (rotate, specific, eoi) = (value & 0x80 != 0, value & 0x40 != 0, value & 0x20 != 0);
        let number = if specific { Some(value & 7) } else { self.highest(self.in_service) };
        match (eoi, specific) {
            (true, _) => {
                if let Some(number) = number {
                    self.in_service &= !(1 << number);
                    if rotate {
                        self.lowest = number;
                    }
                }
            }
            (false, true) if rotate => self.lowest = value & 7,
            (false, false) => self.rotate_on_automatic_eoi = rotate,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.expects {
            2 => {
                self.base = value & 0xf8;
                self.expects = 3;
            }
            3 => self.expects = if self.wants_icw4 { 4 } else { 0 },
            4 => {
                self.automatic_eoi = value & 2 != 0;
                self.expects = 0;
            }
            _ => self.mask = value,
        }
    }

    fn read_command(&mut self) -> u8 {
        if self.polls {
            self.polls = false;
            return match self.pending() {
                Some(_) => 0x80 | self.acknowledge(),
                None => 0,
            };
        }
        if self.reads_in_service { self.in_service } else { self.requests }
    }
}

/// The pair. Ports 0x20, 0x21 and 0x4d0 are the master's, 0xa0, 0xa1 and 0x4d1 the slave's.
#[derive(Clone, Debug)]
pub struct Pic {
    master: ChipState,
    slave: ChipState,
}

impl Default for Pic {
    fn default() -> Self {
        let chip = ChipState { lowest: 7, mask: 0xff, ..ChipState::default() };
        Self { master: chip, slave: chip }
    }
}

impl Pic {
    /// Drives IRQ line `irq` (0 to 15; 2 is the cascade and not connected).
    pub fn set_line(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, high),
            _ => self.slave.set_line(irq & 7, high),
        }
        self.cascade();
    }

    /// FERR#, and the IGNNE# that answers: high from when the handler writes to port 0xf0 until its interrupt ends.
    pub fn float_error(&mut self) -> bool {
        let bit = 1 << (FLOAT & 7);
        if self.slave.in_service & bit != 0 && self.slave.lines & bit == 0 {
            return true;
        }
        self.set_line(FLOAT, true);
        false
    }

    /// A write to port 0xf0.
    pub fn clear_float_error(&mut self) {
        self.set_line(FLOAT, false);
    }

    /// The slave's output drives the master's IRQ 2.
    fn cascade(&mut self) {
        let high = self.slave.pending().is_some();
        self.master.set_line(CASCADE, high);
    }

    /// Whether the INTR output is high.
    pub fn output(&self) -> bool {
        self.master.pending().is_some()
    }

    /// The INTA cycle: the vector of the interrupt that is taken into service.
    pub fn acknowledge(&mut self) -> u8 {
        let number = self.master.acknowledge();
        if number != CASCADE {
            return self.master.base + number;
        }
        let number = self.slave.acknowledge();
        let vector = self.slave.base + number;
        self.cascade();
        vector
    }

    /// Reads a port.
    pub fn read(&mut self, port: u64) -> u8 {
        let value = match port {
            0x20 => self.master.read_command(),
            0x21 => self.master.mask,
            0xa0 => self.slave.read_command(),
            0xa1 => self.slave.mask,
            0x4d0 => self.master.level_triggered,
            _ => self.slave.level_triggered,
        };
        self.cascade();
        value
    }

    /// Writes a port.
    pub fn write(&mut self, port: u64, value: u8) {
        match port {
            0x20 => self.master.write_command(value),
            0x21 => self.master.write_data(value),
            0xa0 => self.slave.write_command(value),
            0xa1 => self.slave.write_data(value),
            // IRQ 0, 1, 2, 8 and 13 are always edge-triggered.
            0x4d0 => self.master.level_triggered = value & 0xf8,
            _ => self.slave.level_triggered = value & 0xde,
        }
        self.cascade();
    }

    /// The state to be saved.
    pub fn save(&self) -> PicState {
        PicState { master: self.master, slave: self.slave }
    }

    /// Takes over saved state. Any value is one that the guest could have programmed, once reduced to its width.
    pub fn restore(state: &PicState) -> Self {
        let checked = |chip: ChipState| ChipState { base: chip.base & 0xf8, lowest: chip.lowest & 7, ..chip };
        Self { master: checked(state.master), slave: checked(state.slave) }
    }
}

/// One IRQ line of the pair, lent to a device.
pub struct PicLine<'a> {
    /// The pair.
    pub pic: &'a mut Pic,
    /// Which line.
    pub irq: u8,
}

impl InterruptLine for PicLine<'_> {
    fn set_level(&mut self, high: bool) {
        self.pic.set_line(self.irq, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialised() -> Pic {
        let mut pic = Pic::default();
        for (command, data, base, wiring) in [(0x20, 0x21, 0x30, 4), (0xa0, 0xa1, 0x38, 2)] {
            pic.write(command, 0x11);
            pic.write(data, base);
            pic.write(data, wiring);
            pic.write(data, 1);
            pic.write(data, 0);
        }
        pic
    }

    #[test]
    fn masks_read_back_as_the_kernel_probes_them() {
        let mut pic = Pic::default();
        pic.write(0x21, 0xfb);
        assert_eq!(pic.read(0x21), 0xfb);
    }

    #[test]
    fn float_error_is_ignored_from_its_acknowledgement_to_the_end_of_its_interrupt() {
        let mut pic = initialised();
        assert!(!pic.float_error());
        assert!(pic.output());
        assert_eq!(pic.acknowledge(), 0x3d);
        assert!(!pic.float_error());
        pic.clear_float_error();
        assert!(pic.float_error());
        for port in [0xa0, 0x20] {
            pic.write(port, 0x20);
        }
        assert!(!pic.output(), "one error, one interrupt");
        assert!(!pic.float_error());
        assert!(pic.output(), "the next");
    }

    #[test]
    fn a_slave_interrupt_comes_through_the_cascade() {
        let mut pic = initialised();
        pic.set_line(11, true);
        assert!(pic.output());
        assert_eq!(pic.acknowledge(), 0x38 + 3);
        assert!(!pic.output());
        pic.write(0xa0, 0x20);
        pic.write(0x20, 0x20);
        pic.set_line(11, false);
        pic.set_line(11, true);
        assert!(pic.output(), "a new edge after the end of interrupt");
    }

    #[test]
    fn an_interrupt_in_service_holds_back_equal_and_lower_ones() {
        let mut pic = initialised();
        pic.set_line(4, true);
        assert_eq!(pic.acknowledge(), 0x34);
        pic.set_line(5, true);
        assert!(!pic.output());
        pic.set_line(1, true);
        assert!(pic.output());
        assert_eq!(pic.acknowledge(), 0x31);
        pic.write(0x20, 0x20);
        pic.write(0x20, 0x64);
        assert_eq!(pic.acknowledge(), 0x35);
    }

    #[test]
    fn a_request_that_goes_away_is_spurious() {
        let mut pic = initialised();
        pic.set_line(3, true);
        pic.set_line(3, false);
        assert!(!pic.output());
        assert_eq!(pic.acknowledge(), 0x37);
    }

    #[test]
    fn a_level_triggered_line_requests_again_while_it_is_high() {
        let mut pic = initialised();
        pic.write(0x4d0, 1 << 5);
        pic.set_line(5, true);
        assert_eq!(pic.acknowledge(), 0x35);
        pic.write(0x20, 0x20);
        assert!(pic.output());
        pic.set_line(5, false);
        assert!(!pic.output());
    }

    #[test]
    fn a_masked_line_waits() {
        let mut pic = initialised();
        pic.write(0x21, 1 << 4);
        pic.set_line(4, true);
        assert!(!pic.output());
        pic.write(0x21, 0);
        assert!(pic.output());
    }
}
