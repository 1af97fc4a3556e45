//! Compiles one wasm module for one baseline: `prebake-wamrc BASELINE OPT-LEVEL [segue] IN.wasm OUT.aot`.
//!
//! A program of its own, which prebake starts, for three reasons. WAMR's compiler and its runtime are two builds of one source: their functions
//! have the same names. LLVM takes memory by the gigabyte and can abort: a child that ends returns the one and survives as an exit code the
//! other. And LLVM is a shared library of 100 MB, which only a host that compiles should need, or spend the time to load.

#[path = "../../options.rs"]
#[allow(dead_code)]
mod options;
mod requirements;

use options::{Baseline, Opt, Options, SEGUE};
use std::ffi::{CStr, CString, OsString, c_char};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

#[repr(C)]
struct CompileOptions {
    arch: *const c_char,
    abi: *const c_char,
    cpu: *const c_char,
    opt_level: u32,
    segue: bool,
}

unsafe extern "C" {
    fn prebake_wamrc_compile(
        wasm: *mut u8,
        size: u32,
        path: *const c_char,
        options: *const CompileOptions,
        error: *mut c_char,
        error_size: u32,
    ) -> bool;
}

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<(), String> {
    let usage = || String::from("usage: prebake-wamrc BASELINE OPT-LEVEL [segue] IN.wasm OUT.aot");
    let (options, input, output) = match arguments.as_slice() {
        [baseline, opt, input, output] => (parse(baseline, opt, false)?, input, output),
        [baseline, opt, segue, input, output] if segue == SEGUE => (parse(baseline, opt, true)?, input, output),
        _ => return Err(usage()),
    };
    let wasm = std::fs::read(input).map_err(|error| format!("cannot read {}: {error}", input.display()))?;
    compile(wasm, output.clone(), &options)?;

    let error = |error| format!("cannot finish {}: {error}", output.display());
    let mut aot = std::fs::read(output).map_err(error)?;
    requirements::append(&mut aot, &options);
    std::fs::write(output, aot).map_err(error)
}

fn parse(baseline: &OsString, opt: &OsString, segue: bool) -> Result<Options, String> {
    let baseline: Baseline = baseline.to_str().ok_or("the baseline is not text")?.parse()?;
    let level = opt.to_str().and_then(|level| level.parse().ok());
    let opt = [Opt::None, Opt::Full].into_iter().find(|opt| Some(opt.level()) == level);
    let opt = opt.ok_or("the level of optimisation is 0 or 3")?;
    if segue && baseline.arch() != "x86_64" {
        return Err(format!("segue is for x86_64, not for {baseline}"));
    }
    Ok(Options { baseline, opt, segue })
}

fn compile(mut wasm: Vec<u8>, output: OsString, options: &Options) -> Result<(), String> {
    let size = u32::try_from(wasm.len()).map_err(|_| "the module has 4 GiB or more")?;
    let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let (arch, cpu) = (text(options.baseline.arch())?, text(options.baseline.cpu())?);
    let abi = c"gnu".as_ptr();
    let path = CString::new(output.into_vec()).map_err(|error| error.to_string())?;
    let options = CompileOptions { arch: arch.as_ptr(), abi, cpu: cpu.as_ptr(), opt_level: options.opt.level(), segue: options.segue };
    let mut error = [0_u8; 512];
    // SAFETY: the lengths are those of the buffers, every string ends in a NUL, and all of them outlive the call.
    let done = unsafe {
        prebake_wamrc_compile(wasm.as_mut_ptr(), size, path.as_ptr(), &raw const options, error.as_mut_ptr().cast(), error.len() as u32)
    };
    if done {
        return Ok(());
    }
    let message = CStr::from_bytes_until_nul(&error).map_or_else(|_| "no reason given".into(), CStr::to_string_lossy);
    Err(message.into_owned())
}
