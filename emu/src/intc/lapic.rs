//! The local APIC in xAPIC mode (SDM Vol. 3, chapter 11), with one CPU on its bus.

snapshot::saved! {
    /// The local APIC.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LapicState {
        /// IA32_APIC_BASE.
        pub base: u64,
        /// APIC ID register.
        pub id: u32,
        /// Task priority register.
        pub task_priority: u32,
        /// Logical destination register.
        pub logical_destination: u32,
        /// Destination format register.
        pub destination_format: u32,
        /// Spurious-interrupt vector register.
        pub spurious: u32,
        /// ISR: one bit per vector.
        pub in_service: [u32; 8],
        /// IRR: one bit per vector.
        pub requests: [u32; 8],
        /// TMR: one bit per vector.
        pub trigger_mode: [u32; 8],
        /// Error status: what the guest reads.
        pub error_status: u32,
        /// Errors since the guest last wrote the error status register.
        pub errors: u32,
        /// Interrupt command register.
        pub command: u64,
        /// LVT: CMCI, timer, thermal, performance, LINT0, LINT1, error.
        pub lvt: [u32; 7],
        /// Timer: initial count.
        pub initial_count: u32,
        /// Timer: divide configuration.
        pub divide: u32,
        /// IA32_TSC_DEADLINE.
        pub tsc_deadline: u64,
        /// Tick at which the timer next fires; 0 when it does not run.
        pub fires_at: u64,
    }
}

/// Default address of the registers.
pub const DEFAULT_ADDRESS: u64 = 0xfee0_0000;

const MSR_APIC_BASE: u32 = 0x1b;
const MSR_TSC_DEADLINE: u32 = 0x6e0;

const BASE_BSP: u64 = 1 << 8;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_RESERVED: u64 = !(BASE_BSP | BASE_ENABLE | 0x7f_ffff_f000);

const LVT_MASKED: u32 = 1 << 16;
const LVT_TIMER: usize = 1;
const LVT_LINT0: usize = 4;
const LVT_LINT1: usize = 5;
const LVT_ERROR: usize = 6;
/// Writable bits of each LVT entry; delivery status is read-only and never pending here.
const LVT_WRITABLE: [u32; 7] = [0x1_07ff, 0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

const DELIVERY_FIXED: u32 = 0;
const DELIVERY_NMI: u32 = 4;
const DELIVERY_EXTINT: u32 = 7;

const SPURIOUS_ENABLE: u32 = 1 << 8;
const ERROR_SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
const ERROR_RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
const ERROR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// Version 0x14, seven LVT entries (the last has number 6), no EOI-broadcast suppression.
const VERSION: u32 = 0x14 | 6 << 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum TimerMode {
    OneShot,
    Periodic,
    TscDeadline,
}

/// The local APIC. Its timer counts TSC ticks, divided.
#[derive(Clone, Debug)]
pub struct Lapic {
    state: LapicState,
}

impl Default for Lapic {
    fn default() -> Self {
        Self {
            state: LapicState {
                base: DEFAULT_ADDRESS | BASE_BSP | BASE_ENABLE,
                id: 0,
                task_priority: 0,
                logical_destination: 0,
                destination_format: u32::MAX,
                spurious: 0xff,
                in_service: [0; 8],
                requests: [0; 8],
                trigger_mode: [0; 8],
                error_status: 0,
                errors: 0,
                command: 0,
                lvt: [LVT_MASKED; 7],
                initial_count: 0,
                divide: 0,
                tsc_deadline: 0,
                fires_at: 0,
            },
        }
    }
}

fn highest(bits: &[u32; 8]) -> Option<u8> {
    (0..8).rev().find(|&i| bits[i] != 0).map(|i| (i as u32 * 32 + 31 - bits[i].leading_zeros()) as u8)
}

fn set(bits: &mut [u32; 8], vector: u8) {
    bits[usize::from(vector / 32)] |= 1 << (vector % 32);
}

fn clear(bits: &mut [u32; 8], vector: u8) {
    bits[usize::from(vector / 32)] &= !(1 << (vector % 32));
}

impl Lapic {
    /// As firmware leaves it to a kernel, in virtual wire mode (MultiProcessor Specification 1.4, 3.6.2.2): the 8259s' interrupts pass LINT0, NMIs
    /// LINT1.
    pub fn in_virtual_wire_mode() -> Self {
        let mut lapic = Self::default();
        lapic.state.spurious |= SPURIOUS_ENABLE;
        lapic.state.lvt[LVT_LINT0] = DELIVERY_EXTINT << 8;
        lapic.state.lvt[LVT_LINT1] = DELIVERY_NMI << 8;
        lapic
    }

    /// Whether a physical address is one of the registers.
    pub fn claims(&self, address: u64) -> bool {
        self.is_enabled() && address & !0xfff == self.state.base & 0x7f_ffff_f000
    }

    fn is_enabled(&self) -> bool {
        self.state.base & BASE_ENABLE != 0
    }

    fn is_software_enabled(&self) -> bool {
        self.state.spurious & SPURIOUS_ENABLE != 0
    }

    /// Whether LINT0 hands the 8259's interrupts through: wired so while the APIC is off, programmed so as ExtINT.
    pub fn passes_external(&self) -> bool {
        let lint0 = self.state.lvt[LVT_LINT0];
        !self.is_enabled() || lint0 & LVT_MASKED == 0 && lint0 >> 8 & 7 == DELIVERY_EXTINT
    }

    fn processor_priority(&self) -> u32 {
        let serving = highest(&self.state.in_service).map_or(0, u32::from);
        if self.state.task_priority & 0xf0 >= serving & 0xf0 { self.state.task_priority & 0xff } else { serving & 0xf0 }
    }

    /// The vector that waits for the CPU, if its priority is above the processor's.
    pub fn pending(&self) -> Option<u8> {
        let vector = highest(&self.state.requests)?;
        (self.is_enabled() && u32::from(vector) & 0xf0 > self.processor_priority() & 0xf0).then_some(vector)
    }

    /// Takes the pending vector into service.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        clear(&mut self.state.requests, vector);
        set(&mut self.state.in_service, vector);
        Some(vector)
    }

    /// Task priority class, as CR8 shows it.
    pub fn task_priority_class(&self) -> u8 {
        (self.state.task_priority >> 4 & 0xf) as u8
    }

    /// Sets the task priority class from CR8.
    pub fn set_task_priority_class(&mut self, class: u8) {
        self.state.task_priority = u32::from(class & 0xf) << 4;
    }

    fn error(&mut self, error: u32) {
        self.state.errors |= error;
        self.deliver_local(LVT_ERROR);
    }

    fn request(&mut self, vector: u8) {
        if vector < 16 {
            if self.state.lvt[LVT_ERROR] & 0xff >= 16 {
                self.error(ERROR_RECEIVE_ILLEGAL_VECTOR);
            } else {
                self.state.errors |= ERROR_RECEIVE_ILLEGAL_VECTOR;
            }
            return;
        }
        set(&mut self.state.requests, vector);
        clear(&mut self.state.trigger_mode, vector);
    }

    fn deliver_local(&mut self, entry: usize) {
        let lvt = self.state.lvt[entry];
        let fixed = entry == LVT_TIMER || lvt >> 8 & 7 == DELIVERY_FIXED;
        if lvt & LVT_MASKED == 0 && fixed {
            self.request(lvt as u8);
        }
    }

    fn timer_mode(&self) -> TimerMode {
        match self.state.lvt[LVT_TIMER] >> 17 & 3 {
            0 => TimerMode::OneShot,
            1 => TimerMode::Periodic,
            _ => TimerMode::TscDeadline,
        }
    }

    /// log2 of the ticks per timer count (SDM figure 11-10).
    fn divide_shift(&self) -> u32 {
        let code = self.state.divide & 3 | self.state.divide >> 1 & 4;
        (code + 1) & 7
    }

    fn period(&self) -> u64 {
        u64::from(self.state.initial_count) << self.divide_shift()
    }

    /// Tick at which the timer fires.
    pub fn deadline(&self) -> Option<u64> {
        (self.state.fires_at != 0).then_some(self.state.fires_at)
    }

    /// Fires the timer if it is due.
    pub fn advance(&mut self, now: u64) {
        let due = self.state.fires_at;
        if due == 0 || now < due {
            return;
        }
        self.deliver_local(LVT_TIMER);
        self.state.fires_at = match (self.timer_mode(), self.period()) {
            (TimerMode::Periodic, period) if period != 0 => {
                // At the end of time there is no next one: it would be due again at once, and for ever.
                let periods = (now - due) / period + 1;
                periods.checked_mul(period).and_then(|ticks| due.checked_add(ticks)).unwrap_or(0)
            }
            _ => 0,
        };
        self.state.tsc_deadline = 0;
    }

    fn current_count(&self, now: u64) -> u32 {
        if self.timer_mode() == TimerMode::TscDeadline || self.state.fires_at == 0 {
            return 0;
        }
        let left = self.state.fires_at.saturating_sub(now);
        u32::try_from(left.div_ceil(1 << self.divide_shift())).unwrap_or(u32::MAX)
    }

    /// Reads the register at `offset` of the page; only aligned 32-bit accesses are defined.
    pub fn read(&self, offset: u64, now: u64) -> u32 {
        let state = &self.state;
        let bank = |bits: &[u32; 8]| bits[(offset >> 4 & 7) as usize];
        match offset & 0xff0 {
            0x20 => state.id,
            0x30 => VERSION,
            0x80 => state.task_priority,
            0x90 | 0xa0 => self.processor_priority(),
            0xd0 => state.logical_destination,
            0xe0 => state.destination_format,
            0xf0 => state.spurious,
            0x100..=0x170 => bank(&state.in_service),
            0x180..=0x1f0 => bank(&state.trigger_mode),
            0x200..=0x270 => bank(&state.requests),
            0x280 => state.error_status,
            0x2f0 => state.lvt[0],
            0x300 => state.command as u32,
            0x310 => (state.command >> 32) as u32,
            0x320..=0x370 => state.lvt[(((offset & 0xff0) - 0x310) >> 4) as usize],
            0x380 => state.initial_count,
            0x390 => self.current_count(now),
            0x3e0 => state.divide,
            _ => 0,
        }
    }

    /// Writes the register at `offset` of the page.
    pub fn write(&mut self, offset: u64, value: u32, now: u64) {
        let state = &mut self.state;
        match offset & 0xff0 {
            0x20 => state.id = value & 0xff00_0000,
            0x80 => state.task_priority = value & 0xff,
            0xb0 => {
                if let Some(vector) = highest(&state.in_service) {
                    clear(&mut state.in_service, vector);
                }
            }
            0xd0 => state.logical_destination = value & 0xff00_0000,
            0xe0 => state.destination_format = value | 0x0fff_ffff,
            0xf0 => {
                state.spurious = value & 0x3ff;
                if !self.is_software_enabled() {
                    for entry in &mut self.state.lvt {
                        *entry |= LVT_MASKED;
                    }
                }
            }
            0x280 => state.error_status = std::mem::take(&mut state.errors),
            0x2f0 => self.write_lvt(0, value),
            0x300 => {
                state.command = state.command & !0xffff_ffff | u64::from(value & 0x000c_cfff);
                self.send();
            }
            0x310 => state.command = state.command & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32,
            0x320..=0x370 => self.write_lvt((((offset & 0xff0) - 0x310) >> 4) as usize, value),
            0x380 => {
                state.initial_count = value;
                if self.timer_mode() != TimerMode::TscDeadline {
                    let period = self.period();
                    self.state.fires_at = if period == 0 { 0 } else { now.saturating_add(period) };
                }
            }
            0x3e0 => {
                let count = u64::from(self.current_count(now));
                self.state.divide = value & 0xb;
                if self.timer_mode() != TimerMode::TscDeadline && self.state.fires_at != 0 {
                    self.state.fires_at = now.saturating_add((count << self.divide_shift()).max(1));
                }
            }
            0x30 | 0x90 | 0xa0 | 0x100..=0x270 | 0x390 => {}
            _ => self.error(ERROR_ILLEGAL_REGISTER),
        }
    }

    fn write_lvt(&mut self, entry: usize, value: u32) {
        let before = self.timer_mode();
        let mut value = value & LVT_WRITABLE[entry];
        if !self.is_software_enabled() {
            value |= LVT_MASKED;
        }
        self.state.lvt[entry] = value;
        let after = self.timer_mode();
        if (before == TimerMode::TscDeadline) != (after == TimerMode::TscDeadline) {
            self.state.fires_at = 0;
            self.state.tsc_deadline = 0;
        }
    }

    /// Sends the command register's interrupt: only this CPU can receive it.
    fn send(&mut self) {
        let command = self.state.command;
        let (vector, delivery) = (command as u8, command as u32 >> 8 & 7);
        let to_self = match command >> 18 & 3 {
            1 | 2 => true,
            3 => false,
            _ => self.is_destination((command >> 56) as u8, command >> 11 & 1 != 0),
        };
        if delivery != DELIVERY_FIXED && delivery != 1 || !to_self {
            return;
        }
        if vector < 16 {
            self.error(ERROR_SEND_ILLEGAL_VECTOR);
        } else {
            self.request(vector);
        }
    }

    fn is_destination(&self, destination: u8, logical: bool) -> bool {
        if !logical {
            return destination == 0xff || u32::from(destination) == self.state.id >> 24;
        }
        let own = (self.state.logical_destination >> 24) as u8;
        if self.state.destination_format >> 28 == 0xf {
            destination & own != 0
        } else {
            destination >> 4 == own >> 4 && destination & own & 0xf != 0
        }
    }

    /// Reads IA32_APIC_BASE or IA32_TSC_DEADLINE.
    pub fn read_msr(&self, index: u32) -> Option<u64> {
        match index {
            MSR_APIC_BASE => Some(self.state.base),
            MSR_TSC_DEADLINE => Some(self.state.tsc_deadline),
            _ => None,
        }
    }

    /// Writes IA32_APIC_BASE or IA32_TSC_DEADLINE; `None` for other numbers and reserved bits.
    pub fn write_msr(&mut self, index: u32, value: u64) -> Option<()> {
        match index {
            MSR_APIC_BASE if value & BASE_RESERVED == 0 => {
                self.state.base = value;
                if !self.is_enabled() {
                    *self = Self { state: LapicState { base: value, ..Self::default().state } };
                }
                Some(())
            }
            MSR_TSC_DEADLINE => {
                if self.timer_mode() == TimerMode::TscDeadline {
                    self.state.tsc_deadline = value;
                    self.state.fires_at = value;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// The state to be saved.
    pub fn save(&self) -> LapicState {
        self.state.clone()
    }

    /// Takes over saved state. Any value is one that the guest could have programmed, once reduced to its width.
    pub fn restore(state: &LapicState) -> Self {
        let mut state = state.clone();
        state.base &= !BASE_RESERVED;
        state.divide &= 0xb;
        Self { state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> Lapic {
        let mut lapic = Lapic::default();
        lapic.write(0xf0, 0x1ff, 0);
        lapic
    }

    #[test]
    fn tsc_deadline_fires_once_at_its_tick() {
        let mut lapic = enabled();
        lapic.write(0x320, 0x4_00ec, 0);
        lapic.write_msr(MSR_TSC_DEADLINE, 1000).unwrap();
        assert_eq!(lapic.deadline(), Some(1000));
        lapic.advance(999);
        assert_eq!(lapic.pending(), None);
        lapic.advance(1000);
        assert_eq!(lapic.acknowledge(), Some(0xec));
        assert_eq!((lapic.deadline(), lapic.read_msr(MSR_TSC_DEADLINE)), (None, Some(0)));
    }

    #[test]
    fn a_periodic_timer_stops_at_the_end_of_time() {
        for now in [u64::MAX - 10, u64::MAX - 1, u64::MAX] {
            let mut lapic = enabled();
            lapic.write(0x320, 0x2_0040, now);
            lapic.write(0x380, 100, now);
            assert_eq!(lapic.deadline(), Some(u64::MAX));
            lapic.advance(u64::MAX);
            assert_eq!((lapic.deadline(), lapic.acknowledge()), (None, Some(0x40)));
        }
    }

    #[test]
    fn a_periodic_timer_keeps_its_phase() {
        let mut lapic = enabled();
        lapic.write(0x3e0, 0xb, 0);
        lapic.write(0x320, 0x2_0040, 0);
        lapic.write(0x380, 100, 50);
        assert_eq!(lapic.read(0x390, 60), 90);
        lapic.advance(375);
        assert_eq!(lapic.deadline(), Some(450));
        assert_eq!(lapic.acknowledge(), Some(0x40));
    }

    #[test]
    fn task_priority_holds_back_its_class_and_those_below() {
        let mut lapic = enabled();
        lapic.write(0x300, 0x4_0052, 0);
        lapic.write(0x80, 0x50, 0);
        assert_eq!(lapic.pending(), None);
        lapic.write(0x80, 0x40, 0);
        assert_eq!(lapic.acknowledge(), Some(0x52));
        lapic.write(0x300, 0x4_0058, 0);
        assert_eq!(lapic.pending(), None, "the class in service is not interrupted by itself");
        lapic.write(0xb0, 0, 0);
        assert_eq!(lapic.pending(), Some(0x58));
    }

    #[test]
    fn lint0_passes_the_8259_as_extint_and_while_disabled() {
        assert!(Lapic::in_virtual_wire_mode().passes_external());
        let mut lapic = enabled();
        assert!(!lapic.passes_external());
        lapic.write(0x350, 0x700, 0);
        assert!(lapic.passes_external());
        lapic.write(0x350, 0x1_0700, 0);
        assert!(!lapic.passes_external());
        lapic.write_msr(MSR_APIC_BASE, DEFAULT_ADDRESS | BASE_BSP).unwrap();
        assert!(lapic.passes_external());
    }

    #[test]
    fn illegal_vectors_and_registers_are_reported() {
        let mut lapic = enabled();
        lapic.write(0x300, 0x4_0005, 0);
        lapic.write(0x280, 0, 0);
        assert_eq!(lapic.read(0x280, 0), ERROR_SEND_ILLEGAL_VECTOR);
        lapic.write(0x40, 1, 0);
        lapic.write(0x280, 0, 0);
        assert_eq!(lapic.read(0x280, 0), ERROR_ILLEGAL_REGISTER);
    }
}
