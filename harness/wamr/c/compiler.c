/* Drives WAMR's compiler: one wasm module in memory to one .aot file. */
#include <stdio.h>
#include <string.h>

#include <llvm-c/Support.h>

#include "aot_export.h"
#include "wasm_export.h"

/* What may be chosen for each module. All else comes from the configuration that the runtime shares. */
struct prebake_wamrc_options {
    const char *arch;
    /* NULL: WAMR's own choice */
    const char *abi;
    const char *cpu;
    uint32_t opt_level;
    bool segue;
};

/* Every kind of load and store of plain integers and floats through GS. */
#define SEGUE_ALL ((1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11))

/* WAMR lists its options here. What goes wrong comes back as an error. */
int
prebake_wamrc_vprintf(const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
    return 0;
}

static bool
fail(char *error, uint32_t error_size, const char *step, const char *why)
{
    snprintf(error, error_size, "%s: %s", step, why ? why : "no reason given");
    return false;
}

/* An interpreter has one place that jumps to the next instruction's handler, and LLVM copies such a place to the end of each handler, so that the
   processor can tell the jumps apart. Since version 19 it does so only up to 16 predecessors and successors, which spares it work with code that
   no interpreter is. Older versions do not know these options, and pass over them; for aarch64 LLVM copies no jump by a table at all. */
static void
copy_jumps_of_interpreters(void)
{
    const char *const options[] = { "prebake-wamrc", "-tail-dup-pred-size=65536", "-tail-dup-succ-size=65536" };
    LLVMParseCommandLineOptions(sizeof options / sizeof *options, options, NULL);
}

/* Writes the .aot of `wasm`, which is modified, to `path`. If it cannot, `error` says why. Once a process. */
bool
prebake_wamrc_compile(uint8_t *wasm, uint32_t size, const char *path,
                      const struct prebake_wamrc_options *options, char *error,
                      uint32_t error_size)
{
    RuntimeInitArgs arguments;
    AOTCompOption option;
    char why[256] = "";

    copy_jumps_of_interpreters();
    memset(&arguments, 0, sizeof arguments);
    arguments.mem_alloc_type = Alloc_With_System_Allocator;
    if (!wasm_runtime_full_init(&arguments))
        return fail(error, error_size, "start", "WAMR does not start");
    wasm_runtime_set_log_level(WASM_LOG_LEVEL_ERROR);

    memset(&option, 0, sizeof option);
    option.target_arch = (char *)options->arch;
    option.target_abi = (char *)options->abi;
    option.target_cpu = (char *)options->cpu;
    option.opt_level = options->opt_level;
    option.size_level = 3;
    option.output_format = AOT_FORMAT_FILE;
    option.segue_flags = options->segue ? SEGUE_ALL : 0;
    option.bounds_checks = WASM_DISABLE_HW_BOUND_CHECK;
    option.stack_bounds_checks = WASM_DISABLE_STACK_HW_BOUND_CHECK;
    option.enable_bulk_memory = WASM_ENABLE_BULK_MEMORY;
    option.enable_bulk_memory_opt = WASM_ENABLE_BULK_MEMORY_OPT;
    option.enable_ref_types = WASM_ENABLE_REF_TYPES;
    option.enable_call_indirect_overlong = WASM_ENABLE_CALL_INDIRECT_OVERLONG;
    option.enable_extended_const = WASM_ENABLE_EXTENDED_CONST_EXPR;
    option.enable_tail_call = WASM_ENABLE_TAIL_CALL;
    option.enable_simd = WASM_ENABLE_SIMD;
    option.enable_aux_stack_check = true;
    aot_call_stack_features_init_default(&option.call_stack_features);

    /* Nothing is taken down again: the process ends after this. */
    wasm_module_t module = wasm_runtime_load(wasm, size, why, sizeof why);
    if (!module)
        return fail(error, error_size, "load", why);
    aot_comp_data_t data = aot_create_comp_data(module, option.target_arch, option.enable_gc);
    if (!data)
        return fail(error, error_size, "prepare", aot_get_last_error());
    aot_comp_context_t context = aot_create_comp_context(data, &option);
    if (!context)
        return fail(error, error_size, "prepare", aot_get_last_error());
    if (!aot_compile_wasm(context))
        return fail(error, error_size, "compile", aot_get_last_error());
    if (!aot_emit_aot_file(context, data, path))
        return fail(error, error_size, "write", aot_get_last_error());
    return true;
}
