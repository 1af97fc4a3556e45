//! How an interpreter gets from one instruction to the next.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fmt::Write;
use wamr::{Baseline, Options};

/// What the handlers of the interpreter below do to its program counter. No two are alike, so that no two are merged.
const HANDLERS: [&str; 24] = [
    "i32.clz",
    "i32.ctz",
    "i32.popcnt",
    "i32.extend8_s",
    "i32.extend16_s",
    "i32.eqz",
    "i32.load",
    "i32.load8_u",
    "i32.load8_s",
    "i32.load16_u",
    "i32.load16_s",
    "i32.add (i32.const 77)",
    "i32.mul (i32.const 77)",
    "i32.div_u (i32.const 77)",
    "i32.rem_u (i32.const 77)",
    "i32.div_s (i32.const 77)",
    "i32.rem_s (i32.const 77)",
    "i32.and (i32.const 77)",
    "i32.or (i32.const 77)",
    "i32.xor (i32.const 77)",
    "i32.shl (i32.const 7)",
    "i32.shr_u (i32.const 7)",
    "i32.shr_s (i32.const 7)",
    "i32.rotl (i32.const 7)",
];

/// An interpreter: a loop around a table with a handler for each value of a byte, so that no check of a bound stands before the jump.
fn interpreter() -> Vec<u8> {
    let mut wat = String::from("(module (memory 1) (func (export \"run\") (param $at i32) (block $never (loop $next");
    wat.push_str(&"(block ".repeat(HANDLERS.len()));
    wat.push_str("(br_table");
    for byte in 0..=usize::from(u8::MAX) {
        write!(wat, " {}", byte % HANDLERS.len()).unwrap();
    }
    wat.push_str(" $never (i32.load8_u (local.get $at))))");
    for handler in HANDLERS {
        let (name, operand) = handler.split_once(' ').unwrap_or((handler, ""));
        write!(wat, "(local.set $at ({name} (local.get $at) {operand})) (br $next))").unwrap();
    }
    wat.push_str(") unreachable))");
    wat::parse_str(&wat).unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn each_handler_of_an_interpreter_jumps_to_the_next_by_itself() {
    let Some(compiler) = common::compiler() else { return };
    for segue in [true, false] {
        let aot = common::compile(&compiler, &interpreter(), &Options { segue, ..Options::new(Baseline::X86_64V2) });
        // `jmp [8 * register + table]`.
        let jumps = aot.windows(2).filter(|bytes| *bytes == [0xff, 0x24]).count();
        assert!(jumps >= HANDLERS.len(), "{jumps} jumps for {} handlers, segue: {segue}", HANDLERS.len());
    }
}
