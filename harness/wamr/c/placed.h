/* Code that is mapped where a module that was loaded before had it, instead of copied and relocated: for loader.c and Rust. */
#ifndef PREBAKE_PLACED_H
#define PREBAKE_PLACED_H

#include <stdbool.h>
#include <stdint.h>

/* Where a loaded module has its code, and the data that this refers to. */
struct prebake_placed {
    uintptr_t code, data;
    uint32_t code_size, data_size;
};

/* The place of a module's code, if all of it is in these two. */
bool
prebake_wamr_placed(void *module, struct prebake_placed *placed);

/* Maps the pages of `file` from `code_offset` and `data_offset` on to `placed`, if nothing is there. The next module that this thread loads has its code
   there, and must have nothing to relocate. */
bool
prebake_wamr_place(int file, uint64_t code_offset, uint64_t data_offset, const struct prebake_placed *placed);

/* Undoes that, as far as no module took it. Whether one took all of it. */
bool
prebake_wamr_unplace(void);

/* What code relies on of this loader besides: another loader's number is another. */
uint64_t
prebake_wamr_loader(void);

#endif
