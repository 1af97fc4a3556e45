//! Where a machine can be saved for copies that are to differ.

use super::VcpuExit;
use crate::cpu::Rflags;
use crate::vcpu::Vcpu;

impl Vcpu {
    /// Whether copies of the machine can be reseeded before any of their programs resumes: the CPU is halted, or in user mode, and takes interrupts. An
    /// interrupt that is raised here is served before a program's next instruction, while a system call that is under way would end with random numbers
    /// that every copy gets.
    pub fn at_safe_point(&self) -> bool {
        let takes_interrupts = self.system_flags & Rflags::IF != 0 && !self.interrupts_blocked;
        takes_interrupts && (self.halted || self.cpl == 3)
    }

    /// Runs on to the next safe point, which may be here, or until `count` reaches `until` or something else stops it.
    ///
    /// Time passes by counts meanwhile. A host that is slow beside its own clock, as one that is traced, would have the guest's timer fire again and again
    /// before the kernel comes back to a program, and how far it is to the safe point would depend on the host.
    pub fn run_to_safe_point(&mut self, until: u64) -> VcpuExit {
        let held = self.time.hold_clock();
        let exit = self.run_on(until, true);
        self.time.release_clock(held);
        exit
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use iced_x86::code_asm::*;

    use super::*;
    use crate::cpu::slot;
    use crate::machine::CpuState;
    use crate::testing::{CODE, STACK, Timer, USER_CODE, USER_STACK, board, long_mode, selector, set_gate, store, store64};
    use crate::vcpu::{Clock, HostClock, Time};

    const TIMER_HANDLER: u64 = CODE + 0x100;
    const SYSTEM_CALL: u64 = CODE + 0x200;

    fn put(cpu: &mut Vcpu, address: u64, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
        let mut assembler = CodeAssembler::new(64).unwrap();
        write(&mut assembler).unwrap();
        store(cpu, address, &assembler.assemble(address).unwrap());
    }

    /// Busy for `rounds`, in `register`.
    fn work(a: &mut CodeAssembler, register: AsmRegister32, rounds: u32) -> Result<(), IcedError> {
        let mut again = a.create_label();
        a.mov(register, rounds)?;
        a.set_label(&mut again)?;
        a.dec(register)?;
        a.jne(again)
    }

    /// A kernel amid its work, on its way back to a program. Its timer takes it 100 instructions. The program makes system calls, of which each works with
    /// interrupts off, and then waits for one or returns.
    fn kernel(clock: Clock, period: u64) -> Vcpu {
        let mut cpu = long_mode();
        cpu.time = Time::new(clock);
        let deadline = cpu.now() + period;
        board(&mut cpu).timer = Some(Timer { period, deadline });
        set_gate(&mut cpu, Timer::VECTOR, TIMER_HANDLER, selector::CODE64, 14, 0, 0);
        cpu.set_rflags(Rflags::IF);
        (cpu.msrs.lstar, cpu.msrs.fmask) = (SYSTEM_CALL, Rflags::IF);
        let frame = [USER_CODE, selector::USER_CODE64.into(), Rflags::IF, USER_STACK, selector::USER_DATA.into()];
        cpu.regs[slot::RSP] = STACK - 8 * frame.len() as u64;
        for (number, value) in (0..).zip(frame) {
            let at = cpu.regs[slot::RSP] + 8 * number;
            store64(&mut cpu, at, value);
        }
        put(&mut cpu, CODE, |a| work(a, ecx, 300).and_then(|()| a.iretq()));
        put(&mut cpu, TIMER_HANDLER, |a| work(a, edx, 50).and_then(|()| a.iretq()));
        put(&mut cpu, SYSTEM_CALL, |a| {
            let mut back = a.create_label();
            work(a, esi, 9)?;
            a.test(eax, 3)?;
            a.jne(back)?;
            a.sti()?;
            a.hlt()?;
            a.cli()?;
            a.set_label(&mut back)?;
            a.sysretq()
        });
        put(&mut cpu, USER_CODE, |a| {
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.inc(eax)?;
            a.pushfq()?;
            a.popfq()?;
            a.syscall()?;
            a.jmp(again)
        });
        cpu
    }

    /// A clock that moves on each time somebody looks.
    struct Jumping {
        step: u64,
        looks: Rc<Cell<u64>>,
    }

    impl HostClock for Jumping {
        fn ticks(&mut self) -> u64 {
            self.looks.set(self.looks.get() + 1);
            self.looks.get() * self.step
        }
    }

    /// On a host that is slow beside its clock: whenever that is looked at, a period of the timer has gone by.
    fn always_due() -> (Vcpu, Rc<Cell<u64>>) {
        let (step, looks) = (10_000, Rc::<Cell<u64>>::default());
        (kernel(Clock::Host(Box::new(Jumping { step, looks: looks.clone() })), step), looks)
    }

    #[test]
    fn a_timer_that_is_always_due_lets_the_guest_run_an_instruction_in_between() {
        let mut cpu = always_due().0;
        assert_eq!((cpu.run(1000), cpu.count()), (VcpuExit::Due, 1000));
        assert!(cpu.retired() > 900, "{} instructions", cpu.retired());
    }

    #[test]
    fn a_timer_that_is_always_due_keeps_no_machine_from_its_safe_point() {
        let (mut cpu, looks) = always_due();
        cpu.run(100);
        assert!(!cpu.at_safe_point());
        let (before, count) = (looks.get(), cpu.count());
        assert_eq!(cpu.run_to_safe_point(count + 100_000), VcpuExit::Due);
        assert!(cpu.at_safe_point() && cpu.cpl == 3, "rip {:#x} after {} counts", cpu.rip, cpu.count() - count);
        assert_eq!(looks.get() - before, 2, "looks at the clock: one before and one behind");
    }

    #[test]
    fn the_guests_time_passes_by_counts_meanwhile_and_never_goes_back() {
        let (mut still, mut fast) = (0, 0);
        for (step, advanced) in [(0, &mut still), (1_000_000, &mut fast)] {
            let mut cpu = kernel(Clock::Host(Box::new(Jumping { step, looks: Rc::default() })), 10_000_000);
            let (before, count) = (cpu.now(), cpu.count());
            cpu.run_to_safe_point(u64::MAX);
            let counts = cpu.count() - count;
            assert!(counts > 600);
            *advanced = cpu.now() - before;
            assert!(*advanced >= counts, "{advanced} ticks in {counts} counts");
        }
        // A host's clock that went further counts: three looks since the first.
        assert_eq!(fast, 3_000_000);
        assert!(still < 1_000_000);
    }

    /// From `count` on, to the first instruction at which the machine is at a safe point.
    fn step_to_safe_point(cpu: &mut Vcpu) {
        while !cpu.at_safe_point() {
            let next = cpu.count() + 1;
            assert_eq!(cpu.run(next), VcpuExit::Due);
        }
    }

    fn from(count: u64) -> Vcpu {
        let mut cpu = kernel(Clock::Virtual, 701);
        while cpu.run(count) == VcpuExit::Halted {
            let deadline = cpu.board().deadline().unwrap();
            cpu.time.skip_to(deadline);
            cpu.board_mut().advance(deadline);
        }
        cpu
    }

    #[test]
    fn a_safe_point_is_the_first_instruction_that_steps_would_find() {
        let (mut halted, mut in_programs, mut further) = (0, 0, 0);
        for count in (0..6000).step_by(53) {
            let (mut cpu, mut stepped) = (from(count), from(count));
            assert_eq!(cpu.run_to_safe_point(u64::MAX), VcpuExit::Due);
            step_to_safe_point(&mut stepped);
            assert_eq!((CpuState::of(&cpu), cpu.count()), (CpuState::of(&stepped), stepped.count()), "from {count}");
            *(if cpu.halted { &mut halted } else { &mut in_programs }) += 1;
            further += u32::from(cpu.count() > count + 1);
        }
        assert!(halted > 5 && in_programs > 5 && further > 30, "{halted}, {in_programs}, {further}");
    }

    #[test]
    fn a_machine_that_comes_to_no_safe_point_stops_where_it_was_to() {
        let mut cpu = kernel(Clock::Virtual, 1 << 40);
        put(&mut cpu, CODE, |a| {
            let mut again = a.create_label();
            a.cli()?;
            a.set_label(&mut again)?;
            a.jmp(again)
        });
        assert_eq!((cpu.run_to_safe_point(5000), cpu.count(), cpu.at_safe_point()), (VcpuExit::Due, 5000, false));
    }
}
