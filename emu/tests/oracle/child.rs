//! The process in which the host's CPU runs the cases: it maps the windows, loads a state, catches the exception, reports, and goes on with the next.

use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::mem::{offset_of, zeroed};
use std::ptr;
use std::sync::atomic::Ordering;

use super::host::Shared;
use super::world::*;

/// What `fault` needs, which runs on an empty stack. Of the layout only the first fields matter to the assembly.
#[repr(C)]
struct Globals {
    /// The thread pointer of this program, which a case may change.
    thread: u64,
    /// FS and GS base as the case left them.
    bases: [u64; 2],
    /// Selectors as the case left them.
    segments: [u16; 6],
    shared: *mut Shared,
    line: libc::c_int,
    frame: Frame,
}

/// What `rt_sigreturn` loads.
#[repr(C, align(64))]
struct Frame {
    fx: [u8; 512],
    /// Room for one push below the context.
    scratch: [u64; 2],
    context: libc::ucontext_t,
}

struct Cell(UnsafeCell<Globals>);

// SAFETY: only the child uses it, and the child has one thread.
unsafe impl Sync for Cell {}

// SAFETY: all of it is integers and raw pointers, for which zero is a value.
static GLOBALS: Cell = Cell(UnsafeCell::new(unsafe { zeroed() }));

/// Where the signal handler's stack lies: where no case's RSP goes.
const SIGNAL_STACK: u64 = 0x1a5a_5a5a_0000;
const SIGNAL_STACK_LEN: usize = 0x2_0000;

/// The order of the kernel's register array, by our numbers.
const GREGS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// `uc_flags`: the frame's SS is valid, and is to be loaded as it is.
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;

/// The child's whole life.
///
/// # Safety
/// Only in a freshly forked process, with the parent's shared area and this end of its line.
pub unsafe fn main(shared: *mut Shared, line: libc::c_int) -> ! {
    // SAFETY: a process of its own with one thread: it may map fixed addresses and change its signal handlers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let globals = &mut *GLOBALS.0.get();
        globals.shared = shared;
        globals.line = line;
        const ARCH_GET_FS: u64 = 0x1003;
        libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut globals.thread);
        for start in [CODE, DATA, STACK] {
            map(start, WINDOW, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
        }
        map(READ_ONLY, PAGE, libc::PROT_READ | libc::PROT_WRITE);
        ptr::copy_nonoverlapping(read_only_page().as_ptr(), READ_ONLY as *mut u8, PAGE);
        libc::mprotect(READ_ONLY as *mut libc::c_void, PAGE, libc::PROT_READ);
        map(SIGNAL_STACK, SIGNAL_STACK_LEN, libc::PROT_READ | libc::PROT_WRITE);
        make_ldt();
        let stack = libc::stack_t { ss_sp: SIGNAL_STACK as *mut libc::c_void, ss_flags: 0, ss_size: SIGNAL_STACK_LEN };
        libc::sigaltstack(&stack, ptr::null_mut());
        globals.frame.context.uc_stack = stack;
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigfillset(&mut action.sa_mask);
            libc::sigaction(signal, &action, ptr::null_mut());
        }
        wait_for_batch(globals);
        next_case(globals)
    }
}

/// Maps pages at a fixed address and makes them present, so that an access never faults for the kernel's own reasons.
unsafe fn map(start: u64, len: usize, protection: libc::c_int) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    // SAFETY: NOREPLACE never takes another mapping's place.
    unsafe {
        if libc::mmap(start as *mut libc::c_void, len, protection, flags, -1, 0) == libc::MAP_FAILED {
            libc::_exit(1);
        }
        libc::mlock(start as *mut libc::c_void, len);
    }
}

/// Makes the LDT entries behind [`DATA_LDT`], [`STACK_LDT`] and [`CODE_LDT`].
unsafe fn make_ldt() {
    /// Linux's `struct user_desc`.
    #[repr(C)]
    struct UserDesc {
        entry_number: u32,
        base: u32,
        limit: u32,
        flags: u32,
    }
    /// Bits of `flags`. Without the first a segment is of 16 bits, without the second it is data.
    const BITS32: u32 = 1;
    const CODE_CONTENTS: u32 = 2 << 1;
    const LIMIT_IN_PAGES: u32 = 1 << 4;
    const USEABLE: u32 = 1 << 6;
    let window = WINDOW as u32 - 1;
    let entries = [
        (DATA_LDT, DATA, window, BITS32 | USEABLE),
        (STACK_LDT, STACK, window, USEABLE),
        (CODE_LDT, 0, (CODE / PAGE as u64) as u32, BITS32 | CODE_CONTENTS | LIMIT_IN_PAGES | USEABLE),
    ];
    for (selector, base, limit, flags) in entries {
        let entry = UserDesc { entry_number: u32::from(selector / 8), base: base as u32, limit, flags };
        // SAFETY: reads a local structure of the size that is given.
        unsafe { libc::syscall(libc::SYS_modify_ldt, 0x11, &raw const entry, size_of::<UserDesc>()) };
    }
}

/// Sleeps until the parent has filled the batch.
unsafe fn wait_for_batch(globals: &Globals) {
    let mut byte = 0u8;
    // SAFETY: one byte into a local variable; no parent, no purpose.
    unsafe {
        if libc::read(globals.line, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(0);
        }
    }
}

/// Loads the next case and lets it run. Comes back through [`on_signal`].
unsafe fn next_case(globals: &mut Globals) -> ! {
    // SAFETY: the parent does not touch the shared area while the batch runs; the windows are mapped.
    unsafe {
        let shared = globals.shared;
        while (*shared).at.load(Ordering::Acquire) >= (*shared).count.load(Ordering::Acquire) {
            libc::write(globals.line, [0u8].as_ptr().cast(), 1);
            wait_for_batch(globals);
        }
        let world = &(*shared).worlds[(*shared).at.load(Ordering::Acquire) as usize];
        for (start, window) in world.memory.windows() {
            ptr::copy_nonoverlapping(window.as_ptr(), start as *mut u8, WINDOW);
        }
        let state = &world.state;
        globals.frame.fx = state.fx.to_bytes();
        let context = &mut globals.frame.context;
        context.uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
        let registers = &mut context.uc_mcontext.gregs;
        for (from, to) in state.gpr.iter().zip(GREGS) {
            registers[to as usize] = from.cast_signed();
        }
        registers[libc::REG_RIP as usize] = state.rip.cast_signed();
        registers[libc::REG_EFL as usize] = state.rflags.cast_signed();
        let selectors = u64::from(state.segments[seg::CS]) | u64::from(state.segments[seg::SS]) << 48;
        registers[libc::REG_CSGSFS as usize] = selectors.cast_signed();
        context.uc_mcontext.fpregs = (&raw mut globals.frame.fx).cast();
        enter(&raw const globals.frame.context, state)
    }
}

/// What the assembly loads itself: the flags that `rt_sigreturn` leaves alone, segments and their bases.
///
/// # Safety
/// `context` describes a state that can be entered.
#[unsafe(naked)]
unsafe extern "C" fn enter(context: *const libc::ucontext_t, state: *const State) -> ! {
    naked_asm!(
        "mov rsp, rdi", // 16-byte aligned; rt_sigreturn finds the context here
        "mov rbx, rsi",
        "mov ax, [rbx + {segments} + 0]",
        "mov es, ax",
        "mov ax, [rbx + {segments} + 6]",
        "mov ds, ax",
        // A base without a selector is the kernel's to set, a selector brings its base with it.
        "mov edi, 0x1002", // ARCH_SET_FS
        "mov rsi, [rbx + {fs_base}]",
        "mov eax, 158", // arch_prctl
        "syscall",
        "mov ax, [rbx + {segments} + 8]",
        "test ax, ax",
        "jz 2f",
        "mov fs, ax",
        "2:",
        "mov edi, 0x1001", // ARCH_SET_GS
        "mov rsi, [rbx + {gs_base}]",
        "mov eax, 158",
        "syscall",
        "mov ax, [rbx + {segments} + 10]",
        "test ax, ax",
        "jz 3f",
        "mov gs, ax",
        "3:",
        "mov rax, [rbx + {rflags}]",
        "and eax, {kept}",
        "or eax, 2",
        "push rax",
        "popfq",
        "mov eax, 15", // rt_sigreturn
        "syscall",
        "ud2",
        segments = const offset_of!(State, segments),
        fs_base = const offset_of!(State, fs_base),
        gs_base = const offset_of!(State, gs_base),
        rflags = const offset_of!(State, rflags),
        kept = const flag::ID | flag::NT,
    )
}

/// The signal handler. A case may leave AC set and the thread pointer changed: both are put right before any compiled code runs.
#[unsafe(naked)]
unsafe extern "C" fn on_signal(signal: libc::c_int, info: *const libc::siginfo_t, context: *const libc::ucontext_t) {
    naked_asm!(
        "push 2",
        "popfq",
        "mov rbx, rdx",
        "lea r12, [rip + {globals}]",
        "mov [r12 + {segments} + 0], es",
        "mov [r12 + {segments} + 6], ds",
        "mov [r12 + {segments} + 8], fs",
        "mov [r12 + {segments} + 10], gs",
        "mov edi, 0x1003", // ARCH_GET_FS
        "lea rsi, [r12 + {bases}]",
        "mov eax, 158",
        "syscall",
        "mov edi, 0x1004", // ARCH_GET_GS
        "lea rsi, [r12 + {bases} + 8]",
        "mov eax, 158",
        "syscall",
        "mov edi, 0x1002", // ARCH_SET_FS
        "mov rsi, [r12 + {thread}]",
        "mov eax, 158",
        "syscall",
        "mov rdi, rbx",
        "and rsp, -16",
        "call {stopped}",
        "ud2",
        globals = sym GLOBALS,
        thread = const offset_of!(Globals, thread),
        bases = const offset_of!(Globals, bases),
        segments = const offset_of!(Globals, segments),
        stopped = sym stopped,
    )
}

/// Reports the case that just ended and goes on. The signal stack starts anew with the next signal, so nothing ever returns.
unsafe extern "C" fn stopped(context: *const libc::ucontext_t) -> ! {
    // SAFETY: called by `on_signal` alone, with the kernel's frame; the globals are used by nobody else at this moment.
    unsafe {
        let globals = &mut *GLOBALS.0.get();
        let shared = globals.shared;
        let world = &mut (*shared).worlds[(*shared).at.load(Ordering::Acquire) as usize];
        let registers = &(*context).uc_mcontext.gregs;
        let register = |which: libc::c_int| registers[which as usize].cast_unsigned();
        let state = &mut world.state;
        for (to, from) in state.gpr.iter_mut().zip(GREGS) {
            *to = register(from);
        }
        state.rip = register(libc::REG_RIP);
        state.rflags = register(libc::REG_EFL);
        [state.fs_base, state.gs_base] = globals.bases;
        state.segments = globals.segments;
        let selectors = register(libc::REG_CSGSFS);
        state.segments[seg::CS] = selectors as u16;
        state.segments[seg::SS] = (selectors >> 48) as u16;
        state.fx = Fx::from_bytes(&*(*context).uc_mcontext.fpregs.cast::<[u8; 512]>());
        world.stop =
            CaseExit { vector: register(libc::REG_TRAPNO) as u32, error: register(libc::REG_ERR) as u32, cr2: register(libc::REG_CR2) };
        if world.stop.vector != 14 {
            world.stop.cr2 = 0;
        }
        for (start, window) in world.memory.windows_mut() {
            ptr::copy_nonoverlapping(start as *const u8, window.as_mut_ptr(), WINDOW);
        }
        (*shared).at.fetch_add(1, Ordering::AcqRel);
        next_case(globals)
    }
}
