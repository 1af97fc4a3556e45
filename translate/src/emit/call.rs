//! The function by which regions call code outside of them: a call of the guest's becomes one of WebAssembly's, and so does its return.
//!
//! It does what the dispatcher would do, as far as that is running translated code, and knows only what the dispatcher knows: which slot is next. So
//! nothing of the machine's own code is changed by it.

use wasm_encoder::{BlockType, Function, ValType};

use super::at;
use crate::layout::{Globals, Helpers, Layout};

/// Most calls within one another: each takes some of the host's stack.
const MOST: i32 = 32;

/// Its parameters: the CPU; the slot that led to the caller; the linear address that is called; the one behind the call, where the caller can be entered.
/// The result is the slot that is next; 0 once the guest has come back there.
pub const PARAMETERS: [ValType; 4] = [ValType::I32, ValType::I32, ValType::I64, ValType::I64];

mod local {
    pub const CPU: u32 = 0;
    pub const SLOT: u32 = 1;
    pub const TARGET: u32 = 2;
    pub const BACK: u32 = 3;
    pub const NEXT: u32 = 4;
    /// The caller's handler.
    pub const CALLER: u32 = 5;
    /// How many handlers had run at the call.
    pub const HANDLED: u32 = 6;
    /// What the innermost call before this one comes back to.
    pub const OUTER: u32 = 7;
}

/// Writes it. `handler` is the type of handlers.
///
/// A region that returns to where the innermost call comes back to says so by 0. It finds that address in a global, as long as no handler has run, which alone can
/// change what stands there. Otherwise the block cache says what does.
pub fn call(layout: Layout, helpers: Helpers, handler: u32, globals: Globals) -> Function {
    let (depth, back, handled) = (globals.depth(), globals.back(), globals.handled());
    let mut function = Function::new([(3, ValType::I32), (1, ValType::I64)]);
    let mut code = function.instructions();
    // The block that the slot stands in may be gone when the guest has come back.
    code.local_get(local::SLOT).i32_load(at(layout.handler, 2)).local_set(local::CALLER);
    code.local_get(local::CPU).local_get(local::TARGET).call(helpers.go).local_set(local::NEXT);
    code.global_get(depth).i32_const(MOST).i32_ge_u().if_(BlockType::Empty).local_get(local::NEXT).return_().end();
    code.global_get(depth).i32_const(1).i32_add().global_set(depth);
    code.global_get(handled).local_set(local::HANDLED).global_get(back).local_set(local::OUTER);
    code.local_get(local::BACK).global_set(back);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(local::NEXT).i32_load16_u(at(layout.code, 1)).i32_const(emu::decode::Opcode::TRANSLATED.0.into()).i32_ne().br_if(1);
    code.block(BlockType::Empty);
    code.local_get(local::NEXT).i32_load(at(layout.handler, 2)).local_get(local::CALLER).i32_ne().br_if(0);
    let block = layout.registers + 8 * u32::from(emu::cpu::slot::BLOCK);
    code.local_get(local::CPU).i64_load(at(block, 3)).local_get(local::BACK).i64_ne().br_if(0);
    // By the block cache, the caller stands there, and it has one entry at an address: however the guest came to it, it goes on as if it were entered.
    code.i32_const(0).local_set(local::NEXT).br(2).end();
    code.local_get(local::CPU).local_get(local::NEXT).local_get(local::NEXT).i32_load(at(layout.handler, 2));
    code.call_indirect(0, handler).local_tee(local::NEXT).br_if(0).end().end();
    code.global_get(depth).i32_const(1).i32_sub().global_set(depth);
    code.local_get(local::OUTER).i64_const(Globals::NOWHERE);
    code.global_get(handled).local_get(local::HANDLED).i32_eq().select().global_set(back);
    code.local_get(local::NEXT).end();
    function
}
