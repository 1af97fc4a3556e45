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

/// Entries of all rows.
const ENTRIES_COUNT: usize = count();

/// In [`PLACES`]: the op ends its block, which is known without a look at its entry.
const TERMINAL: u16 = 1 << 15;

/// By opcode number: the place of its entry, from 1, and [`TERMINAL`]; 0 for none. Few of the numbers have one, and each of those takes a relocation for every
/// handler, so that a process has a copy of its own of what they lie among.
static PLACES: [u16; COUNT] = build().0;

static ENTRIES: [Entry; ENTRIES_COUNT] = build().1;

/// The entry of an opcode.
pub const fn entry(code: Opcode) -> Option<&'static Entry> {
    if code.0 as usize >= COUNT {
        return None;
    }
    match PLACES[code.0 as usize] & !TERMINAL {
        0 => None,
        place => Some(&ENTRIES[place as usize - 1]),
    }
}

/// Whether an opcode ends its block; `None` if it has no entry.
pub fn is_terminal(code: Opcode) -> Option<bool> {
    PLACES.get(usize::from(code.0)).filter(|place| **place != 0).map(|place| place & TERMINAL != 0)
}

const fn count() -> usize {
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        let mut i = 0;
        while i < FILES[file].len() {
            let row = &FILES[file][i];
            count += row.register.is_some() as usize + row.memory.is_some() as usize;
            i += 1;
        }
        file += 1;
    }
    count
}

const fn build() -> ([u16; COUNT], [Entry; ENTRIES_COUNT]) {
    let mut places = [0; COUNT];
    let mut entries = [first(); ENTRIES_COUNT];
    let mut count = 0;
    let mut file = 0;
    while file < FILES.len() {
        let mut i = 0;
        while i < FILES[file].len() {
            let row = &FILES[file][i];
            let forms = [(Opcode::of(row.code, false), row.register), (Opcode::of(row.code, true), row.memory)];
            let mut form = 0;
            while form < forms.len() {
                let (Opcode(number), entry) = forms[form];
                assert!(places[number as usize] == 0, "two rows for one Code");
                if let Some(entry) = entry {
                    entries[count] = entry;
                    count += 1;
                    places[number as usize] = count as u16 | if entry.terminal { TERMINAL } else { 0 };
                }
                form += 1;
            }
            i += 1;
        }
        file += 1;
    }
    (places, entries)
}

/// Any entry, for places that are not filled yet.
const fn first() -> Entry {
    match (FILES[0][0].register, FILES[0][0].memory) {
        (Some(entry), _) | (None, Some(entry)) => entry,
        (None, None) => unreachable!(),
    }
}
