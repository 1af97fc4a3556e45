/* What a 32-bit program does: its system calls, signals on an alternate stack, threads, 64-bit arithmetic, x87. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char alternate[65536];
static sigjmp_buf out;
static __thread int own;

static void fault(int number, siginfo_t *info, void *context) {
    (void)context;
    char *here = __builtin_frame_address(0);
    printf("signal %d, code %d, on the alternate stack: %d\n", number, info->si_code, here >= alternate && here < alternate + sizeof alternate);
    siglongjmp(out, 1);
}

static void *work(void *argument) {
    own = (int)(intptr_t)argument;
    uint64_t sum = 0;
    for (uint32_t i = 1; i < 50000; i++) sum = sum * 6364136223846793005u + i / (own + 1) + (sum >> 33) % i;
    return (void *)(uintptr_t)(uint32_t)(sum >> 32 ^ sum ^ own);
}

/* The system call gate that old programs use. */
static long int80(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%zu bytes a pointer, %zu a long double, %d arguments, the last '%s'\n", sizeof(void *), sizeof(long double), argc, argv[argc - 1]);
    printf("int 0x80: %d %ld\n", int80(SYS_getpid, 0, 0, 0) == getpid(), int80(SYS_write, -1, 0, 0));
    printf("old calls: %d %ld %d\n", int80(SYS_time, 0, 0, 0) > 1000000000, int80(24 /* 16-bit getuid */, 0, 0, 0), int80(199 /* getuid32 */, 0, 0, 0) == getuid());

    uint64_t a = 0xfedcba9876543210u, b = 0x123456789u;
    printf("64 bits: %llx %llx %llx %lld\n", a / b, a % b, a * b, (long long)a / -77);
    long double sum = 0;
    double product = 1;
    for (int i = 1; i < 1000; i++) sum += sinl(i) / i, product *= 1 + cos(i) / 100;
    printf("floats: %La %a %a %.20Lg\n", sum, product, fmod(1e300, 7), expl(1));

    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL), sigaction(SIGFPE, &action, NULL), sigaction(SIGILL, &action, NULL), sigaction(SIGTRAP, &action, NULL);
    volatile int zero = 0, *nowhere = (int *)16;
    if (!sigsetjmp(out, 1)) *nowhere = 1;
    if (!sigsetjmp(out, 1)) printf("%d\n", 100 / zero);
    if (!sigsetjmp(out, 1)) __asm__ volatile("ud2");
    if (!sigsetjmp(out, 1)) __asm__ volatile("int3");
    if (!sigsetjmp(out, 1)) __asm__ volatile("movb $127, %%al; addb $1, %%al; into" ::: "eax");
    if (!sigsetjmp(out, 1)) __asm__ volatile("pushl $5; pushl $6; movl %%esp, %%eax; movl $7, %%ecx; bound %%ecx, (%%eax)" ::: "eax", "ecx", "memory");

    /* Instructions that 64-bit mode has not. */
    unsigned d = 0x1234, aam, das;
    __asm__("movl %1, %%eax; aam; movl %%eax, %0" : "=r"(aam) : "r"(d) : "eax", "cc");
    __asm__("movl $0x9b, %%eax; subb $0x27, %%al; das; movl %%eax, %0" : "=r"(das)::"eax", "cc");
    printf("of old: %x %x\n", aam, das);

    pthread_t thread[6];
    unsigned threads = 0;
    for (intptr_t i = 0; i < 6; i++) pthread_create(&thread[i], NULL, work, (void *)i);
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(thread[i], &result);
        threads = threads * 31 + (unsigned)(uintptr_t)result;
    }
    printf("threads: %x\n", threads);

    int pipe_[2], pair[2], status;
    if (pipe(pipe_) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 1;
    pid_t child = fork();
    if (!child) {
        char buffer[16] = {0};
        struct iovec part[2] = {{"over ", 5}, {"there", 6}};
        struct msghdr message = {.msg_iov = part, .msg_iovlen = 2};
        if (read(pipe_[0], buffer, 6) != 6 || sendmsg(pair[1], &message, 0) != 11) _exit(1);
        _exit(strcmp(buffer, "hello") ? 2 : 42);
    }
    if (write(pipe_[1], "hello", 6) != 6) return 1;
    char answer[16];
    recv(pair[0], answer, 11, MSG_WAITALL);
    waitpid(child, &status, 0);
    printf("child: %s, status %d\n", answer, WEXITSTATUS(status));

    struct timespec before, after, pause = {0, 2000000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("slept: %d\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec >= 2000000);
    struct stat state = {0};
    FILE *file = fopen("/tmp/large", "w+");
    printf("large: %d", fseeko(file, 0x7fffffff, SEEK_SET) || putc('x', file) == EOF || fclose(file) || stat("/tmp/large", &state));
    printf(" %lld\n", (long long)state.st_size);
    unlink("/tmp/large");
    char *memory = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, 64 << 20);
    printf("memory: %d %d\n", memory[12345678], mprotect(memory, 4096, PROT_NONE));
    if (!sigsetjmp(out, 1)) memory[0] = 1;
    return 7;
}
