/* Threads, signals and floats by musl. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 16, TURNS = 3000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static sem_t slots;
static int turn, initialised, destroyed;
static long counted;
static __thread double own;
static char alternate[65536];
static sigjmp_buf out;

static void destroy(void *value) {
    __atomic_add_fetch(&destroyed, (int)(intptr_t)value, __ATOMIC_SEQ_CST);
}

static void initialise(void) {
    initialised++;
    pthread_key_create(&key, destroy);
}

static void *work(void *argument) {
    long me = (long)argument;
    pthread_once(&once, initialise);
    pthread_setspecific(key, (void *)(me + 1));
    for (int i = 0; i < TURNS; i++) {
        sem_wait(&slots);
        pthread_rwlock_wrlock(&lock);
        counted += me;
        pthread_rwlock_unlock(&lock);
        sem_post(&slots);
        own = own * 0.5 + sqrt(i) * sin(me + i);
    }
    for (int i = 0; i < 10; i++) {
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

static void *endless(void *argument) {
    (void)argument;
    for (;;) sleep(1000);
    return NULL;
}

static void fault(int number, siginfo_t *info, void *context) {
    (void)context;
    char *here = __builtin_frame_address(0);
    printf("signal %d, code %d, on the alternate stack: %d\n", number, info->si_code, here >= alternate && here < alternate + sizeof alternate);
    siglongjmp(out, 1);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    sem_init(&slots, 0, 3);
    pthread_t thread[THREADS], other;
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, work, (void *)i)) return 1;
    double sum = 0;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(thread[i], &result);
        sum += *(double *)result;
    }
    printf("threads: %ld %d %d %d %a\n", counted, turn, initialised, destroyed, sum);
    void *result;
    pthread_create(&other, NULL, endless, NULL);
    pthread_cancel(other);
    pthread_join(other, &result);
    printf("cancelled: %d\n", result == PTHREAD_CANCELED);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec = (until.tv_nsec + 50000000) % 1000000000, until.tv_sec += until.tv_nsec < 50000000;
    pthread_mutex_lock(&mutex);
    printf("timed out: %s\n", strerror(pthread_cond_timedwait(&turned, &mutex, &until)));
    pthread_mutex_unlock(&mutex);

    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL), sigaction(SIGFPE, &action, NULL);
    volatile int zero = 0, *nowhere = (int *)16;
    if (!sigsetjmp(out, 1)) *nowhere = 1;
    if (!sigsetjmp(out, 1)) printf("%d\n", 100 / zero);

    long double product = 1;
    for (int i = 1; i < 2000; i++) product *= 1 + sinl(i) / i;
    printf("floats: %La %.20Lg %a %s\n", product, expl(1), strtod("0.1", NULL), zero ? "" : "exact");
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (!child) _exit(i);
        int status;
        waitpid(child, &status, 0);
        sum += WEXITSTATUS(status);
    }
    printf("children: %a\n", sum);
    return 0;
}
