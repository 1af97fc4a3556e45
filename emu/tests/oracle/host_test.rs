//! What is known about a real CPU: if these fail, the harness is wrong.

use std::time::Duration;

use super::host::Host;
use super::world::*;

fn run(bits: u32, code: &[u8], set: impl FnOnce(&mut World)) -> Box<World> {
    let mut world = World::new(bits);
    set(&mut world);
    world.memory.patch(world.state.rip, code);
    let mut worlds = [world];
    Host::new().run(&mut worlds);
    let [world] = worlds;
    world
}

fn stopped(world: &World) -> String {
    world.stop.describe()
}

#[test]
fn registers_and_flags_go_in_and_come_out() {
    // add rax,rbx
    let world = run(64, &[0x48, 0x01, 0xd8], |world| {
        world.state.gpr = std::array::from_fn(|number| 0x0101_0101_0101_0101 * number as u64);
        world.state.gpr[gpr::RAX] = u64::MAX;
        world.state.gpr[gpr::RBX] = 1;
    });
    assert_eq!(stopped(&world), "#GP(0)");
    assert_eq!(world.state.rip, ENTRY + 3);
    assert_eq!(world.state.gpr[gpr::RAX], 0);
    assert_eq!(world.state.gpr[15], 0x0f0f_0f0f_0f0f_0f0f);
    assert_eq!(world.state.rflags & flag::STATUS, flag::CF | flag::ZF | flag::PF | flag::AF);
}

#[test]
fn flags_that_only_user_mode_can_change_go_in_and_come_out() {
    // pushfq; pop rax
    let flags = flag::ID | flag::NT | flag::DF | flag::AC | flag::CF | flag::OF;
    let world = run(64, &[0x9c, 0x58], |world| world.state.rflags |= flags);
    assert_eq!(world.state.gpr[gpr::RAX], flags | flag::IF | flag::ONE);
    assert_eq!(world.state.rflags & !flag::RF, flags | flag::IF | flag::ONE);
}

#[test]
fn vector_and_x87_state_go_in_and_come_out() {
    // paddd xmm1,xmm9; fadd st,st(1); ldmxcsr [rdi]
    let world = run(64, &[0x66, 0x41, 0x0f, 0xfe, 0xc9, 0xd8, 0xc1, 0x0f, 0xae, 0x17], |world| {
        world.state.fx.xmm[1] = 0xffff_ffff << 32 | 7;
        world.state.fx.xmm[9] = 1 << 32 | 1;
        world.state.fx.st[0][..10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
        world.state.fx.st[1] = world.state.fx.st[0];
        world.state.fx.fsw = 3 << 11;
        world.state.fx.ftw = 0xff;
        world.state.gpr[gpr::RDI] = DATA;
        world.memory.patch(DATA, &0x9fc0u32.to_le_bytes());
    });
    assert_eq!(world.state.fx.xmm[1], 8);
    assert_eq!(world.state.fx.st[0][..10], [0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0x40]);
    assert_eq!(world.state.fx.fsw >> 11 & 7, 3);
    assert_eq!(world.state.fx.ftw, 0xff);
    assert_eq!(world.state.fx.mxcsr, 0x9fc0);
}

#[test]
fn faults_carry_vector_error_code_and_address() {
    // mov [rdi],eax, where it crosses into what is not mapped, where it may not write, and where no address is
    let store = |to: u64| run(64, &[0x89, 0x07], |world| world.state.gpr[gpr::RDI] = to);
    let world = store(GUARD - 2);
    assert_eq!((stopped(&world).as_str(), world.state.rip), ("#PF(6) at 20002000", ENTRY));
    assert_eq!(world.memory.data, World::new(64).memory.data);
    assert_eq!(stopped(&store(READ_ONLY + 8)), "#PF(7) at 28000008");
    assert_eq!(stopped(&store(1 << 47)), "#GP(0)");
    // div ecx; ud2; int3; fetch from the page behind the code
    assert_eq!(stopped(&run(64, &[0xf7, 0xf1], |_| {})), "#DE");
    assert_eq!(stopped(&run(64, &[0x0f, 0x0b], |_| {})), "#UD");
    assert_eq!(stopped(&run(64, &[0xcc], |_| {})), "#BP");
    let world = run(64, &[0x90], |world| world.state.rip = CODE + WINDOW as u64 - 1);
    assert_eq!(stopped(&world), "#PF(14) at 10002000");
    // mov eax,[rsp+1] with AC; divps with #Z unmasked; fdiv, fwait with #Z unmasked
    assert_eq!(stopped(&run(64, &[0x8b, 0x44, 0x24, 0x01], |world| world.state.rflags |= flag::AC)), "#AC(0)");
    let zero_divide = |world: &mut World| {
        world.state.fx.mxcsr &= !(1 << 9);
        world.state.fx.xmm[0] = 0x3f80_0000;
    };
    assert_eq!(stopped(&run(64, &[0x0f, 0x5e, 0xc1], zero_divide)), "#XM");
    let world = run(64, &[0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b], |world| world.state.fx.fcw &= !4);
    assert_eq!((stopped(&world).as_str(), world.state.rip), ("#MF", ENTRY + 6));
}

#[test]
fn the_trap_flag_steps() {
    // nop; nop
    let world = run(64, &[0x90, 0x90], |world| world.state.rflags |= flag::TF);
    assert_eq!((stopped(&world).as_str(), world.state.rip), ("#DB", ENTRY + 1));
}

#[test]
fn compatibility_mode_is_32_bit_code() {
    // inc eax (REX in 64-bit mode); push es; mov ecx,fs:[4]; bound
    let world = run(32, &[0x40, 0x06, 0x64, 0x8b, 0x0d, 4, 0, 0, 0], |world| world.state.gpr[gpr::RAX] = 0xffff_ffff);
    assert_eq!((stopped(&world).as_str(), world.state.rip), ("#GP(0)", ENTRY + 9));
    assert_eq!(world.state.gpr[gpr::RAX] as u32, 0);
    assert_eq!(world.state.gpr[gpr::RSP], STACK_TOP - 4);
    assert_eq!(world.memory.stack[0xffc], USER_DS as u8);
    assert_eq!((world.state.gpr[gpr::RCX] as u32).to_le_bytes(), world.memory.data[4..8]);
    assert_eq!(world.state.segments[seg::FS], DATA_LDT);
    // The LDT segment ends with the window.
    let world = run(32, &[0x64, 0x8b, 0x0d, 0xfd, 0x1f, 0, 0], |_| {});
    assert_eq!(stopped(&world), "#GP(0)");
    assert_eq!(world.state.rip, ENTRY);
}

#[test]
fn segment_bases_count() {
    // mov rax,fs:[0]; mov rbx,gs:[rcx]
    let world = run(64, &[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x65, 0x48, 0x8b, 0x19], |world| {
        world.state.fs_base = DATA + 8;
        world.state.gs_base = DATA + 0x100;
        world.state.gpr[gpr::RCX] = 0x10;
    });
    assert_eq!(world.state.gpr[gpr::RAX].to_le_bytes(), world.memory.data[8..16]);
    assert_eq!(world.state.gpr[gpr::RBX].to_le_bytes(), world.memory.data[0x110..0x118]);
    assert_eq!((world.state.fs_base, world.state.gs_base), (DATA + 8, DATA + 0x100));
}

#[test]
fn a_case_that_hangs_or_kills_costs_only_itself() {
    let case = |code: &[u8]| {
        let mut world = World::new(64);
        world.memory.patch(ENTRY, code);
        world
    };
    let mut host = Host::new();
    host.set_patience(Duration::from_millis(100));
    // inc eax; jmp to itself; mov eax,60 and syscall (exit); inc eax
    let mut worlds = [case(&[0xff, 0xc0]), case(&[0xeb, 0xfe]), case(&[0xb8, 60, 0, 0, 0, 0x0f, 0x05]), case(&[0xff, 0xc0])];
    host.run(&mut worlds);
    assert_eq!(worlds.each_ref().map(|world| stopped(world)), ["#GP(0)", "hung", "died", "#GP(0)"]);
    assert_eq!(worlds[3].state.gpr[gpr::RAX], 1);
}
