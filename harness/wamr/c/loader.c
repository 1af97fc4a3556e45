/*
 * WAMR's loader of compiled code, which copies the code once, out of the module's bytes, and not a second time to put its data behind it: on x86-64 the
 * loader maps both into the first 2 GiB of addresses, where each reaches the other.
 */
#include "bh_platform.h"

#if defined(BUILD_TARGET_X86_64)
/* Memory for the second copy is all that it can do without, and so asks for without a place for an error. */
#define os_mmap(hint, size, protection, flags, file) (error_buf ? os_mmap(hint, size, protection, flags, file) : NULL)
#endif

#include "iwasm/aot/aot_loader.c"
