//! Moves between vector registers, general registers and memory.

use super::lanes::{Lane, Vector};
use super::{load_aligned, mmx, store_aligned};
use crate::cpu::{Datum, Exception, Word, slot};
use crate::decode::{AddressMode, Op};
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

type Xmm = [u64; 2];
type Mm = [u64; 1];

/// Register, register: all of it.
fn copy<V: Vector>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    V::read(cx, op.b).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Register, memory.
fn load<V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let linear = E::linear(cx, op);
    P::load::<V>(cx, op.segment, linear)?.write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Ends a store. One of an MMX register that faults has all the same made MM0 the top of the x87's stack.
#[inline(always)]
fn stored<V: Vector, P: Path>(cx: &mut Vcpu, result: Result<(), P::Error>) -> Result<(), P::Error> {
    match &result {
        Ok(()) => V::end(cx),
        Err(error) if V::BYTES == 8 && P::is_seen(error) => cx.fpu.top = 0,
        Err(_) => {}
    }
    result
}

/// Memory, register.
fn store<V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let linear = E::linear(cx, op);
    let result = P::store(cx, op.segment, linear, V::read(cx, op.a));
    stored::<V, P>(cx, result)
}

/// Register, aligned memory.
fn load_whole<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    load_aligned::<Xmm, P, E>(cx, op)?.write(cx, op.a);
    Ok(())
}

/// Aligned memory, register.
fn store_whole<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = Xmm::read(cx, op.a);
    store_aligned::<Xmm, P, E>(cx, op, value)
}

/// The lane that holds `value`, the others 0.
#[inline(always)]
fn alone<V: Vector>(value: V::Lane) -> V {
    let mut vector = V::default();
    vector.as_mut()[0] = value;
    vector
}

/// Register, register: the lowest lane, the others stay.
fn merge_low<V: Vector>(cx: &mut Vcpu, op: &Op) {
    let mut result = V::read(cx, op.a);
    result.as_mut()[0] = V::read(cx, op.b).as_ref()[0];
    result.write(cx, op.a);
}

/// Register, register: the lowest lane, the others become 0.
fn copy_low<V: Vector>(cx: &mut Vcpu, op: &Op) {
    alone::<V>(V::read(cx, op.b).as_ref()[0]).write(cx, op.a);
}

/// Register, memory: the lowest lane, the others become 0.
fn load_low<V: Vector<Lane: Word>, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let linear = E::linear(cx, op);
    alone::<V>(P::load(cx, op.segment, linear)?).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Memory, register: the lowest lane.
fn store_low<V: Vector<Lane: Word>, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let linear = E::linear(cx, op);
    let result = P::store(cx, op.segment, linear, V::read(cx, op.a).as_ref()[0]);
    stored::<V, P>(cx, result)
}

/// Vector register, general register: the lowest lane, the others become 0.
fn from_general<V: Vector<Lane: Word>>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    alone::<V>(<V::Lane as Word>::read(&cx.regs, op.b)).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// General register, vector register: the lowest lane.
fn to_general<V: Vector<Lane: Word>>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    Word::write(V::read(cx, op.b).as_ref()[0], &mut cx.regs, op.a);
    V::end(cx);
    Ok(())
}

/// Memory, general register: MOVNTI.
fn store_general<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    P::store(cx, op.segment, linear, W::read(&cx.regs, op.a))
}

fn load_half<const HALF: usize, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let mut result = Xmm::read(cx, op.a);
    result[HALF] = P::load(cx, op.segment, linear)?;
    result.write(cx, op.a);
    Ok(())
}

fn load_low_half<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    load_half::<0, P, E>(cx, op)
}

fn load_high_half<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    load_half::<1, P, E>(cx, op)
}

fn store_high_half<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    P::store(cx, op.segment, linear, Xmm::read(cx, op.a)[1])
}

fn movhlps(cx: &mut Vcpu, op: &Op) {
    [Xmm::read(cx, op.b)[1], Xmm::read(cx, op.a)[1]].write(cx, op.a);
}

fn movlhps(cx: &mut Vcpu, op: &Op) {
    [Xmm::read(cx, op.a)[0], Xmm::read(cx, op.b)[0]].write(cx, op.a);
}

fn movq2dq(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    mmx::begin(cx)?;
    [Mm::read(cx, op.b)[0], 0].write(cx, op.a);
    mmx::end(cx);
    Ok(())
}

fn movdq2q(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    mmx::begin(cx)?;
    [Xmm::read(cx, op.b)[0]].write(cx, op.a);
    mmx::end(cx);
    Ok(())
}

/// The destination of MASKMOVQ and MASKMOVDQU: quadwords that are aligned as such.
#[derive(Clone, Copy, Default)]
struct Quadwords<V>(V);

impl<V: Datum> Datum for Quadwords<V> {
    const BYTES: u64 = V::BYTES;
    const ALIGNMENT: u64 = 8;
    fn from_u128(value: u128) -> Self {
        Self(V::from_u128(value))
    }
    fn to_u128(self) -> u128 {
        self.0.to_u128()
    }
    unsafe fn load(pointer: *const u8) -> Self {
        // SAFETY: the caller vouches for the pointer.
        Self(unsafe { V::load(pointer) })
    }
    unsafe fn store(self, pointer: *mut u8) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { self.0.store(pointer) }
    }
}

/// MASKMOVQ, MASKMOVDQU: bytes of the first register to DS:RDI where the second has its top bit set.
// Not inlined: a handler with locals in memory would not end in a jump.
#[inline(never)]
fn maskmov<V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let offset = cx.regs[slot::RDI] & AddressMode::offset_mask(op.scale);
    let linear = cx.regs[op.segment].wrapping_add(offset) & AddressMode::linear_mask(op.scale);
    let (value, mask) = (V::read(cx, op.a), V::read(cx, op.b));
    P::modify::<Quadwords<V>, _>(cx, op.segment, linear, |Quadwords(mut result)| {
        let lanes = value.as_ref().iter().zip(mask.as_ref());
        for (target, (&byte, &mask)) in result.as_mut().iter_mut().zip(lanes) {
            if mask.shift_right(7) != V::Lane::default() {
                *target = byte;
            }
        }
        (Quadwords(result), ())
    })?;
    V::end(cx);
    Ok(())
}

rows! {
    Movaps_xmm_xmmm128 => register copy[Xmm], memory load_whole;
    Movaps_xmmm128_xmm => register copy[Xmm], memory store_whole;
    Movapd_xmm_xmmm128 => register copy[Xmm], memory load_whole;
    Movapd_xmmm128_xmm => register copy[Xmm], memory store_whole;
    Movdqa_xmm_xmmm128 => register copy[Xmm], memory load_whole;
    Movdqa_xmmm128_xmm => register copy[Xmm], memory store_whole;
    Movups_xmm_xmmm128 => register copy[Xmm], memory load[Xmm];
    Movups_xmmm128_xmm => register copy[Xmm], memory store[Xmm];
    Movupd_xmm_xmmm128 => register copy[Xmm], memory load[Xmm];
    Movupd_xmmm128_xmm => register copy[Xmm], memory store[Xmm];
    Movdqu_xmm_xmmm128 => register copy[Xmm], memory load[Xmm];
    Movdqu_xmmm128_xmm => register copy[Xmm], memory store[Xmm];
    Lddqu_xmm_m128 => memory load[Xmm];
    Movntdqa_xmm_m128 => memory load_whole;
    Movntdq_m128_xmm => memory store_whole;
    Movntps_m128_xmm => memory store_whole;
    Movntpd_m128_xmm => memory store_whole;
    Movntq_m64_mm => memory store[Mm];
    Movnti_m32_r32 => memory store_general[u32];
    Movnti_m64_r64 => memory store_general[u64];
    Movq_mm_mmm64 => register copy[Mm], memory load[Mm];
    Movq_mmm64_mm => register copy[Mm], memory store[Mm];
    Movq_xmm_xmmm64 => register copy_low[Xmm], memory load_low[Xmm];
    Movq_xmmm64_xmm => register copy_low[Xmm], memory store_low[Xmm];
    Movd_xmm_rm32 => register from_general[[u32; 4]], memory load_low[[u32; 4]];
    Movd_rm32_xmm => register to_general[[u32; 4]], memory store_low[[u32; 4]];
    Movq_xmm_rm64 => register from_general[Xmm], memory load_low[Xmm];
    Movq_rm64_xmm => register to_general[Xmm], memory store_low[Xmm];
    Movd_mm_rm32 => register from_general[[u32; 2]], memory load_low[[u32; 2]];
    Movd_rm32_mm => register to_general[[u32; 2]], memory store_low[[u32; 2]];
    Movq_mm_rm64 => register from_general[Mm], memory load_low[Mm];
    Movq_rm64_mm => register to_general[Mm], memory store_low[Mm];
    Movss_xmm_xmmm32 => register merge_low[[u32; 4]], memory load_low[[u32; 4]];
    Movss_xmmm32_xmm => register merge_low[[u32; 4]], memory store_low[[u32; 4]];
    Movsd_xmm_xmmm64 => register merge_low[Xmm], memory load_low[Xmm];
    Movsd_xmmm64_xmm => register merge_low[Xmm], memory store_low[Xmm];
    Movlps_xmm_m64 => memory load_low_half;
    Movlps_m64_xmm => memory store_low[Xmm];
    Movlpd_xmm_m64 => memory load_low_half;
    Movlpd_m64_xmm => memory store_low[Xmm];
    Movhps_xmm_m64 => memory load_high_half;
    Movhps_m64_xmm => memory store_high_half;
    Movhpd_xmm_m64 => memory load_high_half;
    Movhpd_m64_xmm => memory store_high_half;
    Movhlps_xmm_xmm => register movhlps;
    Movlhps_xmm_xmm => register movlhps;
    Movq2dq_xmm_mm => register movq2dq;
    Movdq2q_mm_xmm => register movdq2q;
    Maskmovq_rDI_mm_mm => stack maskmov[[u8; 8]];
    Maskmovdqu_rDI_xmm_xmm => stack maskmov[[u8; 16]];
}
