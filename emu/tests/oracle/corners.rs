//! Inputs: for the registers and the memory that an instruction uses, the values where results change their nature, and numbers without pattern for all the rest.

use iced_x86::{Code, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpKind, Register};

use super::field::Field;
use super::ins::Given;
use super::rng::Rng;
use super::world::*;

/// An integer of 64 bits whose low 8, 16, 32 or 64 bits are at a corner, or that has no pattern.
pub fn integer(rng: &mut Rng) -> u64 {
    const WIDTHS: [u32; 4] = [8, 16, 32, 64];
    let width = rng.pick(&WIDTHS);
    let sign = 1u64 << (width - 1);
    let mask = u64::MAX >> (64 - width);
    let low = match rng.below(12) {
        0 => 0,
        1 => 1,
        2 => mask,
        3 => sign,
        4 => sign - 1,
        5 => sign + 1,
        6 => mask - 1,
        7 => rng.below(64),
        8 => rng.below(64).wrapping_neg(),
        9 => 1 << rng.below(width.into()),
        _ => rng.next(),
    } & mask;
    match rng.below(3) {
        0 => low,
        1 if low & sign != 0 => low | !mask,
        _ => low | (rng.next() & !mask),
    }
}

/// An IEEE number with `fraction` and `exponent` bits (23 and 8, 52 and 11): zeros, infinities, NaNs of both kinds, denormals, limits, small integers, anything.
fn ieee(rng: &mut Rng, exponent: u32, fraction: u32) -> u64 {
    let sign = rng.below(2) << (exponent + fraction);
    let infinity = ((1u64 << exponent) - 1) << fraction;
    let one = ((1u64 << (exponent - 1)) - 1) << fraction;
    let random = rng.next() & ((1 << fraction) - 1);
    let magnitude = match rng.below(18) {
        0 => 0,
        1 => 1,
        2 => random,              // denormal
        3 => (1 << fraction) - 1, // the largest denormal
        4 => 1 << fraction,       // the smallest normal
        5 => infinity - 1,        // the largest
        6 => infinity,
        7 => infinity | 1 << (fraction - 1) | random,          // quiet NaN
        8 => infinity | 1 | (random & !(1 << (fraction - 1))), // signalling NaN
        9 => one,
        10 => one - 1,
        11 => one + (1 << (fraction - 1)),                                     // 1.5
        12 => one + (rng.below(70) << fraction),                               // a power of two
        13 => (one + (rng.below(70) << fraction)) | random,                    // around the limits of integers
        14 => (one - (rng.below(4) << fraction)) | random,                     // about 1
        15 => ((1 + rng.below(u64::from(fraction) + 2)) << fraction) | random, // products that turn denormal
        _ => rng.next() & (infinity | ((1 << fraction) - 1)),
    };
    sign | (magnitude & !(1 << (exponent + fraction)))
}

/// A 32-bit float.
pub fn float32(rng: &mut Rng) -> u32 {
    ieee(rng, 8, 23) as u32
}

/// A 64-bit float.
pub fn float64(rng: &mut Rng) -> u64 {
    ieee(rng, 11, 52)
}

/// An 80-bit float, now and then of the encodings that the 387 and later refuse.
pub fn float80(rng: &mut Rng) -> [u8; 16] {
    const INTEGER_BIT: u64 = 1 << 63;
    let random = rng.next();
    let (exponent, significand) = match rng.below(20) {
        0 => (0, 0),
        1 => (0, 1),
        2 => (0, random & !INTEGER_BIT),                        // denormal
        3 => (0, random | INTEGER_BIT),                         // pseudo-denormal
        4 => (1, INTEGER_BIT),                                  // the smallest normal
        5 => (0x7ffe, u64::MAX),                                // the largest
        6 => (0x7fff, INTEGER_BIT),                             // infinity
        7 => (0x7fff, random | 3 << 62),                        // quiet NaN
        8 => (0x7fff, (random & !(1 << 62)) | INTEGER_BIT | 1), // signalling NaN
        9 => (0x3fff, INTEGER_BIT),                             // 1
        10 => (0x3fff + rng.below(70), INTEGER_BIT),            // a power of two
        11 => (0x3fff + rng.below(70), random | INTEGER_BIT),
        12 => (0x3fff - rng.below(4), random | INTEGER_BIT),
        13 => (0x3fff + rng.below(66), (random >> rng.below(64)).reverse_bits() | INTEGER_BIT), // few digits
        14 => (0x3f80 + rng.below(0x100), random | INTEGER_BIT),                                // the range of 32-bit floats
        15 => (0x3c00 + rng.below(0x800), random | INTEGER_BIT),                                // the range of 64-bit floats
        16 => (rng.below(0x80), random | INTEGER_BIT),
        17 => (1 + rng.below(0x7ffe), random & !INTEGER_BIT), // unnormal: invalid
        18 => (0x7fff, random & !INTEGER_BIT),                // pseudo-NaN: invalid
        _ => (1 + rng.below(0x7ffe), random | INTEGER_BIT),
    };
    let mut out = [0; 16];
    out[..8].copy_from_slice(&significand.to_le_bytes());
    out[8..10].copy_from_slice(&((exponent | rng.below(2) << 15) as u16).to_le_bytes());
    out
}

/// What the lanes of a vector hold.
#[derive(Clone, Copy, PartialEq)]
enum Lanes {
    Integer(u32),
    Float32,
    Float64,
}

fn vector(rng: &mut Rng, lanes: Lanes) -> u128 {
    let (width, count) = match lanes {
        Lanes::Integer(width) => (width, 128 / width),
        Lanes::Float32 => (32, 4),
        Lanes::Float64 => (64, 2),
    };
    (0..count).fold(0, |sum, at| {
        let lane = match lanes {
            Lanes::Integer(64) => integer(rng),
            Lanes::Integer(width) => small_corner(rng, width),
            Lanes::Float32 => float32(rng).into(),
            Lanes::Float64 => float64(rng),
        };
        sum | u128::from(lane) << (at * width)
    })
}

fn small_corner(rng: &mut Rng, width: u32) -> u64 {
    let sign = 1u64 << (width - 1);
    let mask = u64::MAX >> (64 - width);
    match rng.below(8) {
        0 => 0,
        1 => 1,
        2 => mask,
        3 => sign,
        4 => sign - 1,
        _ => rng.next() & mask,
    }
}

fn lanes(rng: &mut Rng, size: MemorySize) -> Lanes {
    let typed = match size.element_type() {
        MemorySize::Float32 => Some(Lanes::Float32),
        MemorySize::Float64 => Some(Lanes::Float64),
        _ => None,
    };
    match typed {
        Some(lanes) if !rng.one_in(6) => lanes,
        _ => rng.pick(&[Lanes::Integer(8), Lanes::Integer(16), Lanes::Integer(32), Lanes::Integer(64), Lanes::Float32, Lanes::Float64]),
    }
}

/// Fills a world for `code`, which lies at the world's RIP. `given` is set last and what it names is used for nothing else. With `adventurous`, memory operands now and then
/// lie across pages, at the end of a window, in the read-only page or nowhere.
pub fn fill(world: &mut World, code: &[Instruction], given: &[Given], adventurous: bool, rng: &mut Rng) {
    for (number, value) in world.state.gpr.iter_mut().enumerate() {
        if number != gpr::RSP {
            *value = integer(rng);
        }
    }
    let size = code
        .iter()
        .map(Instruction::memory_size)
        .chain(code.iter().map(|i| i.code().op_code().memory_size()))
        .find(|s| *s != MemorySize::Unknown);
    let lanes = lanes(rng, size.unwrap_or(MemorySize::Unknown));
    for xmm in &mut world.state.fx.xmm {
        *xmm = vector(rng, lanes);
    }
    fill_flags(world, adventurous, rng);
    if code.iter().any(|i| i.op_kinds().count() > 0 || i.is_stack_instruction()) && rng.one_in(8) {
        world.state.gpr[gpr::RSP] = STACK_TOP - 8 * rng.below(8) + if rng.one_in(3) { rng.below(8) } else { 0 };
    }
    if world.state.bits() == 64 {
        world.state.fs_base = DATA + 16 * rng.below(16);
        world.state.gs_base = DATA + rng.below(256);
    }
    fill_mxcsr(world, rng);
    fill_x87(world, code, rng);

    let mut fixed = Fixed::new(given);
    let mut info = InstructionInfoFactory::new();
    for instruction in code {
        let mut filler = Filler { world, fixed: &mut fixed, rng, adventurous, lanes };
        filler.special(instruction);
        filler.memory(instruction);
        filler.special_memory(instruction);
        for used in info.info(instruction).used_registers() {
            fixed.set(used.register());
        }
    }
    for item in given {
        match item {
            Given::Field(field, values) => field.set(&mut world.state, values[0]),
            Given::Bytes(at, bytes) => world.memory.patch(*at, bytes),
        }
    }
}

fn fill_flags(world: &mut World, adventurous: bool, rng: &mut Rng) {
    world.state.rflags |= rng.next() & flag::STATUS;
    if adventurous && rng.one_in(32) {
        world.state.rflags |= flag::TF;
    }
    if adventurous && rng.one_in(32) {
        world.state.rflags |= flag::AC;
    }
    if rng.one_in(4) {
        world.state.rflags |= flag::DF;
    }
    if rng.one_in(32) {
        world.state.rflags |= flag::ID;
    }
}

fn fill_mxcsr(world: &mut World, rng: &mut Rng) {
    const MASKS: u32 = 0x1f80;
    let mut mxcsr = MASKS | (rng.next() as u32 & 0x3f) & if rng.one_in(2) { 0x3f } else { 0 };
    mxcsr |= (rng.pick(&[0, 0, 0, 1, 2, 3])) << 13;
    if rng.one_in(4) {
        mxcsr |= 1 << 15; // FTZ
    }
    if rng.one_in(4) {
        mxcsr |= 1 << 6; // DAZ
    }
    if rng.one_in(4) {
        mxcsr &= !(rng.next() as u32 & MASKS);
    }
    world.state.fx.mxcsr = mxcsr;
}

fn fill_x87(world: &mut World, code: &[Instruction], rng: &mut Rng) {
    let fx = &mut world.state.fx;
    let mmx = code.iter().any(|i| (0..i.op_count()).any(|n| i.op_register(n).is_mm()));
    for st in &mut fx.st {
        *st = float80(rng);
        if mmx {
            st[..8].copy_from_slice(&vector(rng, Lanes::Integer(16)).to_le_bytes()[..8]);
        }
    }
    let top = rng.below(8) as u16;
    let conditions = rng.next() as u16 & 0x4700;
    let sticky = if rng.one_in(2) { rng.next() as u16 & 0x7f } else { 0 };
    fx.fcw = 0x37f;
    if rng.one_in(2) {
        fx.fcw = 0x7f | rng.pick(&[0, 2, 3]) << 8 | (rng.below(4) as u16) << 10;
    }
    if rng.one_in(4) {
        fx.fcw &= !(rng.next() as u16 & 0x3f);
    }
    fx.fsw = top << 11 | conditions | (sticky & (fx.fcw | 0x40));
    if rng.one_in(64) {
        // An exception that waits for the next x87 instruction.
        fx.fsw |= sticky;
    }
    if fx.fsw & !fx.fcw & 0x3f != 0 {
        fx.fsw |= 0x8080; // ES and B
    }
    fx.ftw = match rng.below(4) {
        0 => rng.next() as u8,
        1 => 0,
        _ => 0xff,
    };
    if fx.ftw == 0 && rng.one_in(2) {
        fx.ftw = 0xff >> rng.below(8);
    }
}

/// The general registers that already have the value they must have.
struct Fixed(u32);

impl Fixed {
    fn new(given: &[Given]) -> Fixed {
        Fixed(given.iter().fold(0, |sum, item| match item {
            Given::Field(Field::Gpr(number), _) => sum | 1 << number,
            _ => sum,
        }))
    }

    fn has(&self, register: Register) -> bool {
        number(register).is_some_and(|number| self.0 >> number & 1 != 0)
    }

    fn set(&mut self, register: Register) {
        if let Some(number) = number(register) {
            self.0 |= 1 << number;
        }
    }
}

/// The number of a general register, of any width.
pub fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register() as usize - Register::RAX as usize)
}

struct Filler<'a> {
    world: &'a mut World,
    fixed: &'a mut Fixed,
    rng: &'a mut Rng,
    adventurous: bool,
    lanes: Lanes,
}

impl Filler<'_> {
    /// Gives a general register a value, unless it is given or was used before.
    fn set(&mut self, which: usize, value: u64) {
        if self.fixed.0 >> which & 1 == 0 {
            self.world.state.gpr[which] = value;
        }
    }

    /// A place for an operand of `size` bytes.
    fn place(&mut self, size: u64) -> u64 {
        let inside = DATA + 0x200 + 64 * self.rng.below(16);
        if !self.adventurous {
            return inside;
        }
        let size = size.max(1);
        match self.rng.below(40) {
            0..=4 => inside + self.rng.below(64),
            5 | 6 => DATA + 0x1000 - 1 - self.rng.below(size),
            7 => GUARD - size,
            8 => GUARD - 1 - self.rng.below(size),
            9 => READ_ONLY + 16 * self.rng.below(16),
            10 => READ_ONLY + PAGE as u64 - 1 - self.rng.below(size),
            11 => self.rng.pick(&[NOWHERE, 0x800, 0x8000_0000, DATA - 1 - self.rng.clone().below(size)]),
            // Of longer operands each processor finds another byte first.
            12 if self.world.state.bits() == 64 && size <= 16 => self.rng.pick(&[1 << 47, u64::MAX << 63]),
            _ => inside,
        }
    }

    /// Gives the address registers values for which the memory operands lie in a window, and the operands contents.
    fn memory(&mut self, instruction: &Instruction) {
        let size = instruction.memory_size().size() as u64;
        for op in 0..instruction.op_count() {
            match instruction.op_kind(op) {
                OpKind::Memory => {
                    let mut place = self.place(size);
                    if instruction.is_call_near_indirect() && place.wrapping_sub(READ_ONLY) < PAGE as u64 {
                        // Nobody can put an address there, and whether the push or an address that is none faults first differs.
                        place = DATA + 0x200;
                    }
                    self.solve(instruction, place);
                }
                OpKind::MemorySegSI | OpKind::MemorySegESI | OpKind::MemorySegRSI => {
                    self.string_pointer(instruction, gpr::RSI, instruction.memory_segment());
                }
                OpKind::MemorySegDI | OpKind::MemorySegEDI | OpKind::MemorySegRDI => {
                    self.string_pointer(instruction, gpr::RDI, instruction.memory_segment());
                }
                OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI => self.string_pointer(instruction, gpr::RDI, Register::ES),
                _ => {}
            }
        }
        if let Some(at) = effective(instruction, &self.world.state) {
            let mut contents = [0; 512];
            for chunk in contents.chunks_mut(16) {
                chunk.copy_from_slice(&self.contents(instruction.memory_size()));
            }
            self.world.memory.patch(at, &contents[..(size as usize).clamp(16, 512)]);
        }
    }

    fn contents(&mut self, size: MemorySize) -> [u8; 16] {
        match size.element_type() {
            MemorySize::Float32 => vector(self.rng, Lanes::Float32).to_le_bytes(),
            MemorySize::Float64 => vector(self.rng, Lanes::Float64).to_le_bytes(),
            MemorySize::Float80 => float80(self.rng),
            _ if size.size() == 16 => vector(self.rng, self.lanes).to_le_bytes(),
            _ => {
                let low = u128::from(integer(self.rng));
                (low | u128::from(integer(self.rng)) << 64).to_le_bytes()
            }
        }
    }

    fn segment_base(&self, segment: Register) -> u64 {
        match segment {
            Register::FS => self.world.state.fs_base,
            Register::GS => self.world.state.gs_base,
            _ => 0,
        }
    }

    /// Chooses base and index so that the operand lies at `place`.
    fn solve(&mut self, instruction: &Instruction, place: u64) {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let segment = self.segment_base(instruction.memory_segment());
        let scale = u64::from(instruction.memory_index_scale());
        let offset = place.wrapping_sub(segment).wrapping_sub(instruction.memory_displacement64());
        if base == index && base != Register::None {
            self.assign(base, divide(offset, scale + 1));
            return;
        }
        if number(index).is_some() {
            if number(base).is_none() {
                self.assign(index, divide(offset, scale));
                return;
            }
            let far = self.rng.below(128).wrapping_sub(64);
            self.assign(index, far);
        }
        if number(base).is_some() {
            let index = if number(index).is_some() { read(&self.world.state, index).wrapping_mul(scale) } else { 0 };
            self.assign(base, offset.wrapping_sub(index));
        }
    }

    /// Sets an address register; what lies above its width stays as it is.
    fn assign(&mut self, register: Register, value: u64) {
        if self.fixed.has(register) {
            return;
        }
        if let Some(number) = number(register) {
            let mask = u64::MAX >> (64 - 8 * register.size());
            let old = &mut self.world.state.gpr[number];
            *old = (*old & !mask) | (value & mask);
        }
    }

    fn string_pointer(&mut self, instruction: &Instruction, which: usize, segment: Register) {
        let base = self.segment_base(segment);
        let mut place = self.place(instruction.memory_size().size() as u64);
        if instruction.mnemonic() == Mnemonic::Maskmovq {
            // AMD changes the MMX state also if the instruction faults.
            place = DATA + 0x200 + self.rng.below(PAGE as u64);
        }
        self.set(which, place.wrapping_sub(base));
    }

    /// What particular instructions want in their registers, before their memory operands are placed.
    fn special(&mut self, instruction: &Instruction) {
        if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
            let count = match self.rng.below(4) {
                0 => self.rng.below(3),
                1 => self.rng.below(200),
                _ => self.rng.below(40),
            };
            self.set(gpr::RCX, count);
        }
        match instruction.mnemonic() {
            Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne | Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => {
                let count = self.rng.pick(&[0, 1, 2, 0x1_0000, 1 << 32, 3 << 16]);
                self.set(gpr::RCX, count);
            }
            Mnemonic::Shl
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Rcl
            | Mnemonic::Rcr
            | Mnemonic::Shld
            | Mnemonic::Shrd => {
                let any = self.world.state.gpr[gpr::RCX];
                let count = if self.rng.one_in(4) { any } else { self.rng.below(72) };
                self.set(gpr::RCX, count);
            }
            Mnemonic::Div | Mnemonic::Idiv => self.dividend(instruction),
            Mnemonic::Fsin | Mnemonic::Fcos | Mnemonic::Fsincos | Mnemonic::Fptan | Mnemonic::Fpatan | Mnemonic::Fyl2x => {
                self.mask_inexact()
            }
            Mnemonic::F2xm1 | Mnemonic::Fyl2xp1 => {
                self.mask_inexact();
                // Finite arguments beyond 1/4 or so are out of FYL2XP1's range: the result is undefined.
                let sign_exponent = &mut self.world.state.fx.st[0][8..10];
                let old = u16::from_le_bytes([sign_exponent[0], sign_exponent[1]]);
                if matches!(old & 0x7fff, 0x3ffd..0x7fff) {
                    sign_exponent.copy_from_slice(&(old & 0x8000 | 0x3ffc).to_le_bytes());
                }
            }
            Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
                if instruction.op0_kind() == OpKind::Memory && instruction.op1_kind() == OpKind::Register =>
            {
                // A bit offset that stays near the operand.
                if let Some(number) = number(instruction.op1_register()) {
                    let bit = self.rng.below(0x1000).wrapping_sub(0x800);
                    self.set(number, bit);
                }
            }
            Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b | Mnemonic::Xlatb => {}
            Mnemonic::Leave | Mnemonic::Enter => {
                let frame = STACK_TOP + 8 * self.rng.below(32);
                self.set(gpr::RBP, frame);
            }
            _ => {}
        }
        if instruction.mnemonic() == Mnemonic::Xlatb {
            let place = self.place(256);
            self.set(gpr::RBX, place);
        }
        let near = matches!(
            instruction.code(),
            Code::Jmp_rm16 | Code::Jmp_rm32 | Code::Jmp_rm64 | Code::Call_rm16 | Code::Call_rm32 | Code::Call_rm64
        );
        if near
            && instruction.op0_kind() == OpKind::Register
            && let Some(number) = number(instruction.op0_register())
        {
            let target = self.target();
            self.set(number, target);
        }
        let selector = match instruction.mnemonic() {
            Mnemonic::Mov if instruction.op0_register().is_segment_register() => instruction.op1_register(),
            Mnemonic::Verr | Mnemonic::Verw => instruction.op0_register(),
            Mnemonic::Lar | Mnemonic::Lsl => instruction.op1_register(),
            _ => Register::None,
        };
        if let Some(number) = number(selector) {
            let value = self.selector();
            self.set(number, value);
        }
    }

    /// Masks #P and #U, which AMD raises for exact results of transcendental functions too.
    fn mask_inexact(&mut self) {
        let fx = &mut self.world.state.fx;
        fx.fcw |= 0x30;
        if fx.fsw & !fx.fcw & 0x3f == 0 {
            fx.fsw &= !0x8080;
        }
    }

    /// Something to jump to.
    fn target(&mut self) -> u64 {
        match self.rng.below(12) {
            0 if self.adventurous => self.rng.pick(&[NOWHERE, CODE + WINDOW as u64, 0]),
            _ => stop_address(self.rng),
        }
    }

    /// One of Linux's selectors, or one that is refused. A random upper part must not matter.
    fn selector(&mut self) -> u64 {
        let selector = self.rng.pick(&[0, 1, 2, 3, USER_DS, CS32, CS64, DATA_LDT, 0x10, 0x18, 0x28, 0x2a, 0x0f, 0x63, 0x1003, 0xfffb]);
        (self.rng.next() & !0xffff) | u64::from(selector)
    }

    /// A dividend whose quotient fits, mostly.
    fn dividend(&mut self, instruction: &Instruction) {
        let signed = instruction.mnemonic() == Mnemonic::Idiv;
        let high = match self.rng.below(4) {
            0 => return,
            1 if signed => u64::MAX,
            _ => self.rng.pick(&[0, 0, 1]),
        };
        let width = 8 * instruction.memory_size().size().max(instruction.op0_register().size());
        if width == 8 {
            let low = self.rng.next() & 0xff;
            self.set(gpr::RAX, high << 8 | low);
        } else {
            self.set(gpr::RDX, high);
        }
    }

    /// What particular instructions want in memory.
    fn special_memory(&mut self, instruction: &Instruction) {
        let at = effective(instruction, &self.world.state);
        match instruction.mnemonic() {
            Mnemonic::Cmpxchg if self.rng.one_in(2) => match (at, instruction.op0_kind()) {
                (Some(at), OpKind::Memory) => {
                    let rax = self.world.state.gpr[gpr::RAX];
                    self.world.memory.patch(at, &rax.to_le_bytes()[..instruction.memory_size().size()]);
                }
                _ => {
                    let value = read(&self.world.state, instruction.op0_register());
                    self.set(gpr::RAX, value);
                }
            },
            Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b if self.rng.one_in(2) => {
                if let Some(at) = at {
                    let half = instruction.memory_size().size() / 2;
                    let state = &self.world.state;
                    let (low, high) = (state.gpr[gpr::RAX].to_le_bytes(), state.gpr[gpr::RDX].to_le_bytes());
                    self.world.memory.patch(at, &low[..half]);
                    self.world.memory.patch(at.wrapping_add(half as u64), &high[..half]);
                }
            }
            Mnemonic::Jmp | Mnemonic::Call if instruction.is_jmp_near_indirect() || instruction.is_call_near_indirect() => {
                if let Some(at) = at {
                    let target = self.target();
                    self.world.memory.patch(at, &target.to_le_bytes());
                }
            }
            Mnemonic::Jmp | Mnemonic::Call if instruction.is_jmp_far_indirect() || instruction.is_call_far_indirect() => {
                if let Some(at) = at {
                    let target = self.target();
                    let selector = self.rng.pick(&[CS32, CS64, CS32, CS64, 0, USER_DS, 0x10, DATA_LDT, 0x1003]);
                    let size = instruction.memory_size().size();
                    self.world.memory.patch(at, &target.to_le_bytes()[..size - 2]);
                    self.world.memory.patch(at.wrapping_add(size as u64 - 2), &selector.to_le_bytes());
                }
            }
            Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss => {
                if let Some(at) = at {
                    let selector = self.selector() as u16;
                    self.world.memory.patch(at.wrapping_add(instruction.memory_size().size() as u64 - 2), &selector.to_le_bytes());
                }
            }
            Mnemonic::Mov | Mnemonic::Verr | Mnemonic::Verw | Mnemonic::Lar | Mnemonic::Lsl
                if instruction.memory_size() == MemorySize::UInt16 =>
            {
                if let Some(at) = at
                    && (instruction.mnemonic() != Mnemonic::Mov || instruction.op0_register().is_segment_register())
                {
                    let selector = self.selector() as u16;
                    self.world.memory.patch(at, &selector.to_le_bytes());
                }
            }
            Mnemonic::Ret
            | Mnemonic::Retf
            | Mnemonic::Iret
            | Mnemonic::Iretd
            | Mnemonic::Iretq
            | Mnemonic::Pop
            | Mnemonic::Popf
            | Mnemonic::Popfd
            | Mnemonic::Popfq => self.stack_contents(instruction),
            Mnemonic::Bound => {
                if let Some(at) = at {
                    let value = read(&self.world.state, instruction.op0_register());
                    let half = instruction.memory_size().size() / 2;
                    let (low, high) =
                        (value.wrapping_sub(self.rng.below(3)).wrapping_add(1), value.wrapping_add(self.rng.below(3)).wrapping_sub(1));
                    self.world.memory.patch(at, &low.to_le_bytes()[..half]);
                    self.world.memory.patch(at.wrapping_add(half as u64), &high.to_le_bytes()[..half]);
                }
            }
            Mnemonic::Ldmxcsr => {
                if let Some(at) = at {
                    // Bit 17 is AMD's alone.
                    let known = if self.rng.one_in(8) { !(1 << 17) } else { 0xffff };
                    let mxcsr = self.rng.next() as u32 & known;
                    self.world.memory.patch(at, &mxcsr.to_le_bytes());
                }
            }
            Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => {
                if let Some(at) = at {
                    let mut other = World::new(64);
                    fill_mxcsr(&mut other, self.rng);
                    fill_x87(&mut other, &[*instruction], self.rng);
                    other.state.fx.xmm = std::array::from_fn(|_| vector(self.rng, self.lanes));
                    self.world.memory.patch(at, &other.state.fx.to_bytes()[..416]);
                }
            }
            _ => {}
        }
    }

    fn stack_contents(&mut self, instruction: &Instruction) {
        let width = match instruction.code() {
            Code::Retnw
            | Code::Retnw_imm16
            | Code::Retfw
            | Code::Retfw_imm16
            | Code::Iretw
            | Code::Popfw
            | Code::Popw_DS
            | Code::Popw_ES
            | Code::Popw_FS
            | Code::Popw_GS
            | Code::Popw_SS => 2,
            Code::Retnq
            | Code::Retnq_imm16
            | Code::Retfq
            | Code::Retfq_imm16
            | Code::Iretq
            | Code::Popfq
            | Code::Popq_FS
            | Code::Popq_GS => 8,
            _ => 4,
        };
        let flags = self.rng.next()
            & (flag::STATUS | flag::DF | flag::AC | flag::ID | flag::NT | 0x1_b000 | 0x18_0000)
            & if self.rng.one_in(4) { u64::MAX } else { flag::STATUS | flag::DF };
        let code = if self.world.state.bits() == 32 { CS32 } else { CS64 };
        let selector = match self.rng.below(8) {
            0 if self.adventurous => self.rng.pick(&[0, USER_DS, 0x10, DATA_LDT, 0x1003, 0x30]),
            1 => CS32,
            2 => CS64,
            _ => code,
        };
        let target = self.target();
        let stack = STACK_TOP + 8 * self.rng.below(16);
        let words: Vec<u64> = match instruction.mnemonic() {
            Mnemonic::Ret => vec![target],
            Mnemonic::Retf => vec![target, selector.into()],
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => vec![flags],
            Mnemonic::Pop if instruction.op0_register().is_segment_register() => vec![self.selector()],
            Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => vec![target, selector.into(), flags, stack, USER_DS.into()],
            _ => return,
        };
        let at = self.world.state.gpr[gpr::RSP];
        for (number, word) in words.iter().enumerate() {
            self.world.memory.patch(at.wrapping_add((number * width) as u64), &word.to_le_bytes()[..width]);
        }
    }
}

/// Signed division: an offset is negative where the displacement is beyond the place.
fn divide(offset: u64, by: u64) -> u64 {
    (offset.cast_signed() / by.cast_signed()).cast_unsigned()
}

/// The linear address of the ModRM memory operand with the registers as they are in `state`.
pub fn effective(instruction: &Instruction, state: &State) -> Option<u64> {
    let op = (0..instruction.op_count()).find(|op| instruction.op_kind(*op) == OpKind::Memory)?;
    let linear = instruction.virtual_address(op, 0, |register, _, _| {
        Some(match register {
            Register::FS => state.fs_base,
            Register::GS => state.gs_base,
            register if register.is_segment_register() => 0,
            register => read(state, register),
        })
    })?;
    Some(if state.bits() == 32 { linear & 0xffff_ffff } else { linear })
}

/// The value of a general register of any width, or of RIP's kind: zero, iced has added it already.
fn read(state: &State, register: Register) -> u64 {
    let Some(number) = number(register) else { return 0 };
    let value = state.gpr[number];
    match register.size() {
        1 if matches!(register, Register::AH | Register::CH | Register::DH | Register::BH) => value >> 8 & 0xff,
        1 => value & 0xff,
        2 => value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    }
}
