//! Control and state: LDMXCSR, STMXCSR, FXSAVE, FXRSTOR, EMMS.

use super::mmx;
use crate::cpu::{CodeSize, Exception, Fpu};
use crate::decode::Op;
use crate::exec::float::{ControlWord, Flags, Mxcsr};
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// The value of MXCSR, unless a reserved bit is set.
fn mxcsr(bits: u32) -> Result<u32, Exception> {
    if bits & !Mxcsr::WRITABLE == 0 { Ok(bits) } else { Err(Exception::GP0) }
}

fn ldmxcsr<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_sse().map_err(P::raise)?;
    let linear = E::linear(cx, op);
    let bits = P::load(cx, op.segment, linear)?;
    cx.fpu.mxcsr = mxcsr(bits).map_err(P::raise)?;
    Ok(())
}

fn stmxcsr<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_sse().map_err(P::raise)?;
    let linear = E::linear(cx, op);
    P::store(cx, op.segment, linear, cx.fpu.mxcsr)
}

fn emms(cx: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    cx.check_mmx()?;
    mmx::begin(cx)?;
    cx.fpu.top = 0;
    cx.fpu.valid = 0;
    Ok(())
}

/// The part of an FXSAVE image that is written and read (SDM Vol. 1, 10.5.1), as little-endian numbers: the control area in two, then
/// ST(0) to ST(7), then XMM0 to XMM15.
type FxsaveArea = [u128; IMAGE];
const IMAGE: usize = 26;
/// Bytes of the whole area, the reserved ones included.
const AREA: u64 = 512;
const STACK: usize = 2;
const XMM: usize = 10;

/// FXSAVE64 and FXRSTOR64 keep 64-bit pointers; the other forms 32-bit ones, with selectors that the CPU no longer knows.
fn pointer(wide: bool, value: u64) -> u64 {
    if wide { value } else { value & 0xffff_ffff }
}

fn save(fpu: &Fpu, wide: bool) -> FxsaveArea {
    let mut image = [0; IMAGE];
    image[0] = u128::from(fpu.control)
        | u128::from(fpu.status_word()) << 16
        | u128::from(fpu.valid) << 32
        | u128::from(fpu.opcode) << 48
        | u128::from(pointer(wide, fpu.instruction)) << 64;
    image[1] = u128::from(pointer(wide, fpu.data)) | u128::from(fpu.mxcsr) << 64 | u128::from(Mxcsr::WRITABLE) << 96;
    for (i, register) in image[STACK..XMM].iter_mut().enumerate() {
        let physical = (usize::from(fpu.top) + i) % 8;
        *register = u128::from(fpu.mantissa[physical]) | u128::from(fpu.exponent[physical]) << 64;
    }
    image[XMM..].copy_from_slice(&fpu.xmm);
    image
}

/// Fails before anything is changed.
fn restore(fpu: &mut Fpu, image: &FxsaveArea, registers: usize, wide: bool) -> Result<(), Exception> {
    fpu.mxcsr = mxcsr((image[1] >> 64) as u32)?;
    fpu.control = ControlWord::from_bits(image[0] as u16).bits();
    let status = (image[0] >> 16) as u16 & !mmx::ERROR_SUMMARY_AND_BUSY;
    let unmasked = status & !fpu.control & Flags::EXCEPTIONS.bits() != 0;
    fpu.set_status_word(if unmasked { status | mmx::ERROR_SUMMARY_AND_BUSY } else { status });
    fpu.valid = (image[0] >> 32) as u8;
    fpu.opcode = (image[0] >> 48) as u16 & 0x7ff;
    fpu.instruction = pointer(wide, (image[0] >> 64) as u64);
    fpu.data = pointer(wide, image[1] as u64);
    for (i, register) in image[STACK..XMM].iter().enumerate() {
        let physical = (usize::from(fpu.top) + i) % 8;
        fpu.mantissa[physical] = *register as u64;
        fpu.exponent[physical] = (register >> 64) as u16;
    }
    fpu.xmm[..registers].copy_from_slice(&image[XMM..XMM + registers]);
    Ok(())
}

/// Linear address of an image, and how many XMM registers it has.
#[inline(always)]
fn locate<P: Path, E: EffectiveAddress>(cx: &Vcpu, op: &Op) -> Result<(u64, usize), P::Error> {
    cx.check_x87().map_err(P::raise)?;
    let linear = E::linear(cx, op);
    if !linear.is_multiple_of(16) {
        return Err(P::raise(Exception::GP0));
    }
    Ok((linear, if cx.code_size == CodeSize::Bits64 { 16 } else { 8 }))
}

// Not inlined: a handler with locals in memory would not end in a jump.
#[inline(never)]
fn fxsave_image<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op, wide: bool) -> Result<(), P::Error> {
    let (linear, registers) = locate::<P, E>(cx, op)?;
    let image = save(&cx.fpu, wide);
    // Nothing is written unless all of the area may be.
    P::modify::<u128, _>(cx, op.segment, linear.wrapping_add(AREA - 16), |value| (value, ()))?;
    for (i, value) in image[..XMM + registers].iter().enumerate() {
        P::store(cx, op.segment, linear.wrapping_add(16 * i as u64), *value)?;
    }
    Ok(())
}

// Not inlined: a handler with locals in memory would not end in a jump.
#[inline(never)]
fn fxrstor_image<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op, wide: bool) -> Result<(), P::Error> {
    let (linear, registers) = locate::<P, E>(cx, op)?;
    // The reserved bytes at the end are not used, but they must be there.
    P::load::<u128>(cx, op.segment, linear.wrapping_add(AREA - 16))?;
    let mut image = [0; IMAGE];
    for (i, value) in image[..XMM + registers].iter_mut().enumerate() {
        *value = P::load(cx, op.segment, linear.wrapping_add(16 * i as u64))?;
    }
    restore(&mut cx.fpu, &image, registers, wide).map_err(P::raise)
}

fn fxsave<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    fxsave_image::<P, E>(cx, op, false)
}

fn fxsave64<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    fxsave_image::<P, E>(cx, op, true)
}

fn fxrstor<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    fxrstor_image::<P, E>(cx, op, false)
}

fn fxrstor64<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    fxrstor_image::<P, E>(cx, op, true)
}

rows! {
    Ldmxcsr_m32 => memory ldmxcsr;
    Stmxcsr_m32 => memory stmxcsr;
    Fxsave_m512byte => memory fxsave;
    Fxsave64_m512byte => memory fxsave64;
    Fxrstor_m512byte => memory fxrstor;
    Fxrstor64_m512byte => memory fxrstor64;
    Emms => register emms;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Fpu {
        let mut fpu = Fpu { control: 0x37e, top: 5, valid: 0xa5, opcode: 0x512, mxcsr: 0x9fc0, ..Fpu::default() };
        fpu.instruction = 0x1234_5678_9abc;
        fpu.data = 0xfedc_ba98_7654;
        fpu.mantissa = std::array::from_fn(|i| 0x1111 * (i as u64 + 1));
        fpu.exponent = std::array::from_fn(|i| 0x100 + i as u16);
        fpu.xmm = std::array::from_fn(|i| 0x0123_4567 << i);
        fpu
    }

    #[test]
    fn an_image_has_everything_in_its_place() {
        let bytes: Vec<u8> = save(&filled(), true).iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(bytes.len(), 416);
        assert_eq!(bytes[..8], [0x7e, 3, 0, 5 << 3, 0xa5, 0, 0x12, 5]);
        assert_eq!(bytes[8..16], 0x1234_5678_9abc_u64.to_le_bytes());
        assert_eq!(bytes[16..24], 0xfedc_ba98_7654_u64.to_le_bytes());
        assert_eq!(bytes[24..32], [0xc0, 0x9f, 0, 0, 0xff, 0xff, 0, 0]);
        // ST(0) is physical register 5.
        assert_eq!(bytes[32..48], [0x66, 0x66, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[160..164], [0x67, 0x45, 0x23, 0x01]);
    }

    #[test]
    fn an_image_restores_what_was_saved() {
        let fpu = filled();
        let mut other = Fpu::default();
        restore(&mut other, &save(&fpu, true), 16, true).unwrap();
        assert_eq!(other, fpu);
    }

    #[test]
    fn short_forms_cut_pointers_and_keep_upper_registers() {
        let fpu = filled();
        let mut other = Fpu::default();
        restore(&mut other, &save(&fpu, false), 8, false).unwrap();
        assert_eq!((other.instruction, other.data), (0x5678_9abc, 0xba98_7654));
        assert_eq!((other.xmm[7], other.xmm[8]), (fpu.xmm[7], 0));
    }

    #[test]
    fn a_reserved_bit_of_mxcsr_changes_nothing() {
        let mut image = save(&filled(), true);
        image[1] |= 1 << 80;
        let mut fpu = Fpu::default();
        assert_eq!(restore(&mut fpu, &image, 16, true), Err(Exception::GP0));
        assert_eq!(fpu, Fpu::default());
    }

    #[test]
    fn the_error_summary_is_worked_out_anew() {
        let mut fpu = Fpu::default();
        let mut image = save(&Fpu { control: 0x37e, status: 1, ..Fpu::default() }, true);
        restore(&mut fpu, &image, 16, true).unwrap();
        assert_eq!(fpu.status, 0x8081);
        image = save(&Fpu { control: 0x37f, status: 0x8081, ..Fpu::default() }, true);
        restore(&mut fpu, &image, 16, true).unwrap();
        assert_eq!(fpu.status, 1);
    }
}
