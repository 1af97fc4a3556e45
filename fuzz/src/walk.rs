//! Any page tables: the walk does what a naive one does.

use crate::input::Input;
use emu::bus::{Ram, VecBacking};
use emu::cpu::{Control, Cr0, Cr4, Efer};
use emu::mmu::{AccessKind, LinearAccess, walk};
use naive::Found;

#[path = "../../emu/tests/walk/naive.rs"]
#[allow(missing_docs, reason = "not of this crate")]
mod naive;

const PAGES: usize = 8;
const INDICES: [u64; 8] = [0, 1, 2, 3, 255, 256, 510, 511];

/// Control bits, up to 63 entries, then walks to the end.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let bits = input.u8();
    let flag = |number: u8, bit: u64| if bits >> number & 1 != 0 { bit } else { 0 };
    let control = Control {
        // Without paging in one case of many.
        cr0: Cr0::PE | flag(0, Cr0::WP) | if bits == 0xff { 0 } else { Cr0::PG },
        cr3: u64::from(input.u8() % 9) << 12 | u64::from(bits & 0x18),
        cr4: Cr4::PAE | flag(1, Cr4::SMEP) | flag(2, Cr4::SMAP) | flag(3, Cr4::PGE),
        efer: Efer::LME | Efer::LMA | flag(4, Efer::NXE),
        ..Control::default()
    };
    let mut model = vec![0; PAGES << 12];
    for _ in 0..input.u8() & 63 {
        let (page, index) = (input.below(PAGES), input.pick(&INDICES));
        // The first byte leads to RAM, mostly; the rest are the flags, as they stand, and any high bits.
        let frame = u64::from(input.u8() & 15) << 12;
        let flags = u64::from(input.u16());
        let high = match input.u8() {
            0..=0xbf => 0,
            shift => 1 << (shift & 63),
        };
        let entry = frame | flags | high;
        let location = page << 12 | (index as usize) << 3;
        model[location..location + 8].copy_from_slice(&entry.to_le_bytes());
    }
    let Some(backing) = VecBacking::new(model.len()) else { return };
    let mut ram = Ram::new(Box::new(backing));
    ram.bytes_mut().copy_from_slice(&model);
    while !input.is_empty() {
        let how = input.u8();
        let linear = (0..4).fold(0, |linear, _| linear << 9 | input.pick(&INDICES)) << 12 | u64::from(input.u8()) << 4;
        let kind = [AccessKind::Read, AccessKind::Write, AccessKind::Fetch][usize::from(how) % 3];
        let access = LinearAccess { kind, user: how & 0x40 != 0, may_touch_user: how & 0x80 != 0 };
        let wanted = naive::walk(&mut model, &control, linear, access);
        let found = walk(&mut ram, &control, linear, access);
        let found = found.map_err(|exception| {
            assert_eq!(exception.address, linear, "CR2");
            exception.error_code.unwrap()
        });
        let found = found.map(|page| Found {
            page: page.address,
            read: page.readable,
            write: page.writable,
            fetch: page.executable,
            dirty: page.dirty,
            global: page.global,
        });
        assert_eq!(found, wanted, "{access:?} at {linear:#x} under {control:x?}");
    }
    assert!(ram.bytes() == &model[..], "accessed and dirty flags");
}
