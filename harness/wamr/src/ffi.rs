//! WAMR's C interface (`wasm_export.h` of 2.4.3) as far as it is used, and the few functions of `c/runtime.c`.

use crate::guest::HostFile;
use crate::placed::Place;
use std::ffi::{c_char, c_int, c_void};

/// Types that only WAMR looks into.
macro_rules! opaque {
    ($($name:ident)*) => {
        $(
            #[repr(C)]
            pub struct $name {
                _private: [u8; 0],
                _not_send: std::marker::PhantomData<*mut c_void>,
            }
        )*
    };
}
opaque! { Module Instance Function ExecEnv Memory InstantiationArgs }

/// The kinds of values, `wasm_valkind_enum`.
pub mod kind {
    pub const I32: u8 = 0;
    pub const I64: u8 = 1;
    pub const F32: u8 = 2;
    pub const F64: u8 = 3;
}

/// `struct prebake_files` of `c/host.h`.
#[derive(Debug)]
#[repr(C)]
pub struct Files {
    pub files: *const HostFile,
    pub count: usize,
}

/// `struct prebake_guest` of `c/host.h`.
#[derive(Debug)]
#[repr(C)]
pub struct Guest {
    pub writable: Files,
    pub read_only: Files,
    pub kept: Files,
    pub read_only_directories: *const bool,
    pub directory_count: usize,
    pub steps: u32,
    pub may_go_on: extern "C" fn(guest: *mut Self) -> bool,
}

unsafe extern "C" {
    pub fn prebake_wamr_current() -> *mut *mut Guest;
    pub fn prebake_wamr_start(is_first: bool) -> bool;
    pub fn prebake_wamr_stop(is_last: bool);
    pub fn prebake_wamr_aot_version() -> u32;
    #[cfg(target_arch = "x86_64")]
    pub fn prebake_wamr_can_segue() -> bool;
    pub fn prebake_wamr_missing_import(module: *mut Module, module_name: *mut *const c_char, name: *mut *const c_char) -> bool;

    pub fn prebake_wamr_watch(start: *mut c_void, len: usize) -> c_int;
    pub fn prebake_wamr_is_short(number: u32) -> bool;
    pub fn prebake_wamr_unwatch(number: u32);

    pub fn prebake_wamr_placed(module: *mut Module, place: *mut Place) -> bool;
    pub fn prebake_wamr_place(file: c_int, code_at: u64, data_at: u64, place: *const Place) -> bool;
    pub fn prebake_wamr_unplace() -> bool;
    pub fn prebake_wamr_loader() -> u64;

    pub fn wasm_runtime_load(bytes: *mut u8, size: u32, error: *mut c_char, error_size: u32) -> *mut Module;
    pub fn wasm_runtime_unload(module: *mut Module);
    pub fn wasm_runtime_get_custom_section(module: *mut Module, name: *const c_char, len: *mut u32) -> *const u8;

    pub fn wasm_runtime_instantiation_args_create(args: *mut *mut InstantiationArgs) -> bool;
    pub fn wasm_runtime_instantiation_args_destroy(args: *mut InstantiationArgs);
    pub fn wasm_runtime_instantiation_args_set_default_stack_size(args: *mut InstantiationArgs, bytes: u32);
    pub fn wasm_runtime_instantiation_args_set_wasi_arg(args: *mut InstantiationArgs, argv: *const *const c_char, argc: c_int);
    pub fn wasm_runtime_instantiation_args_set_wasi_env(args: *mut InstantiationArgs, env: *const *const c_char, count: u32);
    pub fn wasm_runtime_instantiation_args_set_wasi_dir(
        args: *mut InstantiationArgs,
        dirs: *const *const c_char,
        dir_count: u32,
        mapped: *const *const c_char,
        mapped_count: u32,
    );
    pub fn wasm_runtime_instantiation_args_set_wasi_stdio(args: *mut InstantiationArgs, stdin: i64, stdout: i64, stderr: i64);
    pub fn wasm_runtime_instantiate_ex2(
        module: *mut Module,
        args: *const InstantiationArgs,
        error: *mut c_char,
        error_size: u32,
    ) -> *mut Instance;
    pub fn wasm_runtime_deinstantiate(instance: *mut Instance);

    pub fn wasm_runtime_get_exec_env_singleton(instance: *mut Instance) -> *mut ExecEnv;
    pub fn wasm_runtime_lookup_function(instance: *mut Instance, name: *const c_char) -> *mut Function;
    pub fn wasm_func_get_param_count(function: *mut Function, instance: *mut Instance) -> u32;
    pub fn wasm_func_get_result_count(function: *mut Function, instance: *mut Instance) -> u32;
    pub fn wasm_func_get_param_types(function: *mut Function, instance: *mut Instance, kinds: *mut u8);
    pub fn wasm_func_get_result_types(function: *mut Function, instance: *mut Instance, kinds: *mut u8);
    pub fn wasm_runtime_call_wasm(env: *mut ExecEnv, function: *mut Function, cell_count: u32, cells: *mut u32) -> bool;
    pub fn wasm_runtime_get_exception(instance: *mut Instance) -> *const c_char;
    pub fn wasm_runtime_clear_exception(instance: *mut Instance);
    pub fn wasm_runtime_get_wasi_exit_code(instance: *mut Instance) -> u32;

    pub fn wasm_runtime_get_default_memory(instance: *mut Instance) -> *mut Memory;
    pub fn wasm_memory_get_base_address(memory: *mut Memory) -> *mut u8;
    pub fn wasm_memory_get_cur_page_count(memory: *mut Memory) -> u64;
    pub fn wasm_memory_get_bytes_per_page(memory: *mut Memory) -> u64;
}
