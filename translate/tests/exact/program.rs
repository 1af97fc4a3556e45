//! Programs drawn at random, that mostly do something.

use std::collections::BTreeSet;

use crate::machine::{ALIAS, CODE, DATA, READ_ONLY, STACK, State, WINDOWS};
use iced_x86::{Decoder, DecoderOptions};
use translate::PAGE;

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Opcodes with a ModRM byte of which every register form is no branch and no system instruction, and how many bytes of immediate follow.
#[rustfmt::skip]
const ONE_BYTE: &[(u8, u8)] = &[
    (0x00, 0), (0x01, 0), (0x02, 0), (0x03, 0), (0x08, 0), (0x09, 0), (0x0a, 0), (0x0b, 0), (0x10, 0), (0x11, 0), (0x12, 0), (0x13, 0),
    (0x18, 0), (0x19, 0), (0x1a, 0), (0x1b, 0), (0x20, 0), (0x21, 0), (0x22, 0), (0x23, 0), (0x28, 0), (0x29, 0), (0x2a, 0), (0x2b, 0),
    (0x30, 0), (0x31, 0), (0x32, 0), (0x33, 0), (0x38, 0), (0x39, 0), (0x3a, 0), (0x3b, 0), (0x63, 0), (0x69, 4), (0x6b, 1), (0x80, 1),
    (0x81, 4), (0x83, 1), (0x84, 0), (0x85, 0), (0x86, 0), (0x87, 0), (0x88, 0), (0x89, 0), (0x8a, 0), (0x8b, 0), (0x8d, 0), (0xc0, 1),
    (0xc1, 1), (0xc6, 1), (0xc7, 4), (0xd0, 0), (0xd1, 0), (0xd2, 0), (0xd3, 0), (0xf6, 1), (0xf7, 4), (0xf7, 4), (0xf7, 4), (0xf7, 4),
    (0xf7, 4), (0xf7, 4), (0xfe, 0), (0xff, 0), (0x8f, 0),
];
/// The same behind 0F.
#[rustfmt::skip]
const TWO_BYTES: &[(u8, u8)] = &[
    (0x40, 0), (0x41, 0), (0x42, 0), (0x43, 0), (0x44, 0), (0x45, 0), (0x46, 0), (0x47, 0), (0x48, 0), (0x49, 0), (0x4a, 0), (0x4b, 0),
    (0x4c, 0), (0x4d, 0), (0x4e, 0), (0x4f, 0), (0x90, 0), (0x91, 0), (0x92, 0), (0x93, 0), (0x94, 0), (0x95, 0), (0x96, 0), (0x97, 0),
    (0x98, 0), (0x99, 0), (0x9a, 0), (0x9b, 0), (0x9c, 0), (0x9d, 0), (0x9e, 0), (0x9f, 0), (0xa3, 0), (0xab, 0), (0xa4, 1), (0xa5, 0),
    (0xac, 1), (0xaf, 0), (0xb0, 0), (0xb1, 0), (0xb6, 0), (0xb7, 0), (0xba, 1), (0xbc, 0), (0xbd, 0), (0xbe, 0), (0xbf, 0), (0xc0, 0),
    (0xc1, 0), (0x1f, 0), (0x18, 0),
];
/// The same, on vector registers.
#[rustfmt::skip]
const VECTORS: &[(u8, u8)] = &[
    (0x10, 0), (0x11, 0), (0x28, 0), (0x29, 0), (0x54, 0), (0x55, 0), (0x56, 0), (0x57, 0), (0x60, 0), (0x61, 0), (0x62, 0), (0x6c, 0),
    (0x6e, 0), (0x6f, 0), (0x70, 1), (0x74, 0), (0x75, 0), (0x76, 0), (0x7e, 0), (0x7f, 0), (0xd4, 0), (0xd6, 0), (0xd7, 0), (0xdb, 0),
    (0xdf, 0), (0xeb, 0), (0xef, 0),
];
/// Without a ModRM byte.
#[rustfmt::skip]
const BARE: &[&[u8]] = &[
    &[0x50], &[0x51], &[0x55], &[0x54], &[0x58], &[0x5a], &[0x5b], &[0x5c], &[0x90], &[0x91], &[0x97], &[0x98], &[0x99], &[0xc9], &[0x9e],
    &[0x9f], &[0xf5], &[0xf8], &[0xf9], &[0x6a, 0x80], &[0x68, 1, 2, 3, 0x84], &[0xb0, 0x5a], &[0xb4, 0xa5], &[0xb9, 1, 2, 3, 0x90],
    &[0x04, 0x7f], &[0x05, 1, 0, 0, 0x80], &[0xa8, 3], &[0x3c, 0x80], &[0x2d, 0xff, 0xff, 0xff, 0x7f], &[0x0f, 0xc8], &[0x0f, 0xcb],
    &[0xfc],
];
/// Registers that hold addresses at the start.
const POINTERS: [u8; 6] = [3, 5, 6, 7, 12, 13];

/// One instruction.
fn instruction(rng: &mut Rng) -> Vec<u8> {
    loop {
        let mut bytes = Vec::new();
        let is_vector = rng.one_in(8);
        if is_vector {
            bytes.extend(rng.pick(&[&[0x66][..], &[0x66], &[0x66], &[0xf3], &[0xf2], &[]]));
        } else if rng.one_in(12) {
            bytes.push(0x66);
        }
        if rng.one_in(40) {
            bytes.push(rng.pick(&[0x67, 0x64, 0xf3, 0xf2]));
        }
        let rex = if rng.one_in(2) { 0x48 } else { 0x40 };
        let rex = rex | if rng.one_in(3) { rng.below(8) as u8 } else { 0 };
        if !rng.one_in(4) {
            bytes.push(rex);
        }
        if !is_vector && rng.one_in(4) {
            bytes.extend(rng.pick(BARE));
        } else {
            let (opcode, immediate) = if is_vector {
                bytes.push(0x0f);
                rng.pick(VECTORS)
            } else if rng.one_in(3) {
                bytes.push(0x0f);
                rng.pick(TWO_BYTES)
            } else {
                rng.pick(ONE_BYTE)
            };
            bytes.push(opcode);
            let group = rng.below(8) as u8;
            match rng.below(6) {
                0..3 => bytes.push(0xc0 | group << 3 | rng.below(8) as u8),
                3 => bytes.extend([0x40 | group << 3 | rng.pick(&[3, 5, 6, 7]), (rng.below(128) as u8).wrapping_sub(32)]),
                4 => bytes.extend([0x44 | group << 3, rng.next() as u8 & 0xf8 | rng.pick(&[3, 5, 6, 7]), rng.below(64) as u8]),
                _ if rng.one_in(4) => {
                    // RIP-relative: reads of the code itself, which the TLB does not know.
                    bytes.push(0x05 | group << 3);
                    bytes.extend((rng.below(0x2000) as u32).to_le_bytes());
                }
                _ => {
                    bytes.push(0x80 | group << 3 | rng.pick(&[3, 5, 6, 7]));
                    bytes.extend((rng.below(0x3000) as i32 - 0x1000).to_le_bytes());
                }
            }
            bytes.extend((0..immediate).map(|_| if rng.one_in(2) { rng.next() as u8 } else { rng.below(4) as u8 }));
        }
        let mut padded = bytes.clone();
        padded.extend([0; 16]);
        let mut decoder = Decoder::with_ip(64, &padded, 0, DecoderOptions::NONE);
        let decoded = decoder.decode();
        let plain = decoded.flow_control() == iced_x86::FlowControl::Next && !decoded.is_invalid();
        // The state that is compared has no MMX registers.
        let mmx = (0..decoded.op_count()).any(|operand| decoded.op_register(operand).is_mm());
        if plain && !mmx && !decoded.is_privileged() {
            padded.truncate(decoded.len());
            return padded;
        }
    }
}

/// A page of code with its blocks.
pub struct Program {
    pub page: Box<[u8; PAGE]>,
    pub leaders: BTreeSet<u16>,
}

impl Program {
    /// Some blocks that lead to one another.
    pub fn draw(rng: &mut Rng) -> Self {
        let count = 1 + rng.below(8) as usize;
        let start = rng.below(0x400) as usize;
        let mut code = Vec::new();
        let mut leaders = Vec::new();
        let mut branches = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..count {
            leaders.push(start + code.len());
            for _ in 0..rng.below(8) {
                code.extend(instruction(rng));
            }
            let target = rng.below(count as u64 + 1) as usize;
            match rng.below(18) {
                0..6 => {
                    code.extend([0x0f, 0x80 | rng.below(16) as u8]);
                    branches.push((code.len(), target));
                    code.extend([0; 4]);
                }
                6 => {
                    code.push(0xe9);
                    branches.push((code.len(), target));
                    code.extend([0; 4]);
                }
                7..14 => {
                    code.push(0xe8);
                    branches.push((code.len(), if rng.one_in(3) { target } else { count }));
                    code.extend([0; 4]);
                }
                14 => code.push(0xc3),
                15 => code.extend(rng.pick(&[&[0xff, 0xe0][..], &[0xff, 0x13], &[0xff, 0x66, 8], &[0x0f, 0xa2], &[0xf3, 0xa4]])),
                16 => {
                    addresses.push(go_to_address(rng, &mut code, target));
                }
                _ => {}
            }
        }
        let end = start + code.len();
        let mut page = Box::new([0xf4; PAGE]);
        for (at, target) in branches {
            let to = leaders.get(target).copied().unwrap_or(end);
            let distance = (to as i64 - (start + at + 4) as i64) as i32;
            code[at..][..4].copy_from_slice(&distance.to_le_bytes());
        }
        // A function that is no part of the region.
        if !rng.one_in(8) {
            (0..rng.below(4)).for_each(|_| code.extend(instruction(rng)));
            if rng.one_in(6) {
                // Changes some of the page's code: xor byte [rip + …], and how.
                let at = start as i32 + rng.below(code.len() as u64 + 1) as i32;
                let next = (start + code.len() + 7) as i32;
                code.extend([0x80, 0x35]);
                code.extend((at - next).to_le_bytes());
                code.push(1 << rng.below(8));
            }
            match rng.below(9) {
                0..2 => {
                    let to = rng.pick(&leaders);
                    code.push(0xe9);
                    code.extend((to as i32 - (start + code.len() + 4) as i32).to_le_bytes());
                }
                2 => {
                    let target = rng.below(count as u64) as usize;
                    addresses.push(go_to_address(rng, &mut code, target));
                }
                3 => {
                    // Returns to the same place at the page's other address: xor qword [rsp], …
                    code.extend([0x48, 0x81, 0x34, 0x24]);
                    code.extend(((CODE ^ ALIAS) as u32).to_le_bytes());
                    code.push(0xc3);
                }
                _ => code.push(0xc3),
            }
        }
        for (at, target, page) in addresses {
            let address = page + leaders.get(target).copied().unwrap_or(end) as u64;
            code[at..][..4].copy_from_slice(&(address as u32).to_le_bytes());
        }
        page[start..start + code.len()].copy_from_slice(&code);
        // Sometimes one of them is not known to the profile.
        let known = leaders.iter().filter(|_| !rng.one_in(10)).map(|&leader| leader as u16);
        let mut leaders: BTreeSet<u16> = known.collect();
        if leaders.is_empty() {
            leaders.insert(start as u16);
        }
        Self { page, leaders }
    }
}

/// Ends a block with `mov eax, ADDRESS` and a call or a jump there. Where the address is to stand, the number of the block that it is of, and the page's address.
fn go_to_address(rng: &mut Rng, code: &mut Vec<u8>, target: usize) -> (usize, usize, u64) {
    code.push(0xb8);
    let at = code.len();
    code.extend([0; 4]);
    code.extend([0xff, rng.pick(&[0xd0, 0xe0])]);
    (at, target, rng.pick(&[CODE, ALIAS]))
}

/// A state at an offset in the page, at one of its addresses.
pub fn state(rng: &mut Rng, program: &Program, offset: u16) -> State {
    let mut memory: Vec<u8> = (0..WINDOWS.iter().map(|window| window.1).sum()).map(|_| 0).collect();
    memory[..PAGE].copy_from_slice(&program.page[..]);
    for byte in &mut memory[PAGE..] {
        *byte = if rng.0 & 1 == 0 { rng.next() as u8 } else { 0 };
    }
    let mut registers: [u64; 16] = std::array::from_fn(|_| match rng.below(6) {
        0 => rng.below(16),
        1 => rng.below(256),
        2 => rng.next() as u32 as u64,
        3 => rng.pick(&[0, u64::MAX, 1 << 63, i64::MAX as u64, 0x8000_0000, 0x7fff_ffff]),
        _ => rng.next(),
    });
    for pointer in POINTERS {
        let window = rng.pick(&[DATA, DATA, DATA + 0x1000, READ_ONLY, STACK]);
        let offset = if rng.one_in(4) { rng.pick(&[0xff0, 0xffc, 0xfff, 0]) } else { 0x100 + rng.below(0xd00) };
        registers[usize::from(pointer)] = window + offset;
    }
    let stack = if rng.one_in(12) { READ_ONLY } else { STACK };
    registers[4] = stack + if rng.one_in(8) { rng.pick(&[0, 4, 0xff5, 0xffc, 0x1ffc]) } else { 0x800 + rng.below(0x800) };
    State {
        registers,
        flags: rng.next() & 0x8d5,
        rip: rng.pick(&[CODE, CODE, ALIAS]) + u64::from(offset),
        xmm: std::array::from_fn(|_| rng.next() as u128),
        memory,
    }
}
