//! Instructions that change nothing: NOP in its many forms, prefetches, fences; and those that exist to raise an exception.

use super::path::{EffectiveAddress, Path};
use super::row::rows;
use super::segment::part;
use crate::cpu::{Exception, Vector, Word};
use crate::decode::Op;
use crate::vcpu::Vcpu;

#[inline(always)]
fn nop(_: &mut Vcpu, _: &Op) {}

/// A memory operand that is not touched.
#[inline(always)]
fn nop_memory<P: Path, E: EffectiveAddress>(_: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    Ok(())
}

/// CLFLUSH is checked as a load is.
fn clflush<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::load::<u8>(cx, op.segment, E::linear(cx, op)).map(drop)
}

fn undefined(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::INVALID_OPCODE)
}

fn undefined_memory<P: Path, E: EffectiveAddress>(_: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    Err(P::raise(Exception::INVALID_OPCODE))
}

fn bound<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    const OUT_OF_RANGE: Exception = Exception { vector: Vector::BoundRange, error_code: None, address: 0 };
    let index = W::read(&cx.regs, op.a).sign_extend();
    // An index below the lower bound is out of range before the upper one is read.
    if index < P::load::<W>(cx, op.segment, part(cx, op, 0))?.sign_extend() {
        return Err(P::raise(OUT_OF_RANGE));
    }
    let upper = P::load::<W>(cx, op.segment, part(cx, op, W::BYTES))?.sign_extend();
    if index > upper { Err(P::raise(OUT_OF_RANGE)) } else { Ok(()) }
}

rows! {
    Nopw => register nop;
    Nopd => register nop;
    Nopq => register nop;
    Nop_rm16 => register nop, memory nop_memory;
    Nop_rm32 => register nop, memory nop_memory;
    Nop_rm64 => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F0D => register nop;
    Reservednop_rm32_r32_0F0D => register nop;
    Reservednop_rm64_r64_0F0D => register nop;
    Reservednop_rm16_r16_0F18 => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F18 => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F18 => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F19 => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F19 => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F19 => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1A => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1A => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1A => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1B => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1B => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1B => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1C => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1C => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1C => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1D => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1D => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1D => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1E => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1E => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1E => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1F => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1F => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1F => register nop, memory nop_memory;
    Pause => register nop;
    Endbr32 => register nop;
    Endbr64 => register nop;
    Rdsspd_r32 => register nop;
    Rdsspq_r64 => register nop;
    Cldemote_m8 => memory nop_memory;
    Prefetch_m8 => memory nop_memory;
    Prefetchw_m8 => memory nop_memory;
    Prefetchwt1_m8 => memory nop_memory;
    Prefetchnta_m8 => memory nop_memory;
    Prefetcht0_m8 => memory nop_memory;
    Prefetcht1_m8 => memory nop_memory;
    Prefetcht2_m8 => memory nop_memory;
    Prefetchreserved3_m8 => memory nop_memory;
    Prefetchreserved4_m8 => memory nop_memory;
    Prefetchreserved5_m8 => memory nop_memory;
    Prefetchreserved6_m8 => memory nop_memory;
    Prefetchreserved7_m8 => memory nop_memory;
    Prefetchit0_m8 => memory nop_memory;
    Prefetchit1_m8 => memory nop_memory;
    Clflush_m8 => memory clflush;
    Lfence => register nop;
    Lfence_E9 => register nop;
    Lfence_EA => register nop;
    Lfence_EB => register nop;
    Lfence_EC => register nop;
    Lfence_ED => register nop;
    Lfence_EE => register nop;
    Lfence_EF => register nop;
    Mfence => register nop;
    Mfence_F1 => register nop;
    Mfence_F2 => register nop;
    Mfence_F3 => register nop;
    Mfence_F4 => register nop;
    Mfence_F5 => register nop;
    Mfence_F6 => register nop;
    Mfence_F7 => register nop;
    Sfence => register nop;
    Sfence_F9 => register nop;
    Sfence_FA => register nop;
    Sfence_FB => register nop;
    Sfence_FC => register nop;
    Sfence_FD => register nop;
    Sfence_FE => register nop;
    Sfence_FF => register nop;
    Ud0_r16_rm16 => register undefined, memory undefined_memory;
    Ud0_r32_rm32 => register undefined, memory undefined_memory;
    Ud0_r64_rm64 => register undefined, memory undefined_memory;
    Ud1_r16_rm16 => register undefined, memory undefined_memory;
    Ud1_r32_rm32 => register undefined, memory undefined_memory;
    Ud1_r64_rm64 => register undefined, memory undefined_memory;
    Ud2 => register undefined;
    Bound_r16_m1616 => memory bound[u16];
    Bound_r32_m3232 => memory bound[u32];
}

#[cfg(test)]
mod tests {
    use crate::cpu::slot;
    use crate::testing::*;

    #[test]
    fn hints_change_nothing() {
        let hints: &[&[u8]] = &[
            &[0x90],
            &[0xf3, 0x90],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0xc0],
            &[0xf3, 0x0f, 0x1e, 0xfa],
            &[0xf3, 0x0f, 0x1e, 0xfb],
            &[0xf3, 0x48, 0x0f, 0x1e, 0xc8],
            &[0x0f, 0x18, 0x08],
            &[0x0f, 0x0d, 0x08],
            &[0x0f, 0x1a, 0xc0],
            &[0x0f, 0x1c, 0x00],
            &[0x0f, 0xae, 0xe8],
            &[0x0f, 0xae, 0xf0],
            &[0x0f, 0xae, 0xf8],
        ];
        for hint in hints {
            let mut cx = long_mode();
            // RAX leads nowhere: a hint does not touch its operand.
            cx.regs[slot::RAX] = 0x7000_0000;
            let before = cx.regs.general();
            expect_halt(&mut cx, &[hint, &[0xf4][..]].concat());
            assert_eq!(cx.regs.general(), before, "{hint:x?}");
        }
    }

    #[test]
    fn cache_line_flush_faults_as_a_load_does() {
        let mut cx = long_mode();
        cx.regs[slot::RBX] = 0x7000_0000;
        expect_vector(&mut cx, &[0x0f, 0xae, 0x3b], 14);
        assert_eq!(frame::<1>(&cx), [0]);
    }

    #[test]
    fn undefined_instructions_raise_ud() {
        for code in [&[0x0f, 0x0b][..], &[0x0f, 0xb9, 0x00], &[0x0f, 0xff, 0xc0], &[0x0f, 0x01, 0xc8], &[0x0f, 0xaa]] {
            let mut cx = long_mode();
            cx.regs[slot::RAX] = 0x7000_0000;
            expect_vector(&mut cx, code, 6);
            assert_eq!(frame::<1>(&cx), [CODE]);
        }
    }

    #[test]
    fn bound_compares_signed_with_both_ends() {
        for (index, vector) in [(-5i32, 6), (7, 6), (-6, 5), (8, 5)] {
            let mut cx = protected_mode();
            store64(&mut cx, DATA, 7 << 32 | u64::from(-5i32 as u32));
            cx.regs[slot::RBX] = DATA;
            cx.regs[slot::RAX] = u64::from(index as u32);
            // BOUND EAX, [EBX]; UD2
            expect_vector(&mut cx, &[0x62, 0x03, 0x0f, 0x0b], vector);
        }
    }
}
