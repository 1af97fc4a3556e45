/*
 * WAMR's calls on files, but for what it makes of the paths in a link. It looks them up from the directory of the
 * process, where they name nothing or something else, and refuses the link with EBADF by what it finds there. What holds
 * a guest in its directories is path_get(): it follows every link itself, and none out of them.
 */
#include "platform_api_extension.h"

/* "Not there", which a link may name. */
#define os_realpath(path, resolved) NULL

#include "iwasm/libraries/libc-wasi/sandboxed-system-primitives/src/posix.c"
