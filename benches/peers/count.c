/* A plugin for QEMU's TCG (plugin interface 1) that counts guest instructions in a file that others can map or read while it runs: one
   64-bit number. A REP instruction counts once: TCG runs its further iterations as blocks that begin with it, so only those that stand
   inside a block, where control came from the instruction before, are counted. */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t plugin_id;
struct block;
struct instruction;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int operation, void *counter, uint64_t addend);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
const void *qemu_plugin_insn_data(const struct instruction *);
size_t qemu_plugin_insn_size(const struct instruction *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { ADD_U64 = 0 };
static uint64_t *counter;

static bool is_prefix(uint8_t byte) {
    return byte == 0x66 || byte == 0x67 || byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65 ||
           byte == 0xf0 || (byte & 0xf0) == 0x40;
}

static bool is_rep_string(const uint8_t *bytes, size_t size) {
    bool repeats = false;
    size_t i = 0;
    for (; i < size && (bytes[i] == 0xf2 || bytes[i] == 0xf3 || is_prefix(bytes[i])); i++)
        repeats |= bytes[i] == 0xf2 || bytes[i] == 0xf3;
    if (!repeats || i == size)
        return false;
    uint8_t opcode = bytes[i];
    return (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf) || (opcode >= 0x6c && opcode <= 0x6f);
}

static void translated(plugin_id id, struct block *block) {
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block);
    struct instruction *first = qemu_plugin_tb_get_insn(block, 0);
    if (is_rep_string(qemu_plugin_insn_data(first), qemu_plugin_insn_size(first)))
        count--;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, counter, count);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0)
        return 1;
    int file = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, sizeof *counter) != 0)
        return 1;
    counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counter == MAP_FAILED)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
