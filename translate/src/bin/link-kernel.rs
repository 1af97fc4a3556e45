//! Links the code that kernels run most into the machine's module that is shipped: `link-kernel MODULE PROFILE INSTRUCTIONS OUTPUT`.

use std::error::Error;
use std::fs;

use translate::{Linker, Profile};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, profile, instructions, output] = arguments.as_slice() else {
        return Err("usage: link-kernel MODULE PROFILE INSTRUCTIONS OUTPUT".into());
    };
    let module = fs::read(module)?;
    let linker = Linker::new(&module)?;
    let profile = Profile::decode(&fs::read(profile)?)?.kernel();
    let (pages, chosen) = profile.hottest(instructions.parse()?, |page, offset| linker.has(page, offset));
    let (module, linked) = linker.link(&pages)?;
    let (share, exits) = (100.0 * chosen.coverage(), chosen.exits_per_thousand());
    eprintln!("machine: {} instructions of the kernel as {} functions", linked.instructions, linked.regions);
    eprintln!("machine: they cover {share:.1} % of what it ran; {exits:.1} exits per 1,000 of those");
    fs::write(output, module)?;
    Ok(())
}
