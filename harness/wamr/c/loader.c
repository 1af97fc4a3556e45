/*
 * WAMR's loader of compiled code, with these differences on x86-64:
 *
 * - The code is copied once, out of the module's bytes, and not a second time to put its data behind it: the loader maps both into the first 2 GiB of
 *   addresses, where each reaches the other.
 * - Code that fills a third of the last of its huge pages has that as well. One huge page is sooner there than the small ones that it replaces.
 * - What is copied of a module's bytes may be mapped of a file. The kernel brings its pages in at once, not sixteen at each page fault.
 */
#include "bh_platform.h"

#include <sys/mman.h>

/* Bytes that are worth a system call of their own. */
#define MANY_BYTES (256 << 10)

static int
copy(void *to, uint32 room, const void *from, uint32 size)
{
#if defined(MADV_POPULATE_READ)
    if (size >= MANY_BYTES) {
        uintptr_t start = (uintptr_t)from & ~(uintptr_t)(getpagesize() - 1);

        /* It changes no byte, and need not be done: pages that are not there come when they are read. */
        (void)madvise((void *)start, (uintptr_t)from + size - start, MADV_POPULATE_READ);
    }
#endif
    return b_memcpy_s(to, room, from, size);
}

#undef bh_memcpy_s
#define bh_memcpy_s(to, room, from, size) copy(to, room, from, size)

#if defined(BUILD_TARGET_X86_64)
#define HUGE_PAGE (2 << 20)

/* Bytes to map for `size`. A greater size never has fewer. */
static size_t
whole_pages(size_t size)
{
    size_t last = size % HUGE_PAGE;

    return size > HUGE_PAGE && last > HUGE_PAGE / 3 ? size + HUGE_PAGE - last : size;
}

/* Memory for the second copy is all that it can do without, and so asks for without a place for an error. */
#define os_mmap(hint, size, protection, flags, file) \
    (error_buf ? os_mmap(hint, whole_pages(size), protection, flags, file) : NULL)
#define os_munmap(address, size) os_munmap(address, whole_pages(size))
/* Code has a mapping to itself, and a huge page one protection. */
#define os_mprotect(address, size, protection) \
    os_mprotect(address, (protection)&MMAP_PROT_EXEC ? whole_pages(size) : (size), protection)
#endif

#include "iwasm/aot/aot_loader.c"
