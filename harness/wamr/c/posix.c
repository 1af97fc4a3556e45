/*
 * WAMR's calls on files, with these differences:
 *
 * - What a guest may change, its host says (`struct prebake_guest`): a directory that was given read-only loses the rights to change it, and what
 *   lies in another that was given for writing stays read-only there.
 * - Only regular files and directories are opened, and nothing is opened to find out what it is. A link that takes the place of a file is not
 *   followed, not even before a slash.
 * - A guest waits for nothing: its host could not end it.
 * - It makes nothing of the paths in a link. WAMR looks them up from the directory of the process, where they name nothing or something else, and
 *   refuses the link with EBADF by what it finds there. What holds a guest in its directories is path_get(): it follows every link itself, and none
 *   out of them.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ssp_config.h"
#include "bh_platform.h"
#include "blocking_op.h"
#include "libc_errno.h"
#include "platform_api_extension.h"
#include "wasmtime_ssp.h"

#include "files.h"

/* "Not there", which a link may name. */
#define os_realpath(path, resolved) NULL

#define blocking_op_openat(env, directory, ...) files_open(directory, __VA_ARGS__)
#define blocking_op_writev(env, file, ...) (files_drop_privileges(file), blocking_op_writev(env, file, __VA_ARGS__))
#define blocking_op_pwritev(env, file, ...) (files_drop_privileges(file), blocking_op_pwritev(env, file, __VA_ARGS__))
#define os_ftruncate(file, size) (files_drop_privileges(file), os_ftruncate(file, size))
#define os_fallocate(file, ...) (files_drop_privileges(file), os_fallocate(file, __VA_ARGS__))
#define os_mkdirat files_mkdir
#define os_symlinkat files_symlink
#define os_linkat files_link
#define os_renameat files_rename
#define os_unlinkat files_unlink
#define os_fstatat files_stat
#define os_utimensat files_set_times
#define os_futimens files_set_own_times
#define fd_table_insert_existing insert_existing
#define wasmtime_ssp_poll_oneoff wait_for

#include "iwasm/libraries/libc-wasi/sandboxed-system-primitives/src/posix.c"

#undef fd_table_insert_existing
#undef wasmtime_ssp_poll_oneoff

/* What changes a directory or what is in it. */
#define CHANGING                                                                                                        \
    (__WASI_RIGHT_FD_DATASYNC | __WASI_RIGHT_FD_WRITE | __WASI_RIGHT_FD_ALLOCATE | __WASI_RIGHT_FD_FILESTAT_SET_SIZE    \
     | __WASI_RIGHT_FD_FILESTAT_SET_TIMES | __WASI_RIGHT_PATH_CREATE_DIRECTORY | __WASI_RIGHT_PATH_CREATE_FILE          \
     | __WASI_RIGHT_PATH_LINK_SOURCE | __WASI_RIGHT_PATH_LINK_TARGET | __WASI_RIGHT_PATH_RENAME_SOURCE                  \
     | __WASI_RIGHT_PATH_RENAME_TARGET | __WASI_RIGHT_PATH_FILESTAT_SET_SIZE | __WASI_RIGHT_PATH_FILESTAT_SET_TIMES     \
     | __WASI_RIGHT_PATH_SYMLINK | __WASI_RIGHT_PATH_UNLINK_FILE | __WASI_RIGHT_PATH_REMOVE_DIRECTORY)

/* Of the standard streams, whose flags other processes share. */
#define STDIN (__WASI_RIGHT_FD_READ | __WASI_RIGHT_FD_SEEK | __WASI_RIGHT_FD_TELL | __WASI_RIGHT_FD_FILESTAT_GET)
#define STDOUT (__WASI_RIGHT_FD_WRITE | __WASI_RIGHT_FD_FILESTAT_GET)

/* The descriptors that a guest begins with come in by this, each with all rights that its kind can have. */
bool
fd_table_insert_existing(struct fd_table *table, __wasi_fd_t number, os_file_handle file, bool is_stdio)
{
    const struct prebake_guest *guest = prebake_wamr_guest;
    __wasi_rights_t lost = 0;

    if (!insert_existing(table, number, file, is_stdio))
        return false;
    if (number == 0)
        lost = ~STDIN;
    else if (number < 3)
        lost = ~STDOUT;
    else if (number - 3 < guest->directory_count && guest->read_only_directories[number - 3])
        lost = CHANGING;
    rwlock_wrlock(&table->lock);
    table->entries[number].rights_base &= ~lost;
    table->entries[number].rights_inheriting &= ~lost;
    rwlock_unlock(&table->lock);
    return true;
}

__wasi_errno_t
wasmtime_ssp_poll_oneoff(wasm_exec_env_t env, struct fd_table *table, const __wasi_subscription_t *in, __wasi_event_t *out,
                         size_t count, size_t *events)
{
    return __WASI_ENOTSUP;
}
