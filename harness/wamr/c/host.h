/* What WAMR is given by its host in place of its own. Every file of WAMR includes this first. */
#ifndef PREBAKE_HOST_H
#define PREBAKE_HOST_H

#ifndef __ASSEMBLER__
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether a program may set the base of GS, where code that was compiled with "segue" expects linear memory. */
extern bool prebake_wamr_has_fsgsbase;

/* A file, told from all others. */
struct prebake_file {
    uint64_t device;
    uint64_t inode;
};

struct prebake_files {
    const struct prebake_file *files;
    size_t count;
};

/* What an instance may do on its host. src/guest.rs has the same. */
struct prebake_guest {
    /* Directories and files that were given for writing, those that were given read-only, and those that must stay where they are. */
    struct prebake_files writable, read_only, kept;
    /* Of each of its directories, from descriptor 3 on, whether it was given read-only. */
    const bool *read_only_directories;
    size_t directory_count;
    /* Branches and calls that the interpreter makes until it asks whether to go on. */
    uint32_t steps;
    /* Sets the steps anew, unless the instance is to end. */
    bool (*may_go_on)(struct prebake_guest *guest);
};

/* The one that is instantiated or called on this thread. */
extern __thread struct prebake_guest *prebake_wamr_guest __attribute__((tls_model("initial-exec")));

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
