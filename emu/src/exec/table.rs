//! The table of handlers, built at compile time from the rows of the instruction files.

use super::row::{Entry, Row};
use super::{
    arith, bits, branch, control, crc32, data, decimal, far, flag, hint, msr, port, segment, shift, simd, stack, string, syscall, x87,
};
use crate::decode::Opcode;

const COUNT: usize = Opcode::SYNTHETIC as usize;

/// File by file.
pub const FILES: &[&[Row]] = &[
    arith::ROWS,
    bits::ROWS,
    branch::ROWS,
    control::ROWS,
    crc32::ROWS,
    data::ROWS,
    decimal::ROWS,
    far::ROWS,
    flag::ROWS,
    hint::ROWS,
    msr::ROWS,
    port::ROWS,
    segment::ROWS,
    shift::ROWS,
    simd::element::ROWS,
    simd::float::arith::ROWS,
    simd::float::compare::ROWS,
    simd::float::convert::ROWS,
    simd::integer::arith::ROWS,
    simd::integer::compare::ROWS,
    simd::integer::multiply::ROWS,
    simd::integer::pack::ROWS,
    simd::integer::shift::ROWS,
    simd::logic::ROWS,
    simd::moves::ROWS,
    simd::shuffle::ROWS,
    simd::state::ROWS,
    simd::string::ROWS,
    stack::ROWS,
    string::ROWS,
    syscall::ROWS,
    x87::arith::ROWS,
    x87::compare::ROWS,
    x87::control::ROWS,
    x87::transcendental::ROWS,
    x87::transfer::ROWS,
];

/// By opcode number.
pub static TABLE: [Option<Entry>; COUNT] = build();

const fn build() -> [Option<Entry>; COUNT] {
    let mut table = [None; COUNT];
    let mut file = 0;
    while file < FILES.len() {
        let rows = FILES[file];
        let mut i = 0;
        while i < rows.len() {
            let row = &rows[i];
            let register = Opcode::of(row.code, false).0 as usize;
            let memory = Opcode::of(row.code, true).0 as usize;
            assert!(table[register].is_none() && table[memory].is_none(), "two rows for one Code");
            table[register] = row.register;
            table[memory] = row.memory;
            i += 1;
        }
        file += 1;
    }
    table
}
