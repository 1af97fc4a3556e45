//! Everything that a case can see or change: registers, the way it stopped, and a few pages at fixed addresses below 4 GiB, so that 32-bit code reaches them too.
//! The same [`World`] goes into the host's CPU and into ours, and comes back changed.

use super::rng::Rng;

/// The code window. Filled with [`STOP`]; the code of a case is written into it.
pub const CODE: u64 = 0x1000_0000;
/// The data window. What precedes and follows it is not mapped.
pub const DATA: u64 = 0x2000_0000;
/// The stack window, unmapped around it as well.
pub const STACK: u64 = 0x3000_0000;
/// A page that user code may only read.
pub const READ_ONLY: u64 = 0x2800_0000;
/// Bytes in each of the writable windows.
pub const WINDOW: usize = 0x2000;
/// Bytes in the read-only page.
pub const PAGE: usize = 0x1000;
/// The first byte behind the data window: not mapped.
pub const GUARD: u64 = DATA + WINDOW as u64;
/// An address with nothing near it.
pub const NOWHERE: u64 = 0x3f00_0000;
/// What lies from here on is Linux's own.
pub const USER_SPACE: u64 = 0x7fff_ffff_f000;
/// Where the code of a case starts unless it says otherwise.
pub const ENTRY: u64 = CODE + 0x800;
/// The stack pointer a case starts with unless it says otherwise.
pub const STACK_TOP: u64 = STACK + 0x1000;

/// HLT: raises #GP(0) in user mode, so whatever a case jumps to ends it there, with every register as it was.
pub const STOP: u8 = 0xf4;

/// An address in the code window where nothing but stops are, unless a case puts code there.
pub fn stop_address(rng: &mut Rng) -> u64 {
    CODE + rng.below(ENTRY - CODE)
}

/// Selectors, as Linux lays out its GDT, so that code which looks at descriptors sees the same on both sides.
pub const CS32: u16 = 0x23;
/// The data segment of user mode.
pub const USER_DS: u16 = 0x2b;
/// The 64-bit code segment of user mode.
pub const CS64: u16 = 0x33;
/// An LDT data segment: base [`DATA`], limit one window, byte granular. FS in 32-bit cases, where 16-bit addresses reach nothing else.
pub const DATA_LDT: u16 = 0x07;

/// An LDT stack segment of 16 bits: base [`STACK`], limit one window.
pub const STACK_LDT: u16 = 0x17;
/// An LDT segment of 32-bit code: base 0, limit in the middle of the code window.
pub const CODE_LDT: u16 = 0x1f;

/// RFLAGS bits.
pub mod flag {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Always one.
    pub const ONE: u64 = 1 << 1;
    /// Parity.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Single step.
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    /// CPUID can be used.
    pub const ID: u64 = 1 << 21;
    /// The six status flags.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// The x87, MMX and SSE state in FXSAVE's 64-bit layout (SDM vol. 1, 10.5.1).
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fx {
    pub fcw: u16,
    pub fsw: u16,
    /// One bit for each register that is not empty, by physical number.
    pub ftw: u8,
    pub reserved: u8,
    pub fop: u16,
    pub fip: u64,
    pub fdp: u64,
    pub mxcsr: u32,
    pub mxcsr_mask: u32,
    /// ST(0) to ST(7), 80 bits each, in the low bytes.
    pub st: [[u8; 16]; 8],
    pub xmm: [u128; 16],
    pub unused: [u64; 12],
}

impl Fx {
    /// As after FNINIT and LDMXCSR 1F80h.
    pub const RESET: Fx = Fx {
        fcw: 0x37f,
        fsw: 0,
        ftw: 0,
        reserved: 0,
        fop: 0,
        fip: 0,
        fdp: 0,
        mxcsr: 0x1f80,
        mxcsr_mask: 0xffff,
        st: [[0; 16]; 8],
        xmm: [0; 16],
        unused: [0; 12],
    };

    /// The image as FXSAVE writes it.
    pub fn to_bytes(self) -> [u8; 512] {
        let mut out = [0; 512];
        out[0..2].copy_from_slice(&self.fcw.to_le_bytes());
        out[2..4].copy_from_slice(&self.fsw.to_le_bytes());
        out[4] = self.ftw;
        out[6..8].copy_from_slice(&self.fop.to_le_bytes());
        out[8..16].copy_from_slice(&self.fip.to_le_bytes());
        out[16..24].copy_from_slice(&self.fdp.to_le_bytes());
        out[24..28].copy_from_slice(&self.mxcsr.to_le_bytes());
        out[28..32].copy_from_slice(&self.mxcsr_mask.to_le_bytes());
        for (at, st) in self.st.iter().enumerate() {
            out[32 + 16 * at..][..16].copy_from_slice(st);
        }
        for (at, xmm) in self.xmm.iter().enumerate() {
            out[160 + 16 * at..][..16].copy_from_slice(&xmm.to_le_bytes());
        }
        out
    }

    /// The image that FXSAVE wrote; reserved bytes are dropped.
    pub fn from_bytes(bytes: &[u8; 512]) -> Fx {
        let word = |at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0u128, |sum, b| sum << 8 | u128::from(*b));
        let mut fx = Fx {
            fcw: word(0, 2) as u16,
            fsw: word(2, 2) as u16,
            ftw: bytes[4],
            reserved: 0,
            fop: word(6, 2) as u16,
            fip: word(8, 8) as u64,
            fdp: word(16, 8) as u64,
            mxcsr: word(24, 4) as u32,
            mxcsr_mask: word(28, 4) as u32,
            ..Fx::RESET
        };
        for (at, st) in fx.st.iter_mut().enumerate() {
            st[..10].copy_from_slice(&bytes[32 + 16 * at..][..10]);
        }
        for (at, xmm) in fx.xmm.iter_mut().enumerate() {
            *xmm = word(160 + 16 * at, 16);
        }
        fx
    }
}

/// Index of a segment register in [`State::segments`]: Intel's encoding.
pub mod seg {
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
}

/// The user-visible registers.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// In Intel's encoding order: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub segments: [u16; 6],
    pub fx: Fx,
}

/// Numbers of the general registers in [`State::gpr`].
pub mod gpr {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

impl State {
    /// A defined start in 64-bit or 32-bit user mode.
    pub fn new(bits: u32) -> State {
        let mut state = State {
            gpr: [0; 16],
            rip: ENTRY,
            rflags: flag::ONE | flag::IF,
            fs_base: 0,
            gs_base: 0,
            segments: [USER_DS, CS64, USER_DS, USER_DS, 0, 0],
            fx: Fx::RESET,
        };
        state.gpr[gpr::RSP] = STACK_TOP;
        if bits == 32 {
            state.segments = [USER_DS, CS32, USER_DS, USER_DS, DATA_LDT, USER_DS];
            state.fs_base = DATA;
        }
        state
    }

    /// 32 or 64, as CS has it.
    pub fn bits(&self) -> u32 {
        if matches!(self.segments[seg::CS], CS32 | CODE_LDT) { 32 } else { 64 }
    }
}

/// How a case stopped: always with an exception.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CaseExit {
    pub vector: u32,
    pub error: u32,
    /// CR2, for #PF.
    pub cr2: u64,
}

impl CaseExit {
    /// No exception: SYSCALL or SYSENTER entered the kernel.
    pub const SYSTEM_CALL: u32 = 256;
    /// The CPU never came back: the process that ran the case died.
    pub const DIED: u32 = 257;
    /// The case did not end in time.
    pub const HUNG: u32 = 258;

    /// Whether it is one of those that an access to memory raises.
    pub fn is_of_memory(&self) -> bool {
        matches!(self.vector, 12..=14 | 17)
    }

    /// `#PF(6) at 20002000`, for people.
    pub fn describe(&self) -> String {
        let name = match self.vector {
            0 => "#DE",
            1 => "#DB",
            3 => "#BP",
            4 => "#OF",
            5 => "#BR",
            6 => "#UD",
            7 => "#NM",
            10 => "#TS",
            11 => "#NP",
            12 => "#SS",
            13 => "#GP",
            14 => "#PF",
            16 => "#MF",
            17 => "#AC",
            19 => "#XM",
            CaseExit::SYSTEM_CALL => "#SYSCALL",
            CaseExit::DIED => "died",
            CaseExit::HUNG => "hung",
            _ => "?",
        };
        match self.vector {
            14 => format!("{name}({:x}) at {:x}", self.error, self.cr2),
            10..=13 | 17 => format!("{name}({:x})", self.error),
            _ => name.to_string(),
        }
    }
}

/// The writable windows.
#[repr(C, align(16))]
#[derive(Clone, PartialEq, Eq)]
pub struct Memory {
    pub code: [u8; WINDOW],
    pub data: [u8; WINDOW],
    pub stack: [u8; WINDOW],
}

impl Memory {
    /// The windows with their addresses.
    pub fn windows(&self) -> [(u64, &[u8]); 3] {
        [(CODE, &self.code), (DATA, &self.data), (STACK, &self.stack)]
    }

    /// The windows with their addresses, to be changed.
    pub fn windows_mut(&mut self) -> [(u64, &mut [u8]); 3] {
        [(CODE, &mut self.code), (DATA, &mut self.data), (STACK, &mut self.stack)]
    }

    /// Writes the part of `bytes` that lies in a window; what sticks out is dropped.
    pub fn patch(&mut self, at: u64, bytes: &[u8]) {
        for (start, window) in self.windows_mut() {
            for (offset, byte) in bytes.iter().enumerate() {
                let place = at.wrapping_add(offset as u64).wrapping_sub(start);
                if place < WINDOW as u64 {
                    window[place as usize] = *byte;
                }
            }
        }
    }

    /// The byte at `at`, if a window holds it.
    pub fn byte(&self, at: u64) -> Option<u8> {
        self.windows().iter().find_map(|(start, window)| window.get(usize::try_from(at.wrapping_sub(*start)).ok()?).copied())
    }
}

/// What the read-only page holds, and what the data and stack windows hold where a case says nothing: bytes without pattern, the same in every run.
fn background(out: &mut [u8], seed: u64) {
    let mut rng = Rng::new(seed);
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_le_bytes());
    }
}

/// The contents of the read-only page.
pub fn read_only_page() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    background(&mut page, READ_ONLY);
    page
}

/// One case before or after it ran.
#[repr(C, align(64))]
#[derive(Clone, PartialEq, Eq)]
pub struct World {
    pub state: State,
    pub stop: CaseExit,
    pub memory: Memory,
}

impl World {
    /// Registers as [`State::new`], stops everywhere in the code window, background in the others.
    pub fn new(bits: u32) -> Box<World> {
        let mut world = Box::new(World {
            state: State::new(bits),
            stop: CaseExit::default(),
            memory: Memory { code: [STOP; WINDOW], data: [0; WINDOW], stack: [0; WINDOW] },
        });
        background(&mut world.memory.data, DATA);
        background(&mut world.memory.stack, STACK);
        world
    }
}
