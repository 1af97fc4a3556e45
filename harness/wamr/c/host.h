/* What WAMR is given by its host in place of its own. Every file of WAMR includes this first. */
#ifndef PREBAKE_HOST_H
#define PREBAKE_HOST_H

#ifndef __ASSEMBLER__
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether a program may set the base of GS, where code that was compiled with "segue" expects linear memory. */
extern bool prebake_wamr_has_fsgsbase;

/* The compiler's messages. */
int
prebake_wamrc_vprintf(const char *format, va_list arguments);

#ifdef __cplusplus
}
#endif

#if defined(BUILD_TARGET_X86_64)
/* WAMR's own form of this asks nobody, and kills the process on a host without the instruction. */
#define os_writegsbase(base)                                                               \
    do {                                                                                   \
        if (prebake_wamr_has_fsgsbase)                                                     \
            __asm__ volatile("wrgsbase %0" ::"r"((uint64_t)(uintptr_t)(base)) : "memory"); \
    } while (0)
#endif

#endif /* __ASSEMBLER__ */
#endif /* PREBAKE_HOST_H */
