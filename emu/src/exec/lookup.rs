//! What the table says of an op: its handler, whether there is one, whether it ends a block.

use super::dispatch::Handler;
use super::flow;
use super::path::AddressForm;
use super::synthetic;
use super::table::{FILES, entry, is_terminal};
use crate::decode::{Form, Op, Opcode};
use iced_x86::Code;

/// The handler of an op.
pub fn handler(op: &Op) -> Handler {
    match (entry(op.code), AddressForm::of(op)) {
        (Some(entry), AddressForm::General) => entry.general,
        (Some(entry), AddressForm::Based) => entry.based,
        (Some(entry), AddressForm::Indexed) => entry.indexed,
        (None, _) => synthetic::handler(op.code),
    }
}

/// The handler that an opcode has for a form of address, with a conditional jump behind it or without; for constants.
#[cfg(all(any(target_family = "wasm", feature = "loop-dispatch"), not(feature = "count-ops")))]
pub const fn find(code: Opcode, address: AddressForm, jump: Option<u8>) -> Option<Handler> {
    match (entry(code), jump, address) {
        (None, ..) => None,
        (Some(entry), None, AddressForm::General) => Some(entry.general),
        (Some(entry), None, AddressForm::Based) => Some(entry.based),
        (Some(entry), None, AddressForm::Indexed) => Some(entry.indexed),
        (Some(entry), Some(condition), address) => match (entry.fused, address) {
            (None, _) | (_, AddressForm::Based) => None,
            (Some(fused), AddressForm::General) => fused.general[condition as usize],
            (Some(fused), AddressForm::Indexed) => fused.indexed[condition as usize],
        },
    }
}

/// The handler of two ops at once, if the first sets flags and the second is a conditional jump on them, both common.
pub fn fused_handler(first: &Op, second: &Op) -> Option<Handler> {
    let condition = flow::condition(second.code)?;
    let fused = entry(first.code)?.fused?;
    let handlers = match AddressForm::of_fused(first) {
        AddressForm::General => &fused.general,
        AddressForm::Based | AddressForm::Indexed => &fused.indexed,
    };
    handlers[usize::from(condition)]
}

/// How a form of an instruction is implemented; `None` if it is not.
pub fn form(code: Opcode) -> Option<Form> {
    is_terminal(code).map(|terminal| if terminal { Form::Last } else { Form::Inside })
}

/// Whether a form of an instruction is implemented.
pub fn implements(code: Code, memory: bool) -> bool {
    form(Opcode::of(code, memory)).is_some()
}

/// Every implemented form: the instruction, and whether it is the form with a memory operand.
pub fn implemented() -> impl Iterator<Item = (Code, bool)> {
    Code::values().flat_map(|code| [(code, false), (code, true)]).filter(|&(code, memory)| implements(code, memory))
}

/// Every row, file by file: the instruction, whether it has a form without and one with a memory operand, and the file that it stands in.
pub fn catalogue() -> impl Iterator<Item = (Code, [bool; 2], &'static str)> {
    FILES.iter().copied().flatten().map(|row| (row.code, [row.register.is_some(), row.memory.is_some()], row.file))
}
