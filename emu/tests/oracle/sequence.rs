//! Sequences drawn by lot from the implemented instructions.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, Register};

use super::corners::number;
use super::generate::{self, Encoding};
use super::rng::Rng;
use super::undefined::{Before, Undefined, flags_of};
use super::vendor::Answers;
use super::world::ENTRY;

/// Draws sequences from the forms that suit: they run on to the next instruction and leave nothing undefined but flags.
pub struct Drawer {
    integer: Vec<(Code, bool)>,
    vector: Vec<(Code, bool)>,
    branches: Vec<(Code, bool)>,
}

impl Drawer {
    /// From these instructions, with or without a memory operand.
    pub fn new(forms: &[(Code, bool)]) -> Drawer {
        let mut drawer = Drawer { integer: Vec::new(), vector: Vec::new(), branches: Vec::new() };
        for form in forms.iter().filter(|(code, _)| suits(*code)) {
            let of_vectors = form.0.op_code().op_kinds().iter().any(|kind| {
                let name = format!("{kind:?}");
                name.starts_with("xmm") || name.starts_with("mm_")
            });
            match form.0.mnemonic() {
                _ if form.0.is_jcc_short_or_near() => drawer.branches.push(*form),
                _ if of_vectors => drawer.vector.push(*form),
                _ => drawer.integer.push(*form),
            }
        }
        drawer
    }

    /// The code, and whether it is of 64 or 32 bits.
    pub fn draw(&self, rng: &mut Rng) -> (u32, Vec<u8>) {
        let bits = if rng.one_in(4) { 32 } else { 64 };
        let length = 2 + rng.below(6);
        let mut sequence = Sequence { bits, bytes: Vec::new(), undefined: Undefined::default(), used: 0 };
        for _ in 0..length {
            let forms = if rng.one_in(4) { &self.vector } else { &self.integer };
            (0..50).find(|_| sequence.extend(rng.pick(forms), rng));
        }
        if rng.one_in(2) {
            (0..50).find(|_| sequence.extend(rng.pick(&self.branches), rng));
        }
        (bits, sequence.bytes)
    }
}

/// Whether an instruction may stand in a sequence.
fn suits(code: Code) -> bool {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let x87 = format!("{:?}", code.mnemonic()).starts_with('F') || code.mnemonic() == Mnemonic::Wait;
    // What changes TF or segments ends most sequences at once, and so does what only the kernel may do. AMD's MASKMOVQ leaves traces
    // where it faults, and selectors drawn by lot lead to what else Linux keeps in its GDT.
    let disruptive = matches!(
        code.mnemonic(),
        Mnemonic::Popf
            | Mnemonic::Popfd
            | Mnemonic::Popfq
            | Mnemonic::Lds
            | Mnemonic::Les
            | Mnemonic::Lfs
            | Mnemonic::Lgs
            | Mnemonic::Maskmovq
            | Mnemonic::Lar
            | Mnemonic::Lsl
            | Mnemonic::Verr
            | Mnemonic::Verw
            | Mnemonic::Lss
    );
    let segment = code
        .op_code()
        .op_kinds()
        .iter()
        .any(|kind| matches!(format!("{kind:?}").as_str(), "seg_reg" | "es" | "cs" | "ss" | "ds" | "fs" | "gs"));
    let kernel = instruction.is_privileged() || code.op_code().is_input_output();
    let on = matches!(code.flow_control(), FlowControl::Next) || code.is_jcc_short_or_near();
    on && !x87 && !disruptive && !segment && !kernel && generate::excluded(code).is_none()
}

struct Sequence {
    bits: u32,
    bytes: Vec<u8>,
    undefined: Undefined,
    /// General registers that an instruction has read or written.
    used: u32,
}

impl Sequence {
    /// Appends a draw of a form if it suits what is there.
    fn extend(&mut self, (code, memory): (Code, bool), rng: &mut Rng) -> bool {
        let ip = ENTRY + self.bytes.len() as u64;
        let Some(encoding) = generate::encode(code, self.bits, memory, ip, rng) else { return false };
        let Encoding { bytes, instruction, .. } = encoding;
        if generate::has_memory_operand(&instruction) != memory || flags_of(instruction.rflags_read()) & self.undefined.rflags != 0 {
            return false;
        }
        let mut info = InstructionInfoFactory::new();
        let info = info.info(&instruction);
        // An address must be made of registers that are still free to be given a value.
        let mut address = info.used_memory().iter().flat_map(|used| [used.base(), used.index()]);
        if address.any(|register| register != Register::RSP && number(register).is_some_and(|number| self.used >> number & 1 != 0)) {
            return false;
        }
        let mut undefined = self.undefined.clone();
        undefined.add(&instruction, Before::Unknown, true);
        // Where the host takes another NaN, what follows makes another value of it.
        let mut others = Undefined::default();
        Answers::of_host().open(&mut others, &instruction, Before::Unknown, true);
        if !undefined.is_flags_alone() || others.nans {
            return false;
        }
        self.undefined = undefined;
        self.bytes.extend(bytes);
        for used in info.used_registers() {
            if let Some(number) = number(used.register()) {
                self.used |= 1 << number;
            }
        }
        true
    }
}
