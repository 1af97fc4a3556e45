/*
 * WAMR's threads. It touches every page of a thread's stack, so that those that it is to guard are there: where the stack does not grow they are, as in
 * every thread but the process's first.
 */
#include <alloca.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform_api_vmcore.h"

/* Each thread would take the signals anew, and WAMR then ask itself next. c/runtime.c takes them, once for all threads. */
#define sigaction(...) 0

#undef os_alloca
/* The next place to be touched: the last one. */
#define os_alloca(size) (syscall(SYS_gettid) == getpid() ? alloca(size) : stack_min_addr)

#include "shared/platform/common/posix/posix_thread.c"

#undef sigaction

/* Ends what a guest does on this thread, if the fault is one of its own. */
void
prebake_wamr_fault(void *address)
{
    mask_signals(SIG_BLOCK);
    if (signal_handler)
        signal_handler(address);
}
