//! Runs floating-point instructions on the operands that implementations disagree on (two NaNs, signalling NaNs, denormals, infinities, zeros
//! of both signs, pseudo-values) in every mode, and prints for each instruction a hash of all result bits and sticky flags.
//!
//! `torture [STEP]` runs one case in `STEP` (1: all of them). A line is `HASH INSTRUCTION`. Two processors print the same, but for the lines
//! with a `~` behind the hash: those instructions are approximations that each makes in its own way.

#[cfg(target_arch = "x86_64")]
mod hash;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(target_arch = "x86_64")]
mod values;
#[cfg(target_arch = "x86_64")]
mod x87;

#[cfg(target_arch = "x86_64")]
fn main() {
    let step = std::env::args().nth(1).map_or(Ok(1), |word| word.parse());
    match step {
        Ok(step) if step > 0 => {
            let mut sampler = hash::Sampler::new(step);
            sse::run(&mut sampler);
            x87::run(&mut sampler);
        }
        _ => {
            eprintln!("usage: torture [STEP]");
            std::process::exit(2);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {}
