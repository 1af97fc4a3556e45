/* The parts of WAMR's interface that hand over structures: what crosses into Rust are numbers and pointers alone. */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "wasm_export.h"

#define HWCAP2_X86_FSGSBASE (1UL << 1)

/* c/thread.c */
void
prebake_wamr_fault(void *address);

/* What handled them before WAMR was started. */
static struct sigaction segv_before, bus_before;

/* What is mapped of files, none of it if `end` is 0. Where such a file was shortened, zeroes are read, and `is_short` says so. */
#define MOST_WATCHED 64
static struct {
    atomic_uintptr_t start, end;
    atomic_bool is_taken, is_short;
} watched[MOST_WATCHED];

/* The number under which the pages are watched, or -1. */
int
prebake_wamr_watch(void *start, size_t length)
{
    for (int i = 0; i < MOST_WATCHED; i++) {
        if (atomic_exchange(&watched[i].is_taken, true))
            continue;
        atomic_store(&watched[i].is_short, false);
        atomic_store(&watched[i].start, (uintptr_t)start);
        atomic_store(&watched[i].end, (uintptr_t)start + length);
        return i;
    }
    return -1;
}

bool
prebake_wamr_is_short(uint32_t number)
{
    return atomic_load(&watched[number].is_short);
}

void
prebake_wamr_unwatch(uint32_t number)
{
    atomic_store(&watched[number].end, 0);
    atomic_store(&watched[number].is_taken, false);
}

/* Puts zeroes where a watched file has ended: from there on it has nothing. Returns whether it did. */
static bool
fill(uintptr_t at)
{
    for (int i = 0; i < MOST_WATCHED; i++) {
        uintptr_t end = atomic_load(&watched[i].end);
        if (at < atomic_load(&watched[i].start) || at >= end)
            continue;
        uintptr_t page = at & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        if (mmap((void *)page, end - page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
            == MAP_FAILED)
            return false;
        atomic_store(&watched[i].is_short, true);
        return true;
    }
    return false;
}

/* SIGSEGV and SIGBUS of every thread. */
static void
on_fault(int signal, siginfo_t *info, void *context)
{
    struct sigaction *before = signal == SIGBUS ? &bus_before : &segv_before;

    /* Does not return if that ends a guest's call. */
    prebake_wamr_fault(info->si_addr);
    if (signal == SIGBUS && fill((uintptr_t)info->si_addr))
        return;
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(signal, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(signal);
    else
        /* The same access again, which ends the process. */
        sigaction(signal, before, NULL);
}

static void
give_signals_back(void)
{
    sigaction(SIGSEGV, &segv_before, NULL);
    sigaction(SIGBUS, &bus_before, NULL);
}

/* Starts WAMR on this thread, and for the process if this is its first. */
bool
prebake_wamr_start(bool is_first)
{
    struct sigaction action;
    RuntimeInitArgs arguments;

    if (!is_first)
        return wasm_runtime_init_thread_env();
    memset(&arguments, 0, sizeof arguments);
    arguments.mem_alloc_type = Alloc_With_System_Allocator;
#if defined(BUILD_TARGET_X86_64)
    prebake_wamr_has_fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_X86_FSGSBASE) != 0;
#endif
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &segv_before);
    sigaction(SIGBUS, &action, &bus_before);
    if (!wasm_runtime_full_init(&arguments)) {
        give_signals_back();
        return false;
    }
    /* What goes wrong comes back as an error. */
    wasm_runtime_set_log_level(WASM_LOG_LEVEL_FATAL);
    return true;
}

void
prebake_wamr_stop(bool is_last)
{
    if (!is_last) {
        wasm_runtime_destroy_thread_env();
        return;
    }
    wasm_runtime_destroy();
    give_signals_back();
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
