//! Guest code that was translated ahead of time, and is linked into the module behind this: see the crate `translate`.
//!
//! What its linker needs: the section `prebake.translated` with [`LAYOUT`], and exports, whose names begin with `pb_translated_`.

use emu::cache::{Handler, Slot, Translated};
use emu::exec::translated as code;
use std::borrow::Cow;

/// See [`code::LAYOUT`]; little-endian.
#[cfg_attr(target_family = "wasm", unsafe(link_section = "prebake.translated"))]
#[used]
static LAYOUT: [u8; 4 * code::LAYOUT.len()] = {
    let mut bytes = [0; 4 * code::LAYOUT.len()];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = code::LAYOUT[at / 4].to_le_bytes()[at % 4];
        at += 1;
    }
    bytes
};

/// Where the linker puts the list of what it has linked; empty until then.
struct Space(std::cell::UnsafeCell<[u8; payload::TRANSLATED_SPACE]>);

// SAFETY: nothing writes it but the module's own data, before any code runs.
unsafe impl Sync for Space {}

static SPACE: Space = Space(std::cell::UnsafeCell::new([0; payload::TRANSLATED_SPACE]));

/// The translated code of this module.
pub fn linked() -> Translated {
    // SAFETY: see `Space`. The compiler must not know that it is empty.
    let bytes = unsafe { std::slice::from_raw_parts(std::hint::black_box(SPACE.0.get()).cast::<u8>(), payload::TRANSLATED_SPACE) };
    // SAFETY: the linker has put a function with a handler's parameters and result at this place of the table, where functions have their addresses.
    Translated::read(Cow::Borrowed(bytes), |number| unsafe { std::mem::transmute::<usize, Handler>(number as usize) }, Slot::new)
}

#[unsafe(no_mangle)]
extern "C" fn pb_translated_space() -> *const u8 {
    SPACE.0.get().cast()
}

/// What translated code calls: it runs in WebAssembly alone.
#[cfg(target_family = "wasm")]
mod calls {
    use emu::cache::Slot;
    use emu::exec::translated as code;
    use emu::vcpu::Vcpu;

    #[unsafe(no_mangle)]
    extern "C" fn pb_translated_go(cx: &mut Vcpu, target: u64) -> *const Slot {
        code::go(cx, target)
    }

    #[unsafe(no_mangle)]
    extern "C" fn pb_translated_interpret(cx: &mut Vcpu, target: u64) -> *const Slot {
        code::interpret(cx, target)
    }

    #[unsafe(no_mangle)]
    extern "C" fn pb_translated_run(cx: &mut Vcpu, number: u32) -> *const Slot {
        code::run(cx, number).unwrap_or(std::ptr::null())
    }

    #[unsafe(no_mangle)]
    extern "C" fn pb_translated_evaluate(operation: u32, result: u64, source: u64) -> u64 {
        code::evaluate(operation, result, source)
    }
}
