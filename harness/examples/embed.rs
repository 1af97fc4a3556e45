//! A program with a machine of its own: it boots a kernel once, types at the guest's shell, keeps what was done, and resumes there the next time.
//!
//! ```sh
//! cargo run --release --package prebake --example embed -- FOLDER target/guest/vmlinux target/guest/initramfs.cpio
//! ```

use prebake::context::{Context, Folders};
use prebake::error::Result;
use prebake::machine::boot::KernelOptions;
use prebake::make::bake::{Bake, Source, bake};
use prebake::observer::{Notice, Observer, Progress};
use prebake::report::Report;
use prebake::run::console::Terminal;
use prebake::run::{RunRequest, RunTarget, SessionPolicy};
use prebake::service::{Vm, console};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Printed;

impl Observer for Printed {
    fn notice(&self, notice: &Notice<'_>) {
        println!("{notice:?}");
    }
    fn progress(&self, progress: &Progress<'_>) {
        println!("{:?}: {} of {:?}", progress.task, progress.done, progress.total);
    }
}

fn main() -> Result<()> {
    let [folder, kernel, initramfs] = [1, 2, 3].map(|n| PathBuf::from(std::env::args_os().nth(n).unwrap_or_default()));
    run(&folder, kernel, initramfs)
}

/// Everything that is written lies in `folder`.
pub fn run(folder: &Path, kernel: PathBuf, initramfs: PathBuf) -> Result<()> {
    let context = Context::new(Folders::below(folder, Path::new("")), Arc::new(Printed));
    let snapshot = folder.join("demo.snap");
    if !snapshot.exists() {
        let kernel = Source::Kernel(kernel, KernelOptions { initrd: Some(initramfs), ..KernelOptions::default() });
        bake(&context, &Bake::new(kernel, &snapshot), || None, &mut Report::of("bake"))?;
    }

    let what = RunTarget::Files { machine: None, snapshot: Some(snapshot) };
    let request = RunRequest { session: SessionPolicy::Named("embed".into()), ..RunRequest::new(what) };
    let (console, mut ends) = console(Terminal::default())?;
    let vm = Vm::start(context, request, console)?;
    // The echo of this line has quotes, which the answer has not.
    let typed = ends.stdin.write_all(b"echo $((count=count+1)) 'times'\n");
    let mut shown = Vec::new();
    while typed.is_ok() && !String::from_utf8_lossy(&shown).contains(" times\r\n") {
        let mut bytes = [0; 4096];
        match ends.stdout.read(&mut bytes) {
            Ok(count @ 1..) => shown.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    println!("{}", String::from_utf8_lossy(&shown));
    println!("{:?}", vm.checkpoint()?);
    // The app goes away.
    vm.stop();
    println!("{:?}", vm.wait().outcome?.ending);
    Ok(())
}
