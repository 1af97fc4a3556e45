//! Breakpoints: what the debug registers ask for (SDM Vol. 3, 17.2), and what a debugger outside of the machine does.

use super::{Control, Cr4};

/// DR7.GD: the next access to a debug register raises #DB.
pub const GENERAL_DETECT: u64 = 1 << 13;
/// DR6.BD: it was that.
pub const DETECTED: u64 = 1 << 13;
/// DR6.BS: an instruction was done under RFLAGS.TF.
pub const STEPPED: u64 = 1 << 14;
/// DR6.B0 to B3.
pub const MET: u64 = 0xf;

const PAGE: u64 = !0xfff;

/// What a breakpoint of a debug register waits for: the R/W field of DR7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Code,
    Write,
    /// With CR4.DE alone.
    Port,
    Access,
}

/// One that is enabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Breakpoint {
    kind: Kind,
    /// Aligned to the length, but for code.
    start: u64,
    length: u64,
}

impl Breakpoint {
    /// Breakpoint `number` of the debug registers, if it is enabled and means anything.
    fn of(control: &Control, number: usize) -> Option<Self> {
        let fields = control.dr7 >> (16 + 4 * number);
        let kind = match fields & 3 {
            0 => Kind::Code,
            1 => Kind::Write,
            2 if control.cr4 & Cr4::DE != 0 => Kind::Port,
            2 => return None,
            _ => Kind::Access,
        };
        let length = if kind == Kind::Code { 1 } else { [1, 2, 8, 4][(fields >> 2 & 3) as usize] };
        let enabled = control.dr7 >> (2 * number) & 3 != 0;
        enabled.then(|| Self { kind, start: control.dr[number] & !(length - 1), length })
    }

    fn overlaps(&self, start: u64, length: u64) -> bool {
        start.wrapping_sub(self.start) < self.length || self.start.wrapping_sub(start) < length
    }
}

/// All that are enabled, in a form that is quick to ask.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Breakpoints {
    guest: [Option<Breakpoint>; 4],
    /// Linear addresses at which a debugger wants the machine to stop.
    debugger: Vec<u64>,
    set: bool,
    data: bool,
}

impl Breakpoints {
    /// Takes over what the debug registers say now. Whether that is something new.
    pub fn follow(&mut self, control: &Control) -> bool {
        self.replace(std::array::from_fn(|number| Breakpoint::of(control, number)), self.debugger.clone())
    }

    /// Takes over the debugger's addresses. Whether that is something new.
    pub fn set_debugger(&mut self, addresses: Vec<u64>) -> bool {
        self.replace(self.guest, addresses)
    }

    fn replace(&mut self, guest: [Option<Breakpoint>; 4], debugger: Vec<u64>) -> bool {
        let set = guest.iter().any(Option::is_some) || !debugger.is_empty();
        let data = guest.iter().flatten().any(|breakpoint| matches!(breakpoint.kind, Kind::Write | Kind::Access));
        let new = Self { guest, debugger, set, data };
        let changed = *self != new;
        *self = new;
        changed
    }

    /// Whether there are any.
    #[inline(always)]
    pub fn are_set(&self) -> bool {
        self.set
    }

    /// Whether there are any on data in memory.
    #[inline(always)]
    pub fn are_on_data(&self) -> bool {
        self.data
    }

    fn code(&self) -> impl Iterator<Item = u64> {
        let guest = self.guest.iter().flatten().filter(|breakpoint| breakpoint.kind == Kind::Code).map(|breakpoint| breakpoint.start);
        guest.chain(self.debugger.iter().copied())
    }

    /// Whether an instruction on the page of `linear` could meet one.
    pub fn guard_page(&self, linear: u64) -> bool {
        self.code().any(|address| address & PAGE == linear & PAGE)
    }

    /// Whether an access to the page of `linear` could meet one.
    pub fn watch_page(&self, linear: u64) -> bool {
        self.data && self.guest.iter().flatten().any(|breakpoint| breakpoint.kind != Kind::Port && breakpoint.start & PAGE == linear & PAGE)
    }

    /// Whether the debugger wants to stop before the instruction at `linear`.
    pub fn stop_at(&self, linear: u64) -> bool {
        self.debugger.contains(&linear)
    }

    fn met(&self, wanted: impl Fn(&Breakpoint) -> bool) -> u8 {
        let bits = self.guest.iter().enumerate().filter(|(_, breakpoint)| breakpoint.as_ref().is_some_and(&wanted));
        bits.fold(0, |met, (number, _)| met | 1 << number)
    }

    /// Those that the instruction at `linear` meets, as bits of DR6.
    pub fn met_by_instruction(&self, linear: u64) -> u8 {
        self.met(|breakpoint| breakpoint.kind == Kind::Code && breakpoint.start == linear)
    }

    /// Those that an access to memory meets, as bits of DR6.
    pub fn met_by_access(&self, linear: u64, length: u64, write: bool) -> u8 {
        self.met(|breakpoint| {
            let kind = breakpoint.kind == Kind::Access || breakpoint.kind == Kind::Write && write;
            kind && breakpoint.overlaps(linear, length)
        })
    }

    /// Those that an access to ports meets, as bits of DR6.
    pub fn met_by_port(&self, port: u16, length: u64) -> u8 {
        self.met(|breakpoint| breakpoint.kind == Kind::Port && breakpoint.overlaps(port.into(), length))
    }
}
