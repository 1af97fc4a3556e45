//! Instructions whose work the host's user mode does not show, and the unit tests that look at it instead.

use iced_x86::{Code, Instruction, Mnemonic as M};

use super::case;
use super::generate;
use super::suite;

/// A file below `src/`, and a test in it.
type Test = (&'static str, &'static str);

const TESTS: &[(&[M], Test)] = &[
    (&[M::Cpuid], ("cpu/cpuid.rs", "x86_64_v2_is_complete_and_avx_is_absent")),
    (&[M::Rdtsc, M::Rdtscp], ("exec/msr.rs", "time_stamp_counts_instructions_within_a_block")),
    (&[M::Rdpmc], ("exec/msr.rs", "performance_counters_do_not_exist")),
    (&[M::Rdmsr, M::Wrmsr], ("exec/msr.rs", "msrs_keep_what_is_written")),
    (&[M::Clts], ("exec/control.rs", "task_switched_flag_raises_nm_until_clts")),
    (&[M::Smsw, M::Lmsw], ("exec/control.rs", "lmsw_does_not_leave_protected_mode")),
    (&[M::Invlpg], ("exec/control.rs", "invlpg_forgets_a_page_of_data_and_of_code")),
    (&[M::Invd, M::Wbinvd], ("exec/control.rs", "halt_and_cache_control_belong_to_the_supervisor")),
    (&[M::Hlt], ("delivery/tests.rs", "interrupt_ends_a_halt")),
    (&[M::Cli, M::Sti], ("exec/flag.rs", "cli_and_sti_ask_for_iopl")),
    (&[M::Clac, M::Stac], ("delivery/tests.rs", "smep_and_smap_keep_the_supervisor_out_of_user_pages")),
    (&[M::In, M::Out], ("exec/port.rs", "ports_are_read_and_written_in_three_sizes")),
    (&[M::Insb, M::Insw, M::Insd], ("exec/port.rs", "input_to_a_page_that_faults_takes_nothing_from_the_device")),
    (&[M::Outsb, M::Outsw, M::Outsd], ("exec/port.rs", "repeated_output_writes_every_element")),
    (&[M::Lgdt, M::Lidt, M::Sgdt, M::Sidt], ("exec/segment.rs", "descriptor_tables_are_stored_as_they_were_loaded")),
    (&[M::Lldt, M::Sldt], ("exec/segment.rs", "ldt_serves_selectors_with_the_table_indicator")),
    (&[M::Ltr, M::Str], ("exec/segment.rs", "ltr_takes_a_64_bit_base_and_marks_the_tss_busy")),
    (&[M::Swapgs], ("exec/segment.rs", "swapgs_exchanges_the_bases_and_belongs_to_the_supervisor")),
    (&[M::Syscall, M::Sysretq], ("exec/syscall.rs", "syscall_and_sysret_go_there_and_back")),
    (&[M::Sysret], ("exec/syscall.rs", "sysret_with_32_bit_operands_goes_to_compatibility_mode")),
    (&[M::Sysenter, M::Sysexit, M::Sysexitq], ("exec/syscall.rs", "sysenter_and_sysexit_go_there_and_back")),
    (&[M::Int], ("delivery/tests.rs", "single_step_does_not_follow_into_a_handler")),
    (&[M::Int1], ("exec/syscall.rs", "int1_needs_no_dpl")),
];

/// Of single instructions.
const TESTS_OF_FORMS: &[(&[Code], Test)] = &[
    (
        &[Code::Mov_cr_r64, Code::Mov_r64_cr, Code::Mov_cr_r32, Code::Mov_r32_cr],
        ("exec/control.rs", "long_mode_is_entered_as_a_loader_does"),
    ),
    (
        &[Code::Mov_dr_r64, Code::Mov_r64_dr, Code::Mov_dr_r32, Code::Mov_r32_dr],
        ("exec/control.rs", "debug_registers_keep_their_fixed_bits"),
    ),
];

/// The unit test of an instruction's work.
pub fn test(code: Code) -> Option<Test> {
    let of_form = TESTS_OF_FORMS.iter().find(|(codes, _)| codes.contains(&code)).map(|(_, test)| *test);
    of_form.or_else(|| TESTS.iter().find(|(mnemonics, _)| mnemonics.contains(&code.mnemonic())).map(|(_, test)| *test))
}

/// The case file with an answer for an instruction.
pub fn answer(code: Code) -> Option<String> {
    let lines = suite::lines().into_iter().filter(|line| line.expected.is_some());
    let mut of_code = lines.filter(|line| case::decode(line.bits, &line.bytes, 0).first().is_some_and(|first| first.code() == code));
    of_code.next().map(|line| format!("tests/ops/{}", line.place.split(':').next().unwrap_or_default()))
}

/// Whether the oracle's cases do not show what an instruction does: there are none, or they end in an exception for want of privilege.
pub fn is_needed(code: Code) -> bool {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    instruction.is_privileged() || code.op_code().is_input_output() || generate::excluded(code).is_some()
}
