"""Files as programs use them: holes, mappings, locks, times, modes, renames, what is open while it is removed."""
import errno, fcntl, hashlib, mmap, os, stat, sys, time

where = sys.argv[1] if len(sys.argv) > 1 else "/tmp"
# What a file system may do without: telling of holes, times in nanoseconds and before 1970, the clock of the program, folders that are removed
# while they are open.
without = sys.argv[2:]
os.chdir(where)
os.umask(0o22)

def said(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def content(path):
    with open(path, "rb") as file:
        return hashlib.md5(file.read()).hexdigest()

# Holes.
file = os.open("holes", os.O_CREAT | os.O_RDWR, 0o644)
for place in (0, 1 << 20, (1 << 32) + 4096):
    os.pwrite(file, b"data" * 1024, place)
if "holes" not in without:
    print("holes:", [os.lseek(file, at, how) for at, how in ((0, os.SEEK_HOLE), (4096, os.SEEK_DATA), (1 << 21, os.SEEK_DATA), (1 << 20, os.SEEK_HOLE))])
print("sparse:", os.fstat(file).st_size, os.fstat(file).st_blocks < 1000, os.pread(file, 4, 1 << 30), os.pread(file, 8, (1 << 32) + 4092))
os.ftruncate(file, 5000)
os.ftruncate(file, 10000)
print("cut:", os.fstat(file).st_size, os.pread(file, 8, 4092), os.pread(file, 10, 9995), said(os.ftruncate, file, -1))
os.close(file)

# Open files under renames and removals.
for name in ("one", "two"):
    with open(name, "w") as new:
        new.write(name * 1000)
one, two = open("one", "r+"), open("two", "r+")
os.rename("one", "two")
print("renamed over:", two.read(6), one.read(6), os.fstat(two.fileno()).st_nlink, os.fstat(one.fileno()).st_nlink, os.listdir().count("one"))
two.write("more"), two.flush()
os.unlink("two")
one.seek(0), one.write("still there"), one.flush(), one.seek(0)
print("unlinked:", one.read(11), two.seek(0, 2), os.fstat(one.fileno()).st_size, os.path.exists("two"))
os.ftruncate(one.fileno(), 5)
os.fchmod(one.fileno(), 0o600)
print("changed after:", os.fstat(one.fileno()).st_size, oct(os.fstat(one.fileno()).st_mode))
one.close(), two.close()
folder = os.open(".", os.O_RDONLY)
os.mkdir("dir"), os.mkdir("dir/inner")
inside = os.open("dir/inner", os.O_RDONLY)
open("dir/inner/file", "w").close()
os.rename("dir", "moved")
print("moved:", os.listdir(inside), said(os.rename, "moved", "moved/inner/below"), said(os.rmdir, "moved"), said(os.unlink, "moved"))
with open(os.open("file", os.O_RDWR, dir_fd=inside), "w") as moved:
    moved.write("through the folder")
print("reached:", open("moved/inner/file").read())
os.unlink("moved/inner/file"), os.rmdir("moved/inner")
if "removed" not in without:
    print("gone:", said(os.listdir, inside), os.fstat(inside).st_nlink)
os.close(inside), os.rmdir("moved")

# Names, links, modes.
long = "n" * 255
open(long, "w").close(), os.unlink(long)
print("names:", said(open, "n" * 256, "w"), said(os.mkdir, "Grüße \n\t\x01"), said(os.rmdir, "Grüße \n\t\x01"), said(os.open, "none", os.O_RDONLY), said(os.mkdir, "holes"))
os.link("holes", "linked"), os.symlink("holes", "symbolic"), os.symlink("/nowhere/at all", "dangling")
print("links:", os.stat("linked").st_nlink, os.path.samefile("holes", "linked"), os.readlink("dangling"), said(os.stat, "dangling"), os.lstat("symbolic").st_size, said(os.link, ".", "x"))
os.chmod("holes", 0o1640)
print("modes:", oct(os.stat("linked").st_mode), said(os.chmod, "none", 0))
os.mkfifo("fifo", 0o620)
print("fifo:", stat.S_ISFIFO(os.stat("fifo").st_mode), oct(os.stat("fifo").st_mode))
os.utime("holes", (1_234_567_890, 4_102_444_801))
print("times:", os.stat("holes").st_atime_ns, os.stat("holes").st_mtime_ns)
if "times" not in without:
    os.utime("holes", ns=(1_234_567_890_123_456_789, -86400_000_000_000 + 5))
    print("fine times:", os.stat("holes").st_atime_ns, os.stat("holes").st_mtime_ns)
if "clock" not in without:
    now = time.time()
    os.utime("holes")
    print("now:", abs(os.stat("holes").st_mtime - now) < 60)
os.chown("holes", 12, 34)
print("owners:", os.stat("holes").st_uid, os.stat("holes").st_gid)
os.setxattr("holes", "user.one", b"1" * 1000), os.setxattr("holes", "user.two", b"")
print("attributes:", sorted(os.listxattr("holes")), os.getxattr("holes", "user.one") == b"1" * 1000, said(os.getxattr, "holes", "user.none"),
      said(os.setxattr, "holes", "user.one", b"2", os.XATTR_CREATE), said(os.setxattr, "holes", "user.three", b"2", os.XATTR_REPLACE))
os.removexattr("holes", "user.one")
print("one less:", os.listxattr("holes"), said(os.removexattr, "holes", "user.one"))

# Flags.
file = os.open("flags", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
print("exclusive:", said(os.open, "flags", os.O_CREAT | os.O_EXCL | os.O_WRONLY), said(os.read, file, 1), said(os.open, "flags", os.O_DIRECTORY), said(os.open, "symbolic", os.O_NOFOLLOW), said(os.open, ".", os.O_WRONLY))
os.close(file)
appenders = [os.open("flags", os.O_WRONLY | os.O_APPEND) for _ in range(3)]
for turn in range(30):
    os.write(appenders[turn % 3], b"%02d" % turn)
print("appended:", open("flags").read())
print("truncated:", os.fstat(os.open("flags", os.O_WRONLY | os.O_TRUNC)).st_size)

# Locks between processes. Linux's 9P client makes locks of both kinds the same, so that whoever has one waits for himself at the other.
locked, flocked = (os.open(name, os.O_CREAT | os.O_RDWR, 0o600) for name in ("locked", "flocked"))
fcntl.lockf(locked, fcntl.LOCK_EX, 10, 0)
fcntl.flock(flocked, fcntl.LOCK_EX)
pid = os.fork()
if pid == 0:
    parts, whole = os.open("locked", os.O_RDWR), os.open("flocked", os.O_RDWR)
    answers = [said(fcntl.lockf, parts, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5), said(fcntl.lockf, parts, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 10), said(fcntl.flock, whole, fcntl.LOCK_SH | fcntl.LOCK_NB)]
    print("locks:", answers, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
os.close(locked), os.close(flocked)

# Mappings.
with open("mapped", "wb") as file:
    file.write(bytes(range(256)) * 64)
with open("mapped", "r+b") as file:
    private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    private[0:4] = b"mine"
    read = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    print("mapped:", read[0:4], private[0:4], len(read), hashlib.md5(read).hexdigest())
    shared = mmap.mmap(file.fileno(), 0)
    shared[4096:4102] = b"shared"
    shared.flush()
    print("shared:", os.pread(file.fileno(), 6, 4096), read[4096:4102])
    shared.close()
print("kept:", content("mapped"))

# A folder that changes while it is read.
os.mkdir("many")
for number in range(1000):
    open(f"many/{number:04}", "w").close()
seen, stale = set(), 0
with os.scandir("many") as entries:
    for count, entry in enumerate(entries):
        seen.add(entry.name)
        if count == 300:
            for number in range(0, 1000, 2):
                os.unlink(f"many/{number:04}")
            for number in range(1000, 1100):
                open(f"many/{number:04}", "w").close()
print("while it changed:", sum(f"{number:04}" in seen for number in range(1, 1000, 2)), len(os.listdir("many")))
for name in os.listdir("many"):
    os.unlink("many/" + name)
os.rmdir("many")
os.fsync(folder)
for name in sorted(os.listdir()):
    if name in ("dangling", "fifo", "flags", "holes", "linked", "locked", "mapped", "symbolic"):
        os.unlink(name)
