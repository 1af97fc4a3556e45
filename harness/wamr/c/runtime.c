/* The parts of WAMR's interface that hand over structures: what crosses into Rust are numbers and pointers alone. */
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>

#include "config.h"
#include "wasm_export.h"

#define HWCAP2_X86_FSGSBASE (1UL << 1)

static struct sigaction segv_before, bus_before;

bool
prebake_wamr_start(void)
{
    RuntimeInitArgs arguments;

    memset(&arguments, 0, sizeof arguments);
    arguments.mem_alloc_type = Alloc_With_System_Allocator;
#if defined(BUILD_TARGET_X86_64)
    prebake_wamr_has_fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_X86_FSGSBASE) != 0;
#endif
    /* WAMR takes these two and never gives them back. */
    sigaction(SIGSEGV, NULL, &segv_before);
    sigaction(SIGBUS, NULL, &bus_before);
    if (!wasm_runtime_full_init(&arguments))
        return false;
    /* What goes wrong comes back as an error. */
    wasm_runtime_set_log_level(WASM_LOG_LEVEL_FATAL);
    return true;
}

void
prebake_wamr_stop(void)
{
    wasm_runtime_destroy();
    sigaction(SIGSEGV, &segv_before, NULL);
    sigaction(SIGBUS, &bus_before, NULL);
}

/* The one version of the .aot format that the loader takes. */
uint32_t
prebake_wamr_aot_version(void)
{
    return AOT_CURRENT_VERSION;
}

bool
prebake_wamr_can_segue(void)
{
    return prebake_wamr_has_fsgsbase;
}

/* WAMR's own extensions of WASI, which open sockets. Those that take one do harm to nobody who has none. */
static bool
opens_sockets(const char *name)
{
    static const char *const harmless[] = { "sock_accept", "sock_recv", "sock_send", "sock_shutdown" };

    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (strcmp(name, harmless[i]) == 0)
            return false;
    return strncmp(name, "sock_", 5) == 0;
}

/* Whether `module` imports what nobody provides, and the first such import. */
bool
prebake_wamr_missing_import(wasm_module_t module, const char **module_name,
                            const char **name)
{
    int32_t count = wasm_runtime_get_import_count(module);
    wasm_import_t import;

    for (int32_t i = 0; i < count; i++) {
        wasm_runtime_get_import_type(module, i, &import);
        if (!import.linked || opens_sockets(import.name)) {
            *module_name = import.module_name;
            *name = import.name;
            return true;
        }
    }
    return false;
}
