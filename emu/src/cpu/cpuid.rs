//! CPUID of the model `pc1-v2/1`: a Nehalem in name, x86-64-v2 in features, with what else the machine implements.
//!
//! Every bit stands for something that works. Registers are in the order EAX, EBX, ECX, EDX.

/// Ticks of the TSC per second.
pub const TSC_HZ: u64 = CRYSTAL_HZ as u64 * TSC_RATIO as u64;
const CRYSTAL_HZ: u32 = 25_000_000;
const TSC_RATIO: u32 = 40;

/// Width of physical addresses; higher bits in paging structures are reserved.
pub const PHYSICAL_BITS: u32 = 39;
const LINEAR_BITS: u32 = 48;

const HIGHEST_BASIC: u32 = 0x16;
const HYPERVISOR: u32 = 0x4000_0000;
const EXTENDED: u32 = 0x8000_0000;
const HIGHEST_EXTENDED: u32 = 0x8000_0008;

/// Family 6, model 26, stepping 5.
const SIGNATURE: u32 = 0x0001_06a5;

const BRAND: &[u8; 48] = b"prebake pc1-v2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const fn bits(list: &[u32]) -> u32 {
    let mut all = 0;
    let mut i = 0;
    while i < list.len() {
        all |= 1 << list[i];
        i += 1;
    }
    all
}

/// Leaf 1, EDX.
const FEATURES_1_EDX: u32 = bits(&[
    0,  // FPU
    2,  // debugging extensions
    3,  // PSE
    4,  // TSC
    5,  // MSR
    6,  // PAE
    8,  // CMPXCHG8B
    9,  // APIC
    11, // SYSENTER
    13, // PGE
    15, // CMOV
    16, // PAT
    19, // CLFLUSH
    23, // MMX
    24, // FXSAVE
    25, // SSE
    26, // SSE2
]);

/// Leaf 1, ECX.
const FEATURES_1_ECX: u32 = bits(&[
    0,  // SSE3
    9,  // SSSE3
    13, // CMPXCHG16B
    19, // SSE4.1
    20, // SSE4.2
    23, // POPCNT
    24, // TSC-deadline
    31, // hypervisor
]);

/// Leaf 7, EBX.
const FEATURES_7_EBX: u32 = bits(&[
    7,  // SMEP
    9,  // ERMS
    13, // the x87 selectors are always 0
    20, // SMAP
]);

/// Leaf 7, EDX.
pub const FEATURES_7_EDX: u32 = bits(&[
    29, // IA32_ARCH_CAPABILITIES
]);

/// Leaf 0x80000001, ECX and EDX.
const EXTENDED_ECX: u32 = bits(&[
    0, // LAHF in 64-bit mode
]);
const EXTENDED_EDX: u32 = bits(&[
    11, // SYSCALL
    20, // NX
    26, // 1 GiB pages
    27, // RDTSCP
    29, // long mode
]);

/// Bytes of a cache line, as CLFLUSH and leaf 4 give them.
const LINE: u32 = 64;

/// One cache of leaf 4: `kind` 1 is data, 2 instructions, 3 both.
const fn cache(kind: u32, level: u32, ways: u32, kibibytes: u32) -> [u32; 4] {
    let sets = kibibytes * 1024 / (LINE * ways);
    let self_initialising = 1 << 8;
    [kind | level << 5 | self_initialising, (LINE - 1) | (ways - 1) << 22, sets - 1, 0]
}

fn text(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What CPUID answers for EAX = `leaf` and ECX = `subleaf`.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    match leaf {
        0 => [HIGHEST_BASIC, text(b"Genu", 0), text(b"ntel", 0), text(b"ineI", 0)],
        1 => [SIGNATURE, (LINE / 8) << 8 | 1 << 16, FEATURES_1_ECX, FEATURES_1_EDX],
        // The one descriptor says: see leaf 4.
        2 => [0xff01, 0, 0, 0],
        4 => match subleaf {
            0 => cache(1, 1, 8, 32),
            1 => cache(2, 1, 4, 32),
            2 => cache(3, 2, 8, 256),
            3 => cache(3, 3, 16, 8192),
            _ => [0; 4],
        },
        // ARAT: the APIC timer runs in every idle state.
        6 => [1 << 2, 0, 0, 0],
        7 if subleaf == 0 => [0, FEATURES_7_EBX, 0, FEATURES_7_EDX],
        0x15 => [1, TSC_RATIO, CRYSTAL_HZ, 0],
        0x16 => [(TSC_HZ / 1_000_000) as u32, (TSC_HZ / 1_000_000) as u32, 100, 0],
        3 | 5 | 7..HIGHEST_BASIC => [0; 4],
        HYPERVISOR => [HYPERVISOR, text(b"preb", 0), text(b"ake ", 0), text(b"pc1\0", 0)],
        EXTENDED => [HIGHEST_EXTENDED, 0, 0, 0],
        0x8000_0001 => [0, 0, EXTENDED_ECX, EXTENDED_EDX],
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            [text(BRAND, at), text(BRAND, at + 4), text(BRAND, at + 8), text(BRAND, at + 12)]
        }
        // 256 KiB of 8 ways (code 6).
        0x8000_0006 => [0, 0, 256 << 16 | 6 << 12 | LINE, 0],
        // Invariant TSC.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [PHYSICAL_BITS | LINEAR_BITS << 8, 0, 0, 0],
        0x8000_0005 => [0; 4],
        // Beyond the highest leaf Intel's processors answer for the highest basic one.
        _ => cpuid(HIGHEST_BASIC, subleaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_reads_genuine_intel() {
        let [_, ebx, ecx, edx] = cpuid(0, 0);
        let name: Vec<u8> = [ebx, edx, ecx].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(name, b"GenuineIntel");
    }

    #[test]
    fn tsc_runs_at_one_gigahertz() {
        let [denominator, numerator, crystal, _] = cpuid(0x15, 0);
        assert_eq!(u64::from(crystal) * u64::from(numerator) / u64::from(denominator), 1_000_000_000);
        assert_eq!(TSC_HZ, 1_000_000_000);
    }

    #[test]
    fn x86_64_v2_is_complete_and_avx_is_absent() {
        let [_, _, ecx, edx] = cpuid(1, 0);
        for bit in [0, 9, 13, 19, 20, 23] {
            assert_ne!(ecx & 1 << bit, 0, "leaf 1 ECX bit {bit}");
        }
        for bit in [0, 8, 15, 23, 24, 25, 26] {
            assert_ne!(edx & 1 << bit, 0, "leaf 1 EDX bit {bit}");
        }
        assert_ne!(cpuid(0x8000_0001, 0)[2] & 1, 0, "LAHF");
        for bit in [26, 27, 28] {
            assert_eq!(ecx & 1 << bit, 0, "XSAVE, OSXSAVE, AVX");
        }
    }

    #[test]
    fn leaves_beyond_the_highest_repeat_the_highest() {
        assert_eq!(cpuid(0x17, 0), cpuid(0x16, 0));
        assert_eq!(cpuid(0x9000_0000, 0), cpuid(0x16, 0));
        assert_eq!(cpuid(0xd, 0), [0; 4]);
    }

    #[test]
    fn caches_have_the_sizes_that_were_meant() {
        let size = |subleaf| {
            let [_, ebx, ecx, _] = cpuid(4, subleaf);
            ((ebx >> 22) + 1) * ((ebx & 0xfff) + 1) * (ecx + 1) / 1024
        };
        assert_eq!([size(0), size(1), size(2), size(3)], [32, 32, 256, 8192]);
        assert_eq!(cpuid(4, 4)[0] & 0x1f, 0);
    }
}
