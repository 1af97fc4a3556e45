/*
 * WAMR's loader of compiled code, with these differences:
 *
 * - Code that is placed (placed.h) is mapped, and not copied.
 * - What is copied of a module's bytes may be mapped of a file. The kernel brings its pages in at once, not sixteen at each page fault.
 * - On x86-64, the code is copied once, out of the module's bytes, and not a second time to put its data behind it: the loader maps both into the first
 *   2 GiB of addresses, where each reaches the other.
 * - There, too, code that fills a third of the last of its huge pages has that as well. One huge page is sooner there than the small ones that it replaces.
 */
#include "bh_platform.h"

#include <sys/mman.h>

#include "placed.h"

/* What is mapped for the next module of this thread; its size is 0 once a module has it. */
static _Thread_local struct prebake_placed next;
/* The same, until that module is loaded. */
static _Thread_local struct prebake_placed current;

static bool
is_within(const void *address, uintptr_t start, uint32 size)
{
    return (uintptr_t)address - start < size;
}

/* Bytes that are worth a system call of their own. */
#define MANY_BYTES (256 << 10)

static int
copy(void *to, uint32 room, const void *from, uint32 size)
{
    if (is_within(to, current.code, current.code_size) || is_within(to, current.data, current.data_size))
        return 0;
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

/* Bytes to map for `size`. A greater size never has fewer. */
static size_t
whole_pages(size_t size)
{
#if defined(BUILD_TARGET_X86_64)
    enum { HUGE_PAGE = 2 << 20 };
    size_t last = size % HUGE_PAGE;

    return size > HUGE_PAGE && last > HUGE_PAGE / 3 ? size + HUGE_PAGE - last : size;
#else
    return size;
#endif
}

/* Memory for `size` bytes of code or data: what was placed, if it is as large as that. */
static void *
map(size_t size, int protection, int flags, os_file_handle file)
{
    bool is_code = (protection & MMAP_PROT_EXEC) != 0;
    uintptr_t *place = is_code ? &next.code : &next.data;
    uint32 *room = is_code ? &next.code_size : &next.data_size;

    if (*room != 0 && *room == size) {
        *room = 0;
        return (void *)*place;
    }
    return os_mmap(NULL, whole_pages(size), protection, flags, file);
}

/* Memory for the second copy is all that it can do without, and so asks for without a place for an error. */
#define os_mmap(hint, size, protection, flags, file) \
    (error_buf ? map(size, protection, flags, file) : NULL)
#define os_munmap(address, size) os_munmap(address, whole_pages(size))
/* Code has a mapping to itself, and a huge page one protection. */
#define os_mprotect(address, size, protection) \
    os_mprotect(address, (protection)&MMAP_PROT_EXEC ? whole_pages(size) : (size), protection)

#include "iwasm/aot/aot_loader.c"

#undef os_mmap
#undef os_munmap
#undef os_mprotect

bool
prebake_wamr_placed(void *loaded, struct prebake_placed *placed)
{
    AOTModule *module = loaded;

    if (module->module_type != Wasm_Module_AoT || module->is_indirect_mode || !module->code)
        return false;
#if defined(BUILD_TARGET_X86_64)
    /* A table of functions' addresses, which the code reaches by its distance. */
    if (module->got_func_ptrs)
        return false;
#endif
    /* Literals lie in front of the code, and their size in front of those. */
    placed->code = (uintptr_t)module->literal - sizeof(uint32);
    placed->code_size = sizeof(uint32) + module->literal_size + module->code_size;
    placed->data = (uintptr_t)module->merged_data_sections;
    placed->data_size = module->merged_data_sections_size;
    return placed->data_size != 0;
}

/* Reserves addresses, and maps the file to their start. */
static bool
place(uintptr_t start, uint32 size, bool is_code, int file, uint64 offset)
{
    void *wanted = (void *)start;
    size_t whole = whole_pages(size);
    int protection = PROT_READ | PROT_WRITE | (is_code ? PROT_EXEC : 0);
    void *found = mmap(wanted, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

    if (found == MAP_FAILED)
        return false;
    /* A kernel that does not know the flag takes the address for a hint. */
    if (found != wanted || mmap(wanted, size, protection, MAP_PRIVATE | MAP_FIXED, file, (off_t)offset) != wanted) {
        munmap(found, whole);
        return false;
    }
    return true;
}

bool
prebake_wamr_place(int file, uint64_t code_offset, uint64_t data_offset, const struct prebake_placed *placed)
{
    if (!place(placed->code, placed->code_size, true, file, code_offset))
        return false;
    if (!place(placed->data, placed->data_size, false, file, data_offset)) {
        munmap((void *)placed->code, whole_pages(placed->code_size));
        return false;
    }
    next = current = *placed;
    return true;
}

bool
prebake_wamr_unplace(void)
{
    bool is_taken = next.code_size == 0 && next.data_size == 0;

    if (next.code_size != 0)
        munmap((void *)next.code, whole_pages(next.code_size));
    if (next.data_size != 0)
        munmap((void *)next.data, whole_pages(next.data_size));
    memset(&next, 0, sizeof next);
    memset(&current, 0, sizeof current);
    return is_taken;
}

uint64_t
prebake_wamr_loader(void)
{
    /* FNV-1a, over the functions that code jumps to, in the order of their places behind it. */
    uint64_t hash = 0xcbf29ce484222325;
    uint32 count;
    SymbolMap *symbols = get_target_symbol_map(&count);

    for (uint32 i = 0; i < count; i++)
        for (const char *name = symbols[i].symbol_name;; name++) {
            hash = (hash ^ (uint8)*name) * 0x100000001b3;
            if (*name == 0)
                break;
        }
    return hash;
}
