/* Floating point, threads and signals, as a program sees them. Prints what must be the same on every machine. */
#define _GNU_SOURCE
#include <complex.h>
#include <cpuid.h>
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

#define CHECK(what) do { if (!(what)) { printf("FAILED, line %d: %s\n", __LINE__, #what); exit(1); } } while (0)

/* --- Floating point. */

static uint64_t hash = 14695981039346656037u;

static void mix(const void *data, size_t length) {
    for (const unsigned char *byte = data; length--; byte++) hash = (hash ^ *byte) * 1099511628211u;
}

static double next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint64_t bits = *state >> 12 | (uint64_t)(1003 + (*state >> 5) % 41) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void floats(void) {
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static double (*const functions[])(double) = {sin, cos, tan, exp, log, sqrt, cbrt, atan, sinh, tanh, erf, lgamma, rint, nearbyint};
    for (int mode = 0; mode < 4; mode++) {
        fesetround(modes[mode]);
        feclearexcept(FE_ALL_EXCEPT);
        hash = 14695981039346656037u;
        uint64_t state = 1;
        for (int turn = 0; turn < 5000; turn++) {
            volatile double a = next(&state), b = next(&state), c = a * b + a / b - sqrt(b);
            volatile float f = (float)a / (float)b;
            volatile long double l = (long double)a * b + sqrtl(b) / 3 - (long double)f;
            long whole = lrint(c);
            double l53 = (double)l;
            mix((void *)&c, sizeof c), mix((void *)&f, sizeof f), mix((void *)&l, 10), mix(&whole, sizeof whole), mix(&l53, sizeof l53);
            double value = functions[turn % 14](a);
            mix(&value, sizeof value);
        }
        printf("rounding %d: %016lx, exceptions %x\n", mode, hash, fetestexcept(FE_ALL_EXCEPT));
    }
    fesetround(FE_TONEAREST);
    volatile double tiny = DBL_MIN, two = 2;
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    printf("flushed: %a\n", tiny / two);
    _mm_setcsr(before);
    printf("denormal: %a\n", tiny / two);
    volatile long double ten = 10, third = 1 / ten;
    printf("long double: %La %.25Lf %La\n", third, third, powl(ten, 4931) * ten);
    double complex z = csqrt(-3 + 4 * I) * cexp(I * M_PI / 7);
    printf("complex: %a %a\n", creal(z), cimag(z));
    printf("printf: %.17g %.3e %g %a\n", 0.1, 12345.6789, 1e300 * 1e10, 5e-324);
    printf("strtod: %a %a %a\n", strtod("2.2250738585072011e-308", NULL), strtod("1.7976931348623159e308", NULL), strtod("0x1.8p-1074", NULL));
}

/* --- Signals, on a stack of their own. */

static char alternate[65536] __attribute__((aligned(16)));
static sigjmp_buf out;
static volatile int seen, nested;

static int on_alternate(const char *frame) {
    return frame >= alternate && frame < alternate + sizeof alternate;
}

static void fault(int number, siginfo_t *info, void *context) {
    ucontext_t *user = context;
    printf("signal %d, code %d, address %s, on the alternate stack: %d, mxcsr %x, x87 status %x\n", number, info->si_code,
           info->si_addr == (void *)16 ? "16" : "another", on_alternate(__builtin_frame_address(0)), user->uc_mcontext.fpregs->mxcsr & 0xffff,
           user->uc_mcontext.fpregs->swd & 0xff);
    siglongjmp(out, 1);
}

/* Reads and changes the frame's registers: what is changed must be there after the return. */
static void frame(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    struct _libc_fpstate *state = ((ucontext_t *)context)->uc_mcontext.fpregs;
    for (int i = 0; i < 16; i++) {
        CHECK(state->_xmm[i].element[0] == 0x1000u + i && state->_xmm[i].element[3] == 0x4000u + i);
        state->_xmm[i].element[1] = 0xabcd0000u + i;
    }
    CHECK((state->swd >> 11 & 7) == 6);
    unsigned a, b, c, d, magic, size;
    CHECK(__get_cpuid(1, &a, &b, &c, &d));
    if (c & bit_OSXSAVE) {
        memcpy(&magic, (char *)state + 464, 4);
        memcpy(&size, (char *)state + 468, 4);
        CHECK(magic == FP_XSTATE_MAGIC1);
        memcpy(&magic, (char *)state + size - 4, 4);
        CHECK(magic == FP_XSTATE_MAGIC2);
    }
    /* And the registers themselves may be clobbered. */
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15; fninit; fldpi"
                     ::: "xmm0", "xmm7", "xmm15", "st");
    seen++;
}

static void nest(int number) {
    CHECK(on_alternate(__builtin_frame_address(0)));
    nested += number == SIGUSR1 ? 1 : 100;
    if (number == SIGUSR1 && nested < 10) raise(SIGUSR2), raise(SIGUSR1);
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | flags};
    sigaction(number, &action, NULL);
}

static void signals(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    CHECK(sigaltstack(&stack, NULL) == 0);
    handle(SIGSEGV, fault, 0), handle(SIGFPE, fault, 0), handle(SIGILL, fault, 0), handle(SIGTRAP, fault, 0), handle(SIGBUS, fault, 0);
    volatile int zero = 0, *nowhere = (int *)16;
    volatile double dzero = 0, one = 1;
    volatile long double lzero = 0, lone = 1;
    if (!sigsetjmp(out, 1)) *nowhere = 1;
    if (!sigsetjmp(out, 1)) printf("%d\n", 100 / zero);
    if (!sigsetjmp(out, 1)) __asm__ volatile("ud2");
    if (!sigsetjmp(out, 1)) __asm__ volatile("int3");
    if (!sigsetjmp(out, 1)) __asm__ volatile("movq $1, (%0)" ::"r"(0x8000000000000000u));
    if (!sigsetjmp(out, 1)) __asm__ volatile("hlt");
    if (!sigsetjmp(out, 1)) {
        feclearexcept(FE_ALL_EXCEPT), feenableexcept(FE_DIVBYZERO);
        printf("%f\n", one / dzero);
    }
    if (!sigsetjmp(out, 1)) {
        feclearexcept(FE_ALL_EXCEPT), feenableexcept(FE_DIVBYZERO);
        printf("%Lf\n", lone / lzero);
    }
    fesetenv(FE_DFL_ENV);

    handle(SIGUSR1, frame, 0);
    uint32_t before[16][4], after[16][4];
    unsigned short status;
    for (uint32_t i = 0; i < 16; i++)
        for (uint32_t j = 0; j < 4; j++) before[i][j] = (j + 1) * 0x1000 + i;
    long number = 234 /* tgkill */, pid = getpid(), tid = gettid();
    register long arg3 __asm__("rdx") = SIGUSR1;
    __asm__ volatile(
        "fninit; fld1; fldpi\n\t"
        "movdqu 0x00(%2), %%xmm0; movdqu 0x10(%2), %%xmm1; movdqu 0x20(%2), %%xmm2; movdqu 0x30(%2), %%xmm3\n\t"
        "movdqu 0x40(%2), %%xmm4; movdqu 0x50(%2), %%xmm5; movdqu 0x60(%2), %%xmm6; movdqu 0x70(%2), %%xmm7\n\t"
        "movdqu 0x80(%2), %%xmm8; movdqu 0x90(%2), %%xmm9; movdqu 0xa0(%2), %%xmm10; movdqu 0xb0(%2), %%xmm11\n\t"
        "movdqu 0xc0(%2), %%xmm12; movdqu 0xd0(%2), %%xmm13; movdqu 0xe0(%2), %%xmm14; movdqu 0xf0(%2), %%xmm15\n\t"
        "syscall\n\t"
        "movdqu %%xmm0, 0x00(%3); movdqu %%xmm1, 0x10(%3); movdqu %%xmm2, 0x20(%3); movdqu %%xmm3, 0x30(%3)\n\t"
        "movdqu %%xmm4, 0x40(%3); movdqu %%xmm5, 0x50(%3); movdqu %%xmm6, 0x60(%3); movdqu %%xmm7, 0x70(%3)\n\t"
        "movdqu %%xmm8, 0x80(%3); movdqu %%xmm9, 0x90(%3); movdqu %%xmm10, 0xa0(%3); movdqu %%xmm11, 0xb0(%3)\n\t"
        "movdqu %%xmm12, 0xc0(%3); movdqu %%xmm13, 0xd0(%3); movdqu %%xmm14, 0xe0(%3); movdqu %%xmm15, 0xf0(%3)\n\t"
        "fnstsw %1; fstp %%st; fstp %%st"
        : "+a"(number), "=m"(status)
        : "r"(before), "r"(after), "D"(pid), "S"(tid), "r"(arg3)
        : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
          "xmm13", "xmm14", "xmm15", "st", "st(1)");
    CHECK(number == 0 && seen == 1);
    CHECK((status >> 11 & 7) == 6);
    for (uint32_t i = 0; i < 16; i++)
        for (uint32_t j = 0; j < 4; j++) CHECK(after[i][j] == (j == 1 ? 0xabcd0000u + i : before[i][j]));
    puts("the frame's registers are the program's, both ways");

    struct sigaction action = {.sa_handler = nest, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigaction(SIGUSR1, &action, NULL), sigaction(SIGUSR2, &action, NULL);
    raise(SIGUSR1);
    printf("nested: %d\n", nested);
}

/* A timer interrupts arithmetic, which must not notice. */
static volatile int ticks;

static void tick(int number) {
    (void)number;
    volatile double noise = ticks;
    for (int i = 0; i < 50; i++) noise = noise * 1.5 + sqrt(noise);
    ticks++;
}

static void interrupted(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(SIGALRM, &action, NULL);
    timer_t timer;
    struct itimerspec often = {{0, 1000000}, {0, 1000000}}, never = {0};
    CHECK(timer_create(CLOCK_MONOTONIC, &(struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM}, &timer) == 0);
    timer_settime(timer, 0, &often, NULL);
    double sum = 0;
    long double long_sum = 0;
    for (int round = 0; round < 1000 && ticks < 20; round++) {
        sum = 0, long_sum = 0;
        for (int i = 1; i <= 20000; i++) sum += 1.0 / i, long_sum += sqrtl(i);
    }
    timer_settime(timer, 0, &never, NULL);
    CHECK(ticks >= 5);
    printf("interrupted: %a %La\n", sum, long_sum);
}

/* --- Threads. */

enum { THREADS = 8, TURNS = 2000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static int turn;
static long atomic_count, locked_count;
static __thread double own;

static void *work(void *argument) {
    long me = (long)argument;
    own = me;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < TURNS; i++) {
        __atomic_add_fetch(&atomic_count, 1, __ATOMIC_SEQ_CST);
        pthread_mutex_lock(&mutex);
        locked_count += me;
        pthread_mutex_unlock(&mutex);
        own = own * 0.75 + sqrt(i);
    }
    for (int i = 0; i < 20; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % THREADS != me) pthread_cond_wait(&turned, &mutex);
        turn++;
        pthread_cond_broadcast(&turned);
        pthread_mutex_unlock(&mutex);
    }
    double *result = malloc(sizeof *result);
    *result = own;
    return result;
}

static void threads(void) {
    pthread_t thread[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, work, (void *)i) == 0);
    double sum = 0;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(thread[i], &result);
        sum += *(double *)result;
        free(result);
    }
    printf("threads: %ld %ld %d %a\n", atomic_count, locked_count, turn, sum);
}

/* --- Processes and memory. */

static void processes(void) {
    int *shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *private = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(private, 'p', 1 << 20);
    for (int i = 0; i < 20; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            memset(private + i * 4096, 'c', 4096);
            __atomic_add_fetch(shared, i, __ATOMIC_SEQ_CST);
            if (i % 3 == 2) raise(SIGKILL);
            _exit(i);
        }
        int status;
        waitpid(child, &status, 0);
        printf("%s%x", i ? " " : "children: ", status);
    }
    int changed = 0;
    for (int i = 0; i < 1 << 20; i++) changed += private[i] != 'p';
    printf("; %d %d\n", *shared, changed);
    /* Code that is written, run, and written again. */
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long sum = 0;
    for (int i = 0; i < 100; i++) {
        unsigned char add[] = {0x48, 0x8d, 0x47, (unsigned char)i, 0xc3};
        memcpy(code, add, sizeof add);
        sum += ((long (*)(long))code)(i);
    }
    printf("code of its own: %ld\n", sum);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    floats();
    signals();
    interrupted();
    threads();
    processes();
    return 0;
}
