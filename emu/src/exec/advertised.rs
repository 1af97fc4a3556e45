//! CPUID against the table of handlers.

use iced_x86::{Code, CpuidFeature, OpCodeOperandKind as Kind};

use super::implements;

/// The features whose instructions must all be implemented: the base of x86-64, and what CPUID advertises.
fn is_advertised(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    matches!(
        feature,
        INTEL8086
            | INTEL186
            | INTEL286
            | INTEL386
            | INTEL486
            | X64
            | CPUID
            | FPU
            | FPU287
            | FPU387
            | MULTIBYTENOP
            | PAUSE
            | TSC
            | MSR
            | RDPMC
            | CX8
            | SEP
            | CMOV
            | CLFSH
            | MMX
            | FXSR
            | SSE
            | SSE2
            | SSE3
            | SSSE3
            | CMPXCHG16B
            | SSE4_1
            | SSE4_2
            | POPCNT
            | SMAP
            | SYSCALL
            | RDTSCP
    )
}

/// What a decoder of this CPU's code never gives.
fn is_never_decoded(code: Code) -> bool {
    use Code::*;
    let no_instruction = matches!(code, INVALID | DeclareByte | DeclareWord | DeclareDword | DeclareQword | Zero_bytes);
    // An assembler's names for FWAIT and another instruction.
    let two = matches!(code, Fstenv_m14byte | Fstenv_m28byte | Fsave_m94byte | Fsave_m108byte | Fstcw_m2byte | Fstsw_m2byte)
        || matches!(code, Fstsw_AX | Fclex | Finit | Feni | Fdisi | Fsetpm);
    // Intel's processors ignore the operand-size prefix of branches in 64-bit code, and read a ModRM byte with UD0; the 8086 knew POP CS.
    let others = matches!(code, Jrcxz_rel8_16 | Loop_rel8_16_RCX | Loope_rel8_16_RCX | Loopne_rel8_16_RCX | Ud0 | Popw_CS);
    no_instruction || two || others
}

/// Whether an instruction has a form without and one with a memory operand. The implied operands of string instructions count as none.
fn forms(code: Code) -> [bool; 2] {
    // The memory form of these encodings is a prefetch.
    let register_only = matches!(code, Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D);
    let both = code.op_code().op_kinds().iter().any(|kind| {
        use Kind::*;
        matches!(kind, r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | mm_or_mem | xmm_or_mem)
    });
    let memory = code.op_code().op_kinds().iter().any(|kind| matches!(kind, Kind::mem | Kind::mem_offs | Kind::seg_rBX_al));
    [both || !memory, (both || memory) && !register_only]
}

#[test]
fn every_instruction_that_cpuid_advertises_has_a_handler() {
    let mut gaps = Vec::new();
    for code in Code::values() {
        if is_never_decoded(code) || !code.cpuid_features().iter().all(|&feature| is_advertised(feature)) {
            continue;
        }
        for (exists, memory) in forms(code).into_iter().zip([false, true]) {
            if exists && !implements(code, memory) {
                gaps.push(format!("{code:?}{}", if memory { " with memory" } else { "" }));
            }
        }
    }
    assert!(gaps.is_empty(), "{} forms: {}", gaps.len(), gaps.join(", "));
}
