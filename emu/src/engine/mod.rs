//! The loop around the dispatcher: finds or builds the block that is wanted, delivers what is due between blocks.

#[cfg(test)]
mod absent_tests;
mod build;
#[cfg(test)]
mod code_tests;
#[cfg(test)]
mod debug_tests;
mod safe_point;
#[cfg(test)]
mod tests;

use crate::bus::PAGE_SIZE;
use crate::cache::{Block, BlockKey, Cache, Limits, Link, MAX_BLOCK, Slot};
use crate::cpu::breakpoint::STEPPED;
use crate::cpu::{CodeSize, Exception, LazyFlags, Rflags, SegmentName, is_canonical, slot};
use crate::decode::{Mode, Op, Opcode};
use crate::delivery::{self, Undelivered};
use crate::exec::enter;
use crate::vcpu::{ExitReason, Vcpu};
use devices::platform::{GuestMemory, Presence};

/// Why [`Vcpu::run`] returned. The CPU stands at an instruction boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VcpuExit {
    /// The count that was asked for is reached.
    Due,
    /// HLT, and no interrupt is pending.
    Halted,
    /// The board asked for it.
    Board,
    /// A fault while delivering a double fault (SDM Vol. 3, 6.15): only a reset would help.
    Shutdown,
    /// The next instruction is one that a debugger wants to stop before.
    Breakpoint,
    /// Memory could not be brought in: the instruction that is next needs it, and has changed nothing.
    Unavailable,
}

impl From<Undelivered> for VcpuExit {
    fn from(reason: Undelivered) -> Self {
        match reason {
            Undelivered::Shutdown => Self::Shutdown,
            Undelivered::Unavailable => Self::Unavailable,
        }
    }
}

/// Counts between two looks at the host's clock while a timer runs.
const HOST_SLICE: u64 = 100_000;

/// An empty block cache for `limits`.
pub fn new_cache(limits: Limits) -> Cache {
    Cache::new(limits, Slot::new(Op::bare(Opcode::STALE)))
}

impl Vcpu {
    /// Runs until `count` reaches `until`, or until something else stops it.
    pub fn run(&mut self, until: u64) -> VcpuExit {
        self.run_on(until, false)
    }

    fn run_on(&mut self, until: u64, to_safe_point: bool) -> VcpuExit {
        self.set_due(until);
        loop {
            if self.attention || self.mmu.has_code_writes() {
                self.attend();
                // Whatever could not be brought in, and for whom: nothing goes on without it.
                if self.mmu.ram().presence() == Presence::Stalled {
                    self.attention = true;
                    return VcpuExit::Unavailable;
                }
                if self.board().wants_stop() {
                    return VcpuExit::Board;
                }
                self.set_due(until);
            }
            if self.time.budget() <= 0 {
                let now = self.now();
                self.board_mut().advance(now);
                if self.count() >= until {
                    return VcpuExit::Due;
                }
                self.set_due(until);
                // A timer may be due again by now, on a host that is slow beside its clock. The guest gets an instruction in between all the same.
                if self.time.budget() <= 0 {
                    self.time.set_due(self.count() + 1);
                }
            }
            // No instruction comes to one without leaving the dispatcher: what changes IF, the privilege level or whether the CPU is halted always does.
            if to_safe_point && self.at_safe_point() {
                return VcpuExit::Due;
            }
            if self.interrupts_blocked {
                self.interrupts_blocked = false;
                let by_mov_ss = std::mem::take(&mut self.debug.blocked_by_mov_ss);
                if let Err(stop) = self.advance(true) {
                    self.interrupts_blocked = matches!(stop, VcpuExit::Unavailable | VcpuExit::Breakpoint);
                    self.debug.blocked_by_mov_ss = by_mov_ss && self.interrupts_blocked;
                    return stop;
                }
                // Of consecutive loads of SS the first alone blocks (SDM Vol. 3, 6.8.3).
                if by_mov_ss && self.debug.blocked_by_mov_ss {
                    self.interrupts_blocked = false;
                    self.debug.blocked_by_mov_ss = false;
                }
                continue;
            }
            if self.system_flags & Rflags::IF != 0 && self.board().interrupt_pending() {
                // Acknowledged only when it is delivered, which may have to be tried again.
                match delivery::interrupt(self, self.board().next_interrupt()) {
                    Err(Undelivered::Unavailable) => return VcpuExit::Unavailable,
                    result => {
                        self.halted = false;
                        self.board_mut().acknowledge_interrupt();
                        if let Err(reason) = result {
                            return reason.into();
                        }
                    }
                }
                continue;
            }
            if self.halted {
                return VcpuExit::Halted;
            }
            if let Err(stop) = self.advance(false) {
                return stop;
            }
        }
    }

    /// Runs the next instruction, and if `one` is not set those behind it, until something must be looked at.
    fn advance(&mut self, one: bool) -> Result<(), VcpuExit> {
        if self.system_flags & Rflags::TF != 0 || self.debug.breakpoints.are_set() {
            return self.advance_debugged(one);
        }
        let (resume, before) = (self.system_flags & Rflags::RF, self.count());
        self.system_flags &= !Rflags::RF;
        self.debug.single_step = false;
        if let Err(reason) = self.dispatch(one) {
            // An instruction that has not begun leaves no trace.
            if self.count() == before {
                self.system_flags |= resume;
            }
            return Err(reason.into());
        }
        // SYSRET has loaded TF.
        if std::mem::take(&mut self.debug.single_step) {
            delivery::debug(self, STEPPED)?;
        }
        Ok(())
    }

    /// As [`Self::advance`], with breakpoints and under RFLAGS.TF (SDM Vol. 3, 17.3).
    #[cold]
    #[inline(never)]
    fn advance_debugged(&mut self, one: bool) -> Result<(), VcpuExit> {
        // A trap cannot be tried again once its instruction has retired. Nobody debugs in a hurry.
        if !self.mmu.bring_in_all() {
            return Err(VcpuExit::Unavailable);
        }
        let linear = self.linear_rip();
        let guarded = self.debug.breakpoints.guard_page(linear);
        if guarded && self.at_debugger_breakpoint() {
            return Err(VcpuExit::Breakpoint);
        }
        let detected = if guarded && self.system_flags & Rflags::RF == 0 { self.debug.breakpoints.met_by_instruction(linear) } else { 0 };
        if detected != 0 {
            return Ok(delivery::debug(self, detected.into())?);
        }
        let mut one = one || guarded;
        let mut behind_mov_ss = false;
        loop {
            let (tracing, before) = (self.system_flags & Rflags::TF != 0, self.count());
            self.system_flags &= !Rflags::RF;
            self.debug.single_step = tracing;
            self.debug.blocked_by_mov_ss = false;
            self.dispatch(one || tracing)?;
            if behind_mov_ss && self.debug.blocked_by_mov_ss {
                // Of consecutive loads of SS the first alone blocks (SDM Vol. 3, 6.8.3).
                self.interrupts_blocked = false;
                self.debug.blocked_by_mov_ss = false;
                self.debug.single_step = tracing;
            } else if self.debug.blocked_by_mov_ss {
                // Behind a load of SS comes the instruction that sets the stack pointer, before all else.
                self.interrupts_blocked = false;
                (behind_mov_ss, one) = (true, true);
                continue;
            }
            // An instruction that faulted has not retired: no trap. Each iteration of a REP traps.
            self.debug.single_step &= self.count() != before;
            break;
        }
        let stepped = if std::mem::take(&mut self.debug.single_step) { STEPPED } else { 0 };
        let cause = stepped | u64::from(std::mem::take(&mut self.debug.detected));
        if cause != 0 {
            delivery::debug(self, cause)?;
        }
        Ok(())
    }

    /// Runs the next instruction or more, as the budget allows.
    fn dispatch(&mut self, one: bool) -> Result<(), Undelivered> {
        if one {
            self.step()
        } else if self.time.budget() < MAX_BLOCK as i64 {
            self.run_bounded(self.time.budget())
        } else {
            self.run_blocks()
        }
    }

    /// Drops everything that is kept for speed alone: blocks, translations, unevaluated flags. The guest cannot tell.
    pub fn drop_caches(&mut self) {
        self.clear_blocks();
        self.flush_translations();
        self.flags = LazyFlags::from_flags(self.flags.evaluate());
    }

    /// Sets the budget up to `until` or to the next timer, whichever comes first.
    fn set_due(&mut self, until: u64) {
        let count = self.count();
        let mut target = until.max(count);
        if let Some(deadline) = self.board().deadline() {
            let ticks = deadline.saturating_sub(self.now());
            let wait = if self.time.is_virtual() { ticks } else { ticks.min(HOST_SLICE) };
            target = target.min(count.saturating_add(wait));
        }
        self.time.set_due(target);
    }

    /// Takes care of what was noted while instructions ran.
    fn attend(&mut self) {
        self.attention = false;
        if self.mmu.has_code_writes() {
            for page in self.mmu.take_code_writes() {
                self.cache.drop_page(page);
            }
        }
    }

    /// Runs cached blocks until the dispatcher is left for something else than the next block.
    fn run_blocks(&mut self) -> Result<(), Undelivered> {
        let mut link = Link::None;
        if let Some(profile) = &mut self.cache.profile {
            profile.interrupt();
        }
        loop {
            // Where a link is to be made, the way there is that link from then on.
            let slot = match if link == Link::None { self.cache.find(self.rip) } else { None } {
                Some(slot) => slot,
                // Breakpoints are looked for there before each instruction.
                None if self.debug.breakpoints.guard_page(self.linear_rip()) => return Ok(()),
                None => match self.block_at(link) {
                    Ok(Some(slot)) => slot,
                    Ok(None) => return self.run_bounded(MAX_BLOCK as i64),
                    Err(exception) => return delivery::exception(self, exception),
                },
            };
            self.regs[slot::BLOCK] = self.rip;
            // SAFETY: the slot starts a block of the cache, and nothing has been dropped since it was found.
            unsafe { enter(self, slot) };
            match self.exit {
                ExitReason::Block(wanted) if !self.attention && self.time.budget() >= MAX_BLOCK as i64 => link = wanted,
                ExitReason::Block(_) | ExitReason::Sync => return Ok(()),
                ExitReason::Fault(exception) => return delivery::exception(self, exception),
            }
        }
    }

    /// Runs one instruction.
    fn step(&mut self) -> Result<(), Undelivered> {
        // Branches leave the dispatcher when less than a block's worth is left: so a step cannot run away.
        let rest = self.time.set_aside_all_but_one();
        let result = self.run_bounded(1);
        self.time.give_back(rest);
        result
    }

    /// Runs at most `limit` instructions, which are not kept: fewer than a full block, or those before the end of a code segment.
    fn run_bounded(&mut self, limit: i64) -> Result<(), Undelivered> {
        let limit = (limit as usize).min(self.cache.limits().block);
        self.make_room();
        let built = self.translate_rip().and_then(|(address, linear, _)| Ok((address, self.build(address, linear, limit, None)?)));
        match built {
            // These are not cached, but may be rewritten while they run.
            Ok((address, second_page)) => self.guard_code(address, second_page),
            Err(exception) => return delivery::exception(self, exception),
        }
        self.regs[slot::BLOCK] = self.rip;
        let first = self.cache.begun();
        // SAFETY: no other block is begun until the dispatcher has returned. This one's links are empty, and no way to a block that is kept is found: either
        // the budget is below a block's worth, or the code segment has an end. So it cannot be left other than by its last op.
        unsafe { enter(self, first) };
        match self.exit {
            ExitReason::Block(_) | ExitReason::Sync => Ok(()),
            ExitReason::Fault(exception) => delivery::exception(self, exception),
        }
    }

    /// Physical and linear address of the next instruction, and whether the translation is global.
    fn translate_rip(&mut self) -> Result<(u64, u64, bool), Exception> {
        if self.code_room() == 0 {
            return Err(Exception::GP0);
        }
        let linear = self.linear_rip();
        let (address, global) = self.translate_fetch(linear)?;
        Ok((address, linear, global))
    }

    /// Bytes from RIP to the end of the code segment, or of the canonical addresses. 0: the next instruction cannot be fetched.
    fn code_room(&self) -> u64 {
        const END_OF_LOWER_HALF: u64 = 1 << 47;
        match self.code_size {
            CodeSize::Bits64 if !is_canonical(self.rip) => 0,
            CodeSize::Bits64 if self.rip < END_OF_LOWER_HALF => END_OF_LOWER_HALF - self.rip,
            CodeSize::Bits64 => u64::MAX,
            _ => (u64::from(self.segment(SegmentName::Cs).limit) + 1).saturating_sub(self.rip),
        }
    }

    /// What besides the bytes decides how they are decoded.
    fn decode_mode(&self) -> Mode {
        Mode::new(self.code_size, self.is_segmented(), self.control.cr0, self.control.cr4)
    }

    /// The block at RIP, built if need be; the link that asked for it is made if it may be. `None` if it does not fit into the code segment.
    fn block_at(&mut self, link: Link) -> Result<Option<*const Slot>, Exception> {
        let (address, linear, mut global) = self.translate_rip()?;
        // Neither the code nor what is known of it is near to the processor the first time: so the one is asked for before the other is waited for.
        self.mmu.ram().ask_for(address);
        let key = BlockKey { address, mode: self.decode_mode() };
        let known = match self.cache.block(key) {
            Some(block) => self.second_page(&block, linear).map(|second| (block, second)),
            None => None,
        };
        let (block, cleared) = match known {
            Some((block, second_is_global)) => {
                global &= second_is_global;
                (block, false)
            }
            None => {
                let built = self.build_cached(key, linear)?;
                global &= self.second_page(&built.0, linear) == Some(true);
                built
            }
        };
        if self.is_segmented() {
            return Ok((u64::from(block.length) <= self.code_room()).then(|| self.cache.first(&block)));
        }
        // The page behind may be replaced while this one stays: what leads to such a block asks the jump table.
        let on_two_pages = block.second_page.is_some();
        let start = block.start;
        // SAFETY: the link's slot ran just before, and the cache was not cleared since.
        unsafe {
            match link {
                Link::Taken(slot) if !cleared && on_two_pages => self.cache.update(slot, Op::set_target_leaves_page),
                Link::Next(slot) if !cleared && on_two_pages => self.cache.update(slot, Op::set_next_leaves_page),
                Link::Taken(slot) if !cleared => self.cache.update(slot, |op| op.set_link_taken(start)),
                Link::Next(slot) if !cleared => self.cache.update(slot, |op| op.set_link_next(start)),
                _ => {}
            }
        }
        if link == Link::None || on_two_pages || cleared {
            let last = if on_two_pages { self.next_page(linear) } else { linear };
            self.cache.remember(self.rip, last, &block, global);
        }
        Ok(Some(self.cache.first(&block)))
    }

    /// Whether the translation of the page behind a block's first is global, if that is still the page that holds the rest of its instruction. A block
    /// on one page has nothing there.
    fn second_page(&mut self, block: &Block, linear: u64) -> Option<bool> {
        let Some(page) = block.second_page else { return Some(true) };
        let next = self.next_page(linear);
        let (address, global) = self.translate_fetch(next).ok()?;
        (address / PAGE_SIZE == u64::from(page)).then_some(global)
    }

    /// Builds a block into the cache. Says whether the cache was cleared for it.
    fn build_cached(&mut self, key: BlockKey, linear: u64) -> Result<(Block, bool), Exception> {
        let front = self.front(key, linear);
        let cleared = self.make_room();
        let second_page = self.build(key.address, linear, self.cache.limits().block, front)?;
        self.guard_code(key.address, second_page);
        // SAFETY: the block was just built: its last op leaves it, and nothing is linked.
        let block = unsafe { self.cache.keep(key, second_page) };
        Ok((block, cleared))
    }

    /// Sees to it that a block fits into the cache, and says whether that was cleared for it.
    fn make_room(&mut self) -> bool {
        let clears = !self.cache.has_room();
        if clears {
            self.clear_blocks();
        }
        clears
    }

    fn clear_blocks(&mut self) {
        for page in self.cache.clear() {
            self.mmu.release_code(u64::from(page));
        }
    }

    /// Sees to it that stores are noticed to the page of decoded code at `address`, and to the page behind it if its last instruction ends there.
    fn guard_code(&mut self, address: u64, second_page: Option<u32>) {
        for page in std::iter::once(address / PAGE_SIZE).chain(second_page.map(u64::from)) {
            self.mmu.guard_code(page);
        }
    }
}
