//! CRC32: checksums of the Castagnoli polynomial.

use super::path::{EffectiveAddress, Path};
use super::row::rows;
use crate::cpu::Word;
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// The polynomial of CRC-32C, its bits reversed, as the instruction takes them.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Remainders of all bytes.
static REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = remainder >> 1 ^ if remainder & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// CRC-32C of `data` after `crc`, without the inversions at start and end.
#[inline(always)]
fn crc32<W: Word>(crc: u32, data: W) -> u32 {
    let bytes = data.zero_extend().to_le_bytes();
    bytes[..W::BYTES as usize].iter().fold(crc, |crc, &byte| crc >> 8 ^ REMAINDERS[usize::from(crc as u8 ^ byte)])
}

fn crc32_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    cx.regs[op.a] = crc32(cx.regs[op.a] as u32, W::read(&cx.regs, op.b)).into();
}

fn crc32_rm<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let data: W = P::load(cx, op.segment, linear)?;
    cx.regs[op.a] = crc32(cx.regs[op.a] as u32, data).into();
    Ok(())
}

rows! {
    Crc32_r32_rm8 => register crc32_rr[u8], memory crc32_rm[u8];
    Crc32_r64_rm8 => register crc32_rr[u8], memory crc32_rm[u8];
    Crc32_r32_rm16 => register crc32_rr[u16], memory crc32_rm[u16];
    Crc32_r32_rm32 => register crc32_rr[u32], memory crc32_rm[u32];
    Crc32_r64_rm64 => register crc32_rr[u64], memory crc32_rm[u64];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_standard_check_string_is_that_of_crc_32c() {
        let bytes = b"123456789".iter().fold(!0, |crc, &byte| crc32(crc, byte));
        assert_eq!(!bytes, 0xe306_9283);
        let word = crc32(!0, u64::from_le_bytes(*b"12345678"));
        assert_eq!(!crc32(word, b'9'), 0xe306_9283);
    }
}
