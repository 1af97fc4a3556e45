//! A case: code, where it comes from, and the world that it starts in.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory, IntelFormatter, Register};

use super::corners;
use super::field::Field;
use super::ins::{Expected, Given, Line};
use super::rng::Rng;
use super::world::*;

/// A case.
#[derive(Clone)]
pub struct Case {
    /// File and line, or the generator.
    pub place: String,
    pub bytes: Vec<u8>,
    pub code: Vec<Instruction>,
    pub before: Box<World>,
}

impl Case {
    /// A case with inputs of its own.
    pub fn new(place: String, bits: u32, bytes: &[u8], given: &[Given], adventurous: bool, rng: &mut Rng) -> Case {
        let mut before = World::new(bits);
        for item in given {
            if let Given::Field(Field::Rip, values) = item {
                before.state.rip = values[0] as u64;
            }
        }
        let code = decode(bits, bytes, before.state.rip);
        corners::fill(&mut before, &code, given, adventurous, rng);
        before.memory.patch(before.state.rip, bytes);
        Case { place, bytes: bytes.to_vec(), code, before }
    }

    /// `variants` cases for each combination of the values that a line gives.
    pub fn of_line(line: &Line, variants: u64) -> Vec<Case> {
        let mut combinations: Vec<Vec<Given>> = vec![Vec::new()];
        for item in &line.given {
            let choices: Vec<Given> = match item {
                Given::Field(field, values) => values.iter().map(|value| Given::Field(*field, vec![*value])).collect(),
                Given::Bytes(..) => vec![item.clone()],
            };
            let with = |given: &Vec<Given>, choice: &Given| given.iter().chain([choice]).cloned().collect();
            combinations = combinations.iter().flat_map(|given| choices.iter().map(move |choice| with(given, choice))).collect();
        }
        let seed = line.place.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut rng = Rng::new(seed);
        let case = |given: &Vec<Given>, rng: &mut Rng| Case::new(line.place.clone(), line.bits, &line.bytes, given, false, rng);
        combinations.iter().flat_map(|given| (0..variants).map(|_| case(given, &mut rng)).collect::<Vec<_>>()).collect()
    }

    /// The disassembly, instructions separated by `;`.
    pub fn text(&self) -> String {
        text(&self.code)
    }

    /// The fields that the code uses, flags, and whatever else is not as it is mostly.
    fn shown(&self) -> Vec<Field> {
        let mut info = InstructionInfoFactory::new();
        let mut used = Vec::new();
        for instruction in &self.code {
            used.extend(info.info(instruction).used_registers().iter().map(|used| used.register()));
            used.extend(info.info(instruction).used_memory().iter().flat_map(|memory| [memory.base(), memory.index(), memory.segment()]));
        }
        let x87 = used.iter().any(|register| register.is_st() || register.is_mm())
            || self.code.iter().any(|i| format!("{:?}", i.mnemonic()).starts_with('F'));
        let vector = used.iter().any(|register| register.is_xmm());
        let reset = State::new(self.before.state.bits());
        let shown = |field: &Field| match *field {
            Field::Gpr(number) => used.iter().any(|register| corners::number(*register) == Some(number)),
            Field::Xmm(number) => used.iter().any(|register| register.is_xmm() && register.number() == number),
            Field::FsBase => used.contains(&Register::FS),
            Field::GsBase => used.contains(&Register::GS),
            Field::Mxcsr => vector,
            Field::St(_) | Field::Fcw | Field::Fsw | Field::Ftw => x87,
            field => field.get(&self.before.state) != field.get(&reset),
        };
        Field::all().into_iter().filter(shown).collect()
    }

    /// The case and its differences, for people.
    pub fn report(&self, differences: &[String]) -> String {
        let bytes: Vec<String> = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut out = format!("{}: mode {}: {} \"{}\"\n  given:", self.place, self.before.state.bits(), bytes.join(" "), self.text());
        for field in self.shown() {
            out += &format!(" {}={:#x}", field.name(), field.get(&self.before.state));
        }
        for instruction in &self.code {
            if let Some(at) = corners::effective(instruction, &self.before.state) {
                let bytes: String = (0..16)
                    .map_while(|offset| self.before.memory.byte(at.wrapping_add(offset)))
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                out += &format!(" [{at:#x}]={bytes}");
            }
        }
        for difference in differences {
            out += &format!("\n  {difference}");
        }
        out
    }
}

/// Decodes all of `bytes`.
pub fn decode(bits: u32, bytes: &[u8], ip: u64) -> Vec<Instruction> {
    Decoder::with_ip(bits, bytes, ip, DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD).into_iter().collect()
}

/// The disassembly as case files have it.
pub fn text(code: &[Instruction]) -> String {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_rip_relative_addresses(true);
    let format = |instruction: &Instruction| {
        let mut out = String::new();
        formatter.format(instruction, &mut out);
        out
    };
    code.iter().map(format).collect::<Vec<_>>().join("; ")
}

/// What of `expected` is not so in `got`, which a case left behind that started in `before` and whose code has `len` bytes.
pub fn unmet(expected: &Expected, before: &World, len: usize, got: &World) -> Vec<String> {
    let mut out = Vec::new();
    let stop = expected.stop.unwrap_or(CaseExit { vector: 13, ..CaseExit::default() });
    if got.stop != stop {
        out.push(format!("stop: {} / {}", stop.describe(), got.stop.describe()));
    }
    let end = if expected.stop.is_some() { before.state.rip } else { before.state.rip + len as u64 };
    let open = stop.vector == CaseExit::SYSTEM_CALL || expected.fields.iter().any(|(field, _)| *field == Field::Rip);
    let rip = (!open).then_some((Field::Rip, end.into()));
    for (field, value) in expected.fields.iter().copied().chain(rip) {
        let mut wanted = got.state;
        field.set(&mut wanted, value);
        if field.get(&wanted) != field.get(&got.state) {
            out.push(format!("{}: {:x} / {:x}", field.name(), field.get(&wanted), field.get(&got.state)));
        }
    }
    for (at, bytes) in &expected.memory {
        let found: Vec<u8> = (0..bytes.len() as u64).map_while(|offset| got.memory.byte(at + offset)).collect();
        if found != *bytes {
            out.push(format!("[{at:x}]: {bytes:02x?} / {found:02x?}"));
        }
    }
    out
}
