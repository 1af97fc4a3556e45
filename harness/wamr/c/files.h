/* Calls on files in place of WAMR's own, of the same form. See posix.c. */

enum grant { OF_ITS_DIRECTORY, FOR_WRITING, READ_ONLY };

static bool
is_among(const struct prebake_files *list, const struct stat *file)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->files[i].device == file->st_dev && list->files[i].inode == file->st_ino)
            return true;
    return false;
}

static enum grant
grant_of(const struct stat *file)
{
    const struct prebake_guest *guest = prebake_wamr_guest;

    if (is_among(&guest->writable, file))
        return FOR_WRITING;
    return is_among(&guest->read_only, file) ? READ_ONLY : OF_ITS_DIRECTORY;
}

/* Whether nothing in the directory may be changed. What counts is the innermost that was given. */
static bool
is_read_only(int directory)
{
    struct stat file, above;
    enum grant grant = READ_ONLY;
    int at = directory, up;

    if (prebake_wamr_guest->read_only.count == 0)
        return false;
    while (fstat(at, &file) == 0 && (grant = grant_of(&file)) == OF_ITS_DIRECTORY) {
        up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (at != directory)
            close(at);
        at = up;
        if (up < 0 || fstat(up, &above) != 0) {
            grant = READ_ONLY;
            break;
        }
        if (above.st_dev == file.st_dev && above.st_ino == file.st_ino) {
            grant = FOR_WRITING;
            break;
        }
    }
    if (at >= 0 && at != directory)
        close(at);
    return grant == READ_ONLY;
}

/* Whether the file, which is in the directory, may be changed. */
static bool
may_change(int directory, const struct stat *file)
{
    enum grant grant = grant_of(file);

    return grant == FOR_WRITING || (grant == OF_ITS_DIRECTORY && !is_read_only(directory));
}

/* Whether what has this name, if anything, must stay where it is. */
static bool
is_kept(int directory, const char *path)
{
    struct stat file;

    return prebake_wamr_guest->kept.count != 0 && fstatat(directory, path, &file, AT_SYMLINK_NOFOLLOW) == 0
           && is_among(&prebake_wamr_guest->kept, &file);
}

struct proc_path {
    char text[32];
};

/* A path to what a descriptor stands for, whatever has become of its name. */
static struct proc_path
proc_path(int file)
{
    struct proc_path path;

    snprintf(path.text, sizeof path.text, "/proc/self/fd/%d", file);
    return path;
}

/* Takes the set-user-ID and set-group-ID bits from a file that is about to be written. The kernel leaves them where root writes. */
static void
files_drop_privileges(int file)
{
    struct stat stat;

    if (geteuid() == 0 && fstat(file, &stat) == 0 && S_ISREG(stat.st_mode) && (stat.st_mode & (S_ISUID | S_ISGID)) != 0)
        (void)!chmod(proc_path(file).text, stat.st_mode & 01777);
}

/* A name without the slashes behind it, before which a link would be followed. Whether there were some. */
static bool
without_slashes(const char *path, char name[static NAME_MAX + 2])
{
    size_t length = strlen(path), all = length;

    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length > NAME_MAX + 1)
        length = NAME_MAX + 1;
    memcpy(name, path, length);
    name[length] = '\0';
    return length < all;
}

/* Opens the file or directory that `place` only holds the place of. */
static __wasi_errno_t
open_place(int directory, int place, __wasi_oflags_t oflags, int flags, os_file_handle *out)
{
    struct stat file;
    bool changes = (flags & O_ACCMODE) != O_RDONLY || (oflags & __WASI_O_TRUNC) != 0;

    if (fstat(place, &file) != 0)
        return convert_errno(errno);
    if (S_ISLNK(file.st_mode))
        return __WASI_ELOOP;
    if (S_ISDIR(file.st_mode)) {
        if (changes)
            return __WASI_EISDIR;
    }
    else if ((oflags & __WASI_O_DIRECTORY) != 0)
        return __WASI_ENOTDIR;
    else if (!S_ISREG(file.st_mode))
        return __WASI_ENXIO;
    if (changes && !may_change(directory, &file))
        return __WASI_EROFS;
    if ((oflags & __WASI_O_TRUNC) != 0) {
        files_drop_privileges(place);
        flags |= O_TRUNC;
    }
    int opened = open(proc_path(place).text, flags);
    if (opened < 0)
        return convert_errno(errno);
    *out = opened;
    return __WASI_ESUCCESS;
}

static __wasi_errno_t
files_open(os_file_handle directory, const char *path, __wasi_oflags_t oflags, __wasi_fdflags_t fdflags,
           __wasi_lookupflags_t lookup, wasi_libc_file_access_mode mode, os_file_handle *out)
{
    /* Somebody else may make the file between the look and the attempt to make it, and remove it again. */
    enum { TRIES = 16 };
    char name[NAME_MAX + 2];
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

    (void)lookup;
    flags |= mode == WASI_LIBC_ACCESS_MODE_READ_WRITE ? O_RDWR : mode == WASI_LIBC_ACCESS_MODE_WRITE_ONLY ? O_WRONLY : O_RDONLY;
    flags |= (fdflags & __WASI_FDFLAG_APPEND) != 0 ? O_APPEND : 0;
    flags |= (fdflags & __WASI_FDFLAG_DSYNC) != 0 ? O_DSYNC : 0;
    flags |= (fdflags & (__WASI_FDFLAG_SYNC | __WASI_FDFLAG_RSYNC)) != 0 ? O_SYNC : 0;
    if (without_slashes(path, name))
        oflags |= __WASI_O_DIRECTORY;
    if ((oflags & __WASI_O_CREAT) != 0 && (oflags & __WASI_O_DIRECTORY) != 0)
        return __WASI_EINVAL;
    for (int tries = 0; tries < TRIES; tries++) {
        int place = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (place >= 0) {
            bool is_new = (oflags & __WASI_O_CREAT) != 0 && (oflags & __WASI_O_EXCL) != 0;
            __wasi_errno_t error = is_new ? __WASI_EEXIST : open_place(directory, place, oflags, flags, out);
            close(place);
            return error;
        }
        if (errno != ENOENT || (oflags & __WASI_O_CREAT) == 0)
            return convert_errno(errno);
        if (is_read_only(directory))
            return __WASI_EROFS;
        int made = openat(directory, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
        if (made >= 0) {
            *out = made;
            return __WASI_ESUCCESS;
        }
        if (errno != EEXIST)
            return convert_errno(errno);
    }
    return __WASI_EAGAIN;
}

static __wasi_errno_t
files_mkdir(os_file_handle directory, const char *path)
{
    return is_read_only(directory) ? __WASI_EROFS : os_mkdirat(directory, path);
}

static __wasi_errno_t
files_symlink(const char *text, os_file_handle directory, const char *path)
{
    return is_read_only(directory) ? __WASI_EROFS : os_symlinkat(text, directory, path);
}

static __wasi_errno_t
files_link(os_file_handle from, const char *from_path, os_file_handle to, const char *to_path, __wasi_lookupflags_t lookup)
{
    struct stat file;

    (void)lookup;
    if (fstatat(from, from_path, &file, AT_SYMLINK_NOFOLLOW) != 0)
        return convert_errno(errno);
    /* A second name outside of what is read-only would be one to write by. */
    if (!may_change(from, &file))
        return __WASI_EXDEV;
    return is_read_only(to) ? __WASI_EROFS : os_linkat(from, from_path, to, to_path, 0);
}

static __wasi_errno_t
files_rename(os_file_handle from, const char *from_path, os_file_handle to, const char *to_path)
{
    if (is_read_only(from) || is_read_only(to))
        return __WASI_EROFS;
    if (is_kept(from, from_path) || is_kept(to, to_path))
        return __WASI_EBUSY;
    return os_renameat(from, from_path, to, to_path);
}

static __wasi_errno_t
files_unlink(os_file_handle directory, const char *path, bool is_directory)
{
    if (is_read_only(directory))
        return __WASI_EROFS;
    return is_kept(directory, path) ? __WASI_EBUSY : os_unlinkat(directory, path, is_directory);
}

static __wasi_errno_t
files_stat(os_file_handle directory, const char *path, struct __wasi_filestat_t *out, __wasi_lookupflags_t lookup)
{
    char name[NAME_MAX + 2];

    (void)lookup;
    without_slashes(path, name);
    return os_fstatat(directory, name, out, 0);
}

static __wasi_errno_t
files_set_times(os_file_handle directory, const char *path, __wasi_timestamp_t accessed, __wasi_timestamp_t modified,
                __wasi_fstflags_t which, __wasi_lookupflags_t lookup)
{
    char name[NAME_MAX + 2];
    struct stat file;

    (void)lookup;
    without_slashes(path, name);
    if (fstatat(directory, name, &file, AT_SYMLINK_NOFOLLOW) != 0)
        return convert_errno(errno);
    return may_change(directory, &file) ? os_utimensat(directory, name, accessed, modified, which, 0) : __WASI_EROFS;
}

/* Of an open file. Its directory is not known any more: where anything is read-only, it must be open for writing. */
static __wasi_errno_t
files_set_own_times(os_file_handle file, __wasi_timestamp_t accessed, __wasi_timestamp_t modified, __wasi_fstflags_t which)
{
    struct stat stat;

    if (prebake_wamr_guest->read_only.count != 0 && (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY
        && (fstat(file, &stat) != 0 || !S_ISDIR(stat.st_mode) || is_read_only(file)))
        return __WASI_EROFS;
    return os_futimens(file, accessed, modified, which);
}
