//! The page walk against a naive one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod naive;

use emu::bus::{Ram, VecBacking};
use emu::cpu::{Control, Cr0, Cr4, Efer};
use emu::mmu::{AccessKind, LinearAccess, walk};
use naive::Found;
use proptest::prelude::*;

const PAGES: u64 = 8;

/// An entry: mostly one that leads on, with any of the bits that matter.
fn entry() -> impl Strategy<Value = u64> {
    let bit = |number: u32, weight: u32| prop::bool::weighted(f64::from(weight) / 16.0).prop_map(move |set| u64::from(set) << number);
    let low = (bit(0, 15), bit(1, 13), bit(2, 13), bit(5, 8), bit(6, 8), bit(7, 3), bit(8, 4));
    let high = (bit(12 + 3, 1), bit(21, 1), bit(30, 1), bit(39, 1), bit(45, 1), bit(51, 1), bit(63, 3));
    (0..PAGES, low, high)
        .prop_map(|(page, (a, b, c, d, e, f, g), (h, i, j, k, l, m, n))| page << 12 | a | b | c | d | e | f | g | h | i | j | k | l | m | n)
}

fn kind() -> impl Strategy<Value = AccessKind> {
    prop::sample::select(vec![AccessKind::Read, AccessKind::Write, AccessKind::Fetch])
}

prop_compose! {
    fn control()(write_protect in any::<bool>(), nxe in any::<bool>(), smep in any::<bool>(), smap in any::<bool>(), pge in any::<bool>()) -> Control {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        Control {
            cr0: Cr0::PE | Cr0::PG | flag(write_protect, Cr0::WP),
            cr3: 0x1000,
            cr4: Cr4::PAE | flag(smep, Cr4::SMEP) | flag(smap, Cr4::SMAP) | flag(pge, Cr4::PGE),
            efer: Efer::LME | Efer::LMA | flag(nxe, Efer::NXE),
            ..Control::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Any tables: the same page, the same rights, the same error code, the same accessed and dirty flags.
    #[test]
    fn any_tables_are_walked_as_the_manual_says(
        entries in prop::collection::vec((0..PAGES, prop::sample::select(vec![0_u64, 1, 255, 511]), entry()), 0..40),
        walks in prop::collection::vec((prop::sample::select(vec![0_u64, 1, 255, 511]), 0..4_usize, kind(), any::<bool>(), any::<bool>()), 1..12),
        control in control(),
    ) {
        let mut model = vec![0; (PAGES << 12) as usize];
        for (page, index, entry) in entries {
            let location = (page << 12 | index << 3) as usize;
            model[location..location + 8].copy_from_slice(&entry.to_le_bytes());
        }
        let mut ram = Ram::new(Box::new(VecBacking::new(model.len()).unwrap()));
        ram.bytes_mut().copy_from_slice(&model);
        for (index, level, kind, user, may_touch_user) in walks {
            // One index is another than the rest.
            let linear = (0..4).fold(0x123, |linear, at| linear | (if at == level { index } else { 0 }) << (12 + 9 * at));
            let access = LinearAccess { kind, user, may_touch_user };
            let wanted = naive::walk(&mut model, &control, linear, access);
            let found = walk(&mut ram, &control, linear, access);
            if let Err(exception) = found {
                prop_assert_eq!(exception.address, linear);
            }
            let found = found.map_err(|exception| exception.error_code.unwrap()).map(|page| Found {
                page: page.address,
                read: page.readable,
                write: page.writable,
                fetch: page.executable,
                dirty: page.dirty,
                global: page.global,
            });
            prop_assert_eq!(found, wanted);
            prop_assert!(ram.bytes() == &model[..], "accessed and dirty flags");
        }
    }
}
