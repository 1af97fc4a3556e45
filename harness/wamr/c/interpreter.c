/*
 * WAMR's interpreter, which asks at every branch and call whether it may go on. With its thread manager it does so by itself, for a flag that another
 * thread sets; all that is taken of that are the places. The structures are those of a build without it.
 */
#include "wasm_interp.h"
#include "bh_log.h"
#include "wasm_runtime.h"
#include "wasm_opcode.h"
#include "wasm_loader.h"
#include "wasm_memory.h"
#include "../common/wasm_exec_env.h"

__thread struct prebake_guest *prebake_wamr_guest;

/* Where that is, for Rust. */
struct prebake_guest **
prebake_wamr_current(void)
{
    return &prebake_wamr_guest;
}

/* Whether the guest has to end, which is an exception. */
static bool
must_end(WASMModuleInstance *module)
{
    struct prebake_guest *guest = prebake_wamr_guest;

    if (guest->may_go_on(guest))
        return false;
    wasm_set_exception(module, "stopped by its host");
    return true;
}

#undef WASM_ENABLE_THREAD_MGR
#define WASM_ENABLE_THREAD_MGR 1
#define WASM_SUSPEND_FLAG_TERMINATE true
#define WASM_SUSPEND_FLAGS_GET(flags) (--prebake_wamr_guest->steps == 0 && must_end(module))
#define WASM_SUSPEND_FLAGS_LOCK(lock) (void)0
#define WASM_SUSPEND_FLAGS_UNLOCK(lock) (void)0

#include "iwasm/interpreter/wasm_interp_fast.c"
