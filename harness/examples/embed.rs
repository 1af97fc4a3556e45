//! A program with a machine of its own: it types at the shell of an image, keeps what was done, and goes on there the next time.
//!
//! ```sh
//! cargo run --release --package prebake --example embed -- registry.example/demo:1
//! ```

use prebake::distribution::oci::{Access, ensure};
use prebake::progress::Progress;
use prebake::run::console::Terminal;
use prebake::run::{Keep, Request, What};
use prebake::service::{Vm, console};
use std::io::{Read, Write};

fn main() -> prebake::error::Result<()> {
    let reference = std::env::args().nth(1).unwrap_or_else(|| "registry.example/demo:1".into());
    // Fetched now, so that nobody waits later. The files stay in the store for as long as this value lives.
    let artifacts = ensure(&reference, &Access::default(), &mut Progress::new("embed"))?;
    println!("{} with {:?}", artifacts.wasm_file.display(), artifacts.snapshot_file);

    let request = Request { keep: Keep::Session("embed".into()), ..Request::new(What::Reference(reference)) };
    let (console, mut ends) = console(Terminal::default())?;
    let vm = Vm::start(request, console)?;
    let typed = ends.stdin.write_all(b"echo $((count=count+1)) times\n");
    let mut shown = Vec::new();
    while typed.is_ok() && !String::from_utf8_lossy(&shown).contains(" times\r\n") {
        let mut bytes = [0; 4096];
        match ends.stdout.read(&mut bytes) {
            Ok(count @ 1..) => shown.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    println!("{}", String::from_utf8_lossy(&shown));
    println!("{}", vm.checkpoint()?);
    // The app goes away.
    vm.stop();
    println!("{:?}", vm.wait().outcome?.ending);
    Ok(())
}
