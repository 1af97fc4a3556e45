// A shell of an image, without a terminal: what is typed here goes to it line by line.
//
//   prompt FOLDER IMAGE        for example: prompt /var/tmp/machines docker.io/library/alpine

#include <prebake.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const prebake_error *error) {
    fprintf(stderr, "prompt: %s\n", prebake_error_message(error));
    exit(1);
}

static void on_output(void *user, int stream, const uint8_t *bytes, size_t length) {
    fwrite(bytes, 1, length, stream == 1 ? stdout : stderr);
    fflush(stdout);
}

static void on_end(void *user, const prebake_ended *ended) {
    if (ended->error) fail(ended->error);
    exit(ended->ending == PREBAKE_ENDING_EXITED ? ended->status : 0);
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "prompt FOLDER IMAGE\n"), 2;
    prebake_error *error = NULL;
    prebake *pb = prebake_open(&(prebake_options){.folder = arguments[1]}, &error);
    if (!pb) fail(error);

    char spec[1024];
    snprintf(spec, sizeof spec, "{\"image\": \"%s\", \"session\": \"prompt\"}", arguments[2]);
    prebake_vm *vm = prebake_vm_start(pb, spec, &(prebake_listener){.on_output = on_output, .on_end = on_end}, &error);
    if (!vm) fail(error);

    for (char line[4096]; fgets(line, sizeof line, stdin);)
        if (!prebake_vm_write(vm, line, strlen(line), NULL)) break;
    prebake_vm_stop(vm); // saves what was done: the next start goes on there
    prebake_vm_wait(vm);
}
