// What programs do with the library, in bindings/test/world: scenario PROGRAM [short]
// PROGRAM is prebake itself, beside which the first answer is measured.

#include <dirent.h>
#include <fcntl.h>
#include <prebake.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *home, *image;

#define CHECK(condition, ...) \
    do { \
        if (!(condition)) { \
            printf("FAILED %s:%d: %s: ", __FILE__, __LINE__, #condition); \
            printf(__VA_ARGS__); \
            putchar('\n'); \
            exit(1); \
        } \
    } while (0)

static char *format(const char *text, ...) {
    char *made;
    va_list arguments;
    va_start(arguments, text);
    if (vasprintf(&made, text, arguments) < 0) abort();
    va_end(arguments);
    return made;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

// Whether the error is of this kind; frees it.
static void expect(prebake_error *error, const char *kind) {
    CHECK(error, "no error, but %s was wanted", kind);
    CHECK(!strncmp(prebake_error_kind(error), kind, strlen(kind)), "%s: %s", prebake_error_kind(error), prebake_error_message(error));
    prebake_error_free(error);
}

static void none(prebake_error *error) {
    CHECK(!error, "%s: %s", prebake_error_kind(error), prebake_error_message(error));
}

// Whoever sits at a machine.
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char seen[3][1 << 20];
    size_t length[3];
    size_t taken;
    int has_ended, status, has_saved;
    prebake_ending ending;
    char kind[64], session[129];
    // Freed where its end is heard.
    prebake_vm *to_free;
} user;

static void on_output(void *context, int stream, const uint8_t *bytes, size_t length) {
    user *at = context;
    pthread_mutex_lock(&at->lock);
    CHECK((stream == 1 || stream == 2) && at->length[stream] + length < sizeof at->seen[0], "stream %d, %zu bytes", stream, length);
    memcpy(at->seen[stream] + at->length[stream], bytes, length);
    at->length[stream] += length;
    pthread_cond_broadcast(&at->changed);
    pthread_mutex_unlock(&at->lock);
}

static void on_end(void *context, const prebake_ended *ended) {
    user *at = context;
    pthread_mutex_lock(&at->lock);
    at->ending = ended->ending;
    at->status = ended->status;
    if (ended->error) snprintf(at->kind, sizeof at->kind, "%s", prebake_error_kind(ended->error));
    if ((at->has_saved = ended->saved != NULL)) strcpy(at->session, ended->saved->session);
    prebake_vm_free(at->to_free);
    at->has_ended = 1;
    pthread_cond_broadcast(&at->changed);
    pthread_mutex_unlock(&at->lock);
}

static user *sit(void) {
    user *at = calloc(1, sizeof *at);
    pthread_mutex_init(&at->lock, NULL);
    pthread_cond_init(&at->changed, NULL);
    return at;
}

static prebake *open_folder(void) {
    prebake_error *error = NULL;
    prebake *pb = prebake_open(&(prebake_options){.folder = home}, &error);
    none(error);
    return pb;
}

static prebake_vm *start(prebake *pb, user *at, const char *spec) {
    prebake_error *error = NULL;
    prebake_vm *vm = prebake_vm_start(pb, spec, &(prebake_listener){.user = at, .on_output = on_output, .on_end = on_end}, &error);
    none(error);
    return vm;
}

static char *shell(const char *session) {
    return format("{\"image\": \"%s\", %s, \"offline\": true, \"terminal\": {\"columns\": 80, \"rows\": 24}}", image, session);
}

// Waits until the machine has shown a text.
static void wait_for(user *at, const char *text) {
    pthread_mutex_lock(&at->lock);
    char *found;
    while (!(found = memmem(at->seen[1] + at->taken, at->length[1] - at->taken, text, strlen(text)))) {
        CHECK(!at->has_ended, "it has ended (%s) and has not shown `%s`: %s", at->kind, text, at->seen[1]);
        pthread_cond_wait(&at->changed, &at->lock);
    }
    at->taken = found + strlen(text) - at->seen[1];
    pthread_mutex_unlock(&at->lock);
}

static void type(prebake_vm *vm, const char *text) {
    prebake_error *error = NULL;
    prebake_vm_write(vm, text, strlen(text), &error);
    none(error);
}

static void ask(prebake_vm *vm, user *at, const char *command, const char *answer) {
    char *line = format("%s\n", command), *shown = format("\r\n%s\r\n", answer);
    type(vm, line);
    wait_for(at, shown);
}

// Bytes of what was fetched in part.
static long long kept(void) {
    char *folder = format("%s/store/partial", home);
    long long bytes = 0;
    DIR *files = opendir(folder);
    for (struct dirent *file; files && (file = readdir(files));) {
        struct stat status;
        if (!fstatat(dirfd(files), file->d_name, &status, 0) && S_ISREG(status.st_mode)) bytes += status.st_size;
    }
    if (files) closedir(files);
    return bytes;
}

static long long came(void) {
    long long bytes = -1;
    FILE *file = fopen(getenv("PREBAKE_TEST_CAME"), "r");
    CHECK(file && fscanf(file, "%lld", &bytes) == 1, "it says nothing");
    fclose(file);
    return bytes;
}

typedef struct {
    prebake_cancel *cancel;
    uint64_t done, total;
    int ended;
} download;

static void on_progress(void *context, const prebake_progress *progress) {
    download *it = context;
    if (strcmp(progress->task, "pull")) return;
    it->done = progress->done;
    it->total = progress->total;
    it->ended |= progress->ended;
    if (it->cancel && progress->done > progress->total / 2) prebake_cancel_now(it->cancel);
}

static void fetched(void) {
    prebake *pb = open_folder();
    prebake_error *error = NULL;
    CHECK(!prebake_ensure(pb, image, NULL, &error), "it came by a way that breaks");
    expect(error, "registry-");
    long long cut = kept();
    CHECK(cut > 0, "nothing was kept");

    close(open(getenv("PREBAKE_TEST_MENDED"), O_CREAT | O_WRONLY, 0600));
    download half = {.cancel = prebake_cancel_new()};
    error = NULL;
    CHECK(!prebake_ensure(pb, image, &(prebake_ensure_options){.on_progress = on_progress, .user = &half, .cancel = half.cancel}, &error), "it was cancelled");
    expect(error, "cancelled");
    prebake_cancel_free(half.cancel);
    long long cancelled = kept(), before = came();
    CHECK(cancelled > cut, "%lld after %lld", cancelled, cut);

    download whole = {0};
    error = NULL;
    prebake_artifacts *found = prebake_ensure(pb, image, &(prebake_ensure_options){.on_progress = on_progress, .user = &whole}, &error);
    none(error);
    // Beside the parts come headers and a manifest.
    CHECK(whole.ended && came() - before < (long long)whole.total - cancelled + (64 << 10), "%lld of %llu came, though %lld were there", came() - before,
          (unsigned long long)whole.total, cancelled);
    CHECK(!access(prebake_artifacts_machine(found), R_OK) && !access(prebake_artifacts_snapshot(found), R_OK), "no files");
    CHECK(strstr(prebake_artifacts_reference(found), "demo:1") && strstr(prebake_artifacts_digest(found), "sha256:"), "%s", prebake_artifacts_digest(found));

    prebake_artifacts *again = prebake_ensure(pb, image, &(prebake_ensure_options){.offline = true}, &error);
    none(error);
    CHECK(!strcmp(prebake_artifacts_machine(found), prebake_artifacts_machine(again)), "another one");
    prebake_artifacts_free(again);
    prebake_artifacts_free(found);
    prebake_close(pb);
}

static void count_images(void *counted, const prebake_image *found) {
    CHECK(strstr(found->reference, "demo:1") && found->machine_bytes > 0 && found->snapshot_bytes > 0, "%s", found->reference);
    ++*(int *)counted;
}

static void count_sessions(void *counted, const prebake_session *found) {
    CHECK(!strcmp(found->name, "work") && !found->running && found->kept >= found->began, "%s", found->name);
    ++*(int *)counted;
}

// The program that is killed.
static void work(void) {
    prebake *pb = open_folder();
    user *at = sit();
    prebake_vm *vm = start(pb, at, shell("\"session\": \"work\""));
    ask(vm, at, "word=saved; echo $word", "saved");
    prebake_saved saved;
    prebake_error *error = NULL;
    prebake_vm_checkpoint(vm, &saved, &error);
    none(error);
    CHECK(!strcmp(saved.session, "work") && saved.pages > 0 && saved.bytes > 0, "%s", saved.session);
    ask(vm, at, "word=lost; echo $word", "lost");
    kill(getpid(), SIGKILL);
}

static void killed(void) {
    pid_t child = fork();
    if (!child) {
        execl("/proc/self/exe", "scenario", "work", NULL);
        _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%x", status);

    prebake *pb = open_folder();
    user *at = sit();
    prebake_vm *vm = start(pb, at, shell("\"session\": \"work\""));
    ask(vm, at, "echo $word", "saved");
    prebake_vm_resize(vm, 100, 30);
    ask(vm, at, "stty size", "30 100");
    prebake_vm_stop(vm);
    prebake_vm_wait(vm);
    CHECK(at->ending == PREBAKE_ENDING_STOPPED && at->has_saved && !strcmp(at->session, "work"), "%d %s", at->ending, at->kind);
    // A machine that has ended is no reason for a signal.
    prebake_error *error = NULL;
    for (int tries = 0; tries < 3; tries++) {
        prebake_vm_resize(vm, 80, 24);
        CHECK(!prebake_vm_write(vm, "x", 1, tries ? NULL : &error), "it reads");
        CHECK(!prebake_vm_checkpoint(vm, NULL, NULL), "it can be saved");
    }
    expect(error, "machine-ended");
    prebake_vm_free(vm);

    int images = 0, sessions = 0;
    error = NULL;
    CHECK(prebake_images(pb, count_images, &images, &error) && images == 1, "%d images", images);
    CHECK(prebake_sessions(pb, count_sessions, &sessions, &error) && sessions == 1, "%d sessions", sessions);
    none(error);
    prebake_close(pb);
}

static void clones(void) {
    prebake *pb = open_folder();
    char drawn[2][32];
    for (int clone = 0; clone < 2; clone++) {
        user *at = sit();
        prebake_vm *vm = start(pb, at, shell("\"fresh\": true"));
        type(vm, "echo x$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')x\n");
        wait_for(at, "\r\nx");
        char *number = at->seen[1] + at->taken;
        wait_for(at, "x\r\n");
        memcpy(drawn[clone], number, 32);
        prebake_vm_free(vm);
    }
    CHECK(memcmp(drawn[0], drawn[1], 32), "%.32s twice", drawn[0]);
    prebake_close(pb);
}

static void streams(void) {
    prebake *pb = open_folder();
    user *at = sit();
    prebake_vm *vm = start(pb, at, format("{\"image\": \"%s\", \"offline\": true, \"environment\": {\"A\": \"done\"}}", image));
    type(vm, "cat; echo $A >&2; exit 5\na\r\n\004");
    prebake_vm_close_input(vm);
    prebake_vm_wait(vm);
    CHECK(at->ending == PREBAKE_ENDING_EXITED && at->status == 5 && !at->has_saved, "%d %d %s", at->ending, at->status, at->kind);
    CHECK(at->length[1] == 4 && !memcmp(at->seen[1], "a\r\n\004", 4) && !strcmp(at->seen[2], "done\n"), "%s %s", at->seen[1], at->seen[2]);
    prebake_vm_free(vm);
    prebake_close(pb);
}

static void failures(void) {
    prebake_error *error = NULL;
    CHECK(!prebake_open(&(prebake_options){.folder = "here"}, &error), "a relative folder");
    expect(error, "invalid");
    prebake *pb = open_folder();
    for (const char **spec = (const char *[]){"{", "1", "{\"imagine\": 1}", "{\"workdir\": \"x\"}", NULL}; *spec; spec++) {
        error = NULL;
        CHECK(!prebake_vm_start(pb, *spec, &(prebake_listener){0}, &error), "%s", *spec);
        expect(error, "invalid");
        CHECK(!prebake_vm_start(pb, *spec, &(prebake_listener){0}, NULL), "%s", *spec);
    }
    error = NULL;
    CHECK(!prebake_ensure(pb, "localhost:1/none:1", NULL, &error), "there is no registry");
    expect(error, "registry-unreachable");
    error = NULL;
    CHECK(!prebake_ensure(pb, "localhost:5000/none:1", &(prebake_ensure_options){.offline = true}, &error), "it is in the store");
    expect(error, "not-in-store");
    error = NULL;
    CHECK(!prebake_session_remove(pb, "none", &error), "there is one");
    expect(error, "no-session");

    user *at = sit();
    prebake_vm *vm = start(pb, at, "{\"snapshot\": \"/nonexistent.snap\"}");
    prebake_vm_wait(vm);
    CHECK(at->ending == PREBAKE_ENDING_FAILED && !strcmp(at->kind, "missing"), "%d %s", at->ending, at->kind);
    prebake_vm_free(vm);
    prebake_close(pb);
}

static int threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks));) count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static long resident(void) {
    long pages = 0, all;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld %ld", &all, &pages) == 2, "no statm");
    fclose(file);
    return pages * 4;
}

static void hundred(void) {
    prebake *pb = open_folder();
    char *spec = shell("\"fresh\": true");
    int before = 0;
    long memory = 0;
    for (int number = 0; number < 110; number++) {
        if (number == 10) {
            before = threads();
            memory = resident();
        }
        user *at = sit();
        // Every second one is freed where its end is heard.
        prebake_vm *vm = start(pb, at, spec);
        ask(vm, at, "echo here", "here");
        if (number % 2) {
            pthread_mutex_lock(&at->lock);
            at->to_free = vm;
            pthread_mutex_unlock(&at->lock);
            prebake_vm_stop(vm);
            pthread_mutex_lock(&at->lock);
            while (!at->has_ended) pthread_cond_wait(&at->changed, &at->lock);
            pthread_mutex_unlock(&at->lock);
            CHECK(at->ending == PREBAKE_ENDING_STOPPED, "%d %d", at->ending, at->status);
        } else {
            prebake_vm_free(vm);
            CHECK(at->has_ended && at->ending == PREBAKE_ENDING_SIGNALLED && at->status == SIGHUP, "%d %d", at->ending, at->status);
        }
        free(at);
    }
    // The last one's thread still has to end.
    for (int tries = 0; threads() > before && tries < 1000; tries++) usleep(10000);
    printf("100 starts: threads %d to %d, KiB %ld to %ld\n", before, threads(), memory, resident());
    CHECK(threads() <= before, "threads stay");
    CHECK(resident() < memory + (32 << 10), "memory stays");
    prebake_close(pb);
}

static int by_size(const void *a, const void *b) {
    return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b);
}

// Milliseconds from the start of a program to its answer to a command.
static double answered(char *const *arguments) {
    int input[2], output[2];
    CHECK(!pipe2(input, O_CLOEXEC) && !pipe2(output, O_CLOEXEC), "no pipes");
    double begin = now();
    pid_t child = fork();
    if (!child) {
        dup2(input[0], 0);
        dup2(output[1], 1);
        dup2(open("/dev/null", O_WRONLY), 2);
        execv(*arguments, arguments);
        _exit(127);
    }
    char answer[16] = {0};
    CHECK(write(input[1], "echo here\n", 10) == 10 && read(output[0], answer, 5) == 5 && !strcmp(answer, "here\n"), "%s", answer);
    double took = now() - begin;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int end = 0; end < 2; end++) close(input[end]), close(output[end]);
    return took;
}

static char *fresh(void) {
    return format("{\"image\": \"%s\", \"offline\": true, \"fresh\": true}", image);
}

// What the program does that is measured: it passes on what it is told, and what it hears.
static void answer(void) {
    user *at = sit();
    prebake_vm *vm = start(open_folder(), at, fresh());
    char line[64];
    CHECK(fgets(line, sizeof line, stdin), "nothing to type");
    type(vm, line);
    wait_for(at, "here\n");
    puts("here");
    pause();
}

// Milliseconds from the start of a process to the answer, of prebake itself and of a program with this library, in turns. They are shown and not judged, as
// the host may be busy.
static void overhead(char *program) {
    enum { TURNS = 41 };
    double alone[TURNS], here[TURNS], more[TURNS];
    setenv("PREBAKE_HOME", format("%s/store", home), 1);
    setenv("PREBAKE_CACHE", format("%s/cache", home), 1);
    char *own[] = {"/proc/self/exe", "answer", NULL}, *bare[] = {program, "run", "--offline", "--fresh", image, NULL};
    for (int turn = 0; turn < TURNS; turn++) {
        if (turn % 2) alone[turn] = answered(bare);
        here[turn] = answered(own);
        if (turn % 2 == 0) alone[turn] = answered(bare);
        more[turn] = here[turn] - alone[turn];
    }
    qsort(alone, TURNS, sizeof *alone, by_size);
    qsort(here, TURNS, sizeof *here, by_size);
    qsort(more, TURNS, sizeof *more, by_size);
    printf("first answer from the start of a process on: %.1f ms by prebake, %.1f ms by a program with the library; %+.1f ms in the median of %d pairs\n",
           alone[TURNS / 2], here[TURNS / 2], more[TURNS / 2], TURNS);
}

static int passed;

static void test(const char *name, void (*work)(void)) {
    double begin = now();
    work();
    printf("ok %.0f ms: %s\n", now() - begin, name);
    passed++;
}

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    home = format("%s/c", getenv("PREBAKE_TEST_WORK"));
    image = format("%s/demo:1", getenv("PREBAKE_TEST_CUT"));
    if (!strcmp(arguments[1], "work")) return work(), 1;
    if (!strcmp(arguments[1], "answer")) return answer(), 1;
    test("a download that is cut or cancelled goes on where it was", fetched);
    test("what was saved is there after kill -9", killed);
    test("two clones draw different numbers", clones);
    test("streams are byte-exact, and a status comes back", streams);
    test("failures have kinds", failures);
    if (count < 3) {
        test("a hundred starts leave neither threads nor memory", hundred);
        overhead(arguments[1]);
    }
    printf("%d passed, 0 failed\n", passed);
}
