"""Many processes at once: a chain of pipes, a tree, a storm of signals, and who inherits what."""
import ctypes, fcntl, mmap, os, resource, select, signal, socket, struct, sys, threading, time

def waited(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# A number goes through 400 processes, each of which adds one.
first_read, first_write = os.pipe()
children, source = [], first_read
for _ in range(400):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        number, = struct.unpack("q", os.read(source, 8))
        os.write(write, struct.pack("q", number + 1))
        os._exit(0)
    children.append(pid)
    os.close(write)
    if source != first_read:
        os.close(source)
    source = read
os.write(first_write, struct.pack("q", 1000))
print("chain:", struct.unpack("q", os.read(source, 8))[0], {waited(pid) for pid in children})

# A tree of 2^9 processes counts its leaves in shared memory.
shared = mmap.mmap(-1, 4096)
lock = os.open("/tmp/lock", os.O_CREAT | os.O_RDWR)
def grow(depth):
    if depth == 0:
        mine = os.open("/tmp/lock", os.O_RDWR)
        fcntl.flock(mine, fcntl.LOCK_EX)
        shared[0:8] = struct.pack("q", struct.unpack("q", shared[0:8])[0] + 1)
        os._exit(0)
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            grow(depth - 1)
        pids.append(pid)
    codes = [waited(pid) for pid in pids]
    if depth < 9:
        os._exit(sum(codes))
    return codes
print("tree:", grow(9), struct.unpack("q", shared[0:8])[0])

# Threads and processes exchange messages over sockets.
left, right = socket.socketpair()
pid = os.fork()
if pid == 0:
    left.close()
    total = 0
    while data := right.recv(65536):
        total += sum(data)
    right.sendall(struct.pack("q", total))
    os._exit(0)
right.close()
for i in range(2000):
    left.sendall(bytes([i % 256]) * 1000)
left.shutdown(socket.SHUT_WR)
print("socket:", struct.unpack("q", left.recv(8))[0], waited(pid))

# Real-time signals are queued, in order and with their values.
got = []
signal.pthread_sigmask(signal.SIG_BLOCK, range(signal.SIGRTMIN, signal.SIGRTMIN + 4))
libc = ctypes.CDLL(None)
for value in range(500):
    libc.sigqueue(os.getpid(), signal.SIGRTMIN + value % 4, ctypes.c_void_p(value))
while info := signal.sigtimedwait(range(signal.SIGRTMIN, signal.SIGRTMIN + 4), 0):
    got.append(info.si_signo - signal.SIGRTMIN)
print("queued:", len(got), got == sorted(got))

# Stopped, continued, killed: the parent hears of each.
pid = os.fork()
if pid == 0:
    while True:
        time.sleep(1)
heard = []
for what, flags in ((signal.SIGSTOP, os.WUNTRACED), (signal.SIGCONT, os.WCONTINUED), (signal.SIGTERM, 0)):
    os.kill(pid, what)
    heard.append(os.waitpid(pid, flags)[1])
print("job:", heard)

# Limits.
pid = os.fork()
if pid == 0:
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    while True:
        pass
print("too long:", waited(pid))
pid = os.fork()
if pid == 0:
    resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
    try:
        bytearray(300 << 20)
    except MemoryError:
        os._exit(9)
print("too large:", waited(pid))
pid = os.fork()
if pid == 0:
    def deeper(n):
        return deeper(n + 1)
    sys.setrecursionlimit(10 ** 9)
    threading.stack_size(256 << 10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    thread = threading.Thread(target=ctypes.memset, args=(8, 0, 1))
    thread.start()
    thread.join()
print("a bad store:", waited(pid))

# Poll, epoll, eventfd and timers.
poller, counter = select.epoll(), os.eventfd(0)
poller.register(counter, select.EPOLLIN)
threading.Thread(target=lambda: [os.eventfd_write(counter, 3) for _ in range(100)]).start()
total = 0
while total < 300:
    poller.poll()
    total += os.eventfd_read(counter)
start = time.monotonic()
print("events:", total, poller.poll(0.05), time.monotonic() - start >= 0.05)
