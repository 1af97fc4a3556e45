//! A guest without an operating system: it finds the virtio devices on its command line, drives each with the drivers of the
//! `virtio-drivers` crate, and says on the serial port what came of it. It ends with status 0 if every check has passed.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
extern crate alloc;
#[cfg(target_os = "none")]
mod bare;
#[cfg(target_os = "none")]
mod checks;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("baremetal: this runs without an operating system: guest/baremetal/build builds it, prebake boot runs it");
    std::process::exit(2);
}
