//! The oracle.
mod case;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod child;
mod compare;
mod corners;
mod field;
mod generate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host_test;
mod ins;
mod rng;
mod undefined;
mod world;

#[test]
fn explore() {
    use std::collections::BTreeMap;
    use world::*;
    let mut host = host::Host::new();
    let mut rng = rng::Rng::new(7);
    let mut hist: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    let mut total = 0;
    let t = std::time::Instant::now();
    let mut codes = 0;
    for code in iced_x86::Code::values() {
        if !generate::is_legacy(code) || generate::excluded(code).is_some() {
            continue;
        }
        let feats = format!("{:?}", code.cpuid_features());
        if [
            "3DNOW",
            "CET",
            "XOP",
            "GEODE",
            "PADLOCK",
            "CYRIX",
            "VMX",
            "SVM",
            "SGX",
            "TDX",
            "SMX",
            "MPX",
            "RTM",
            "HLE",
            "MOVDIR",
            "ENQCMD",
            "UINTR",
            "WAITPKG",
            "SHA",
            "AES",
            "KL",
            "AMX",
            "SSE4A",
            "CLWB",
            "PTWRITE",
            "MCOMMIT",
            "RDPRU",
            "UDBG",
            "WRMSRNS",
            "MSRLIST",
            "SEAM",
            "HRESET",
            "INVLPGB",
            "SNP",
            "TSX",
            "PREFETCHITI",
            "RAO",
            "FRED",
            "GFNI",
            "CLZERO",
            "MONITORX",
            "PCOMMIT",
            "SKINIT",
            "INVEPT",
            "INVVPID",
            "INVPCID",
            "PKU",
            "OSPKE",
            "ALTINST",
            "D3NOW",
            "LOADALL",
            "UMOV",
            "IBTS",
            "CMPXCHG486",
            "MONTMUL",
            "XSTORE",
            "CL1INVMB",
            "SMM",
            "SMAP",
            "LWP",
            "AVX",
            "FMA",
            "LWP",
        ]
        .iter()
        .any(|f| feats.contains(f))
        {
            continue;
        }
        codes += 1;
        let enc = generate::encodings(code, 4, &mut rng);
        if enc.is_empty() {
            println!("no encodings: {code:?} {feats}");
            continue;
        }
        let cases: Vec<_> = enc
            .iter()
            .flat_map(|e| (0..4).map(|_| case::Case::new(format!("{code:?}"), e.bits, &e.bytes, &[], true, &mut rng)).collect::<Vec<_>>())
            .collect();
        total += cases.len();
        let mut worlds: Vec<_> = cases.iter().map(|c| c.before.clone()).collect();
        host.run(&mut worlds);
        for (c, w) in cases.iter().zip(&worlds) {
            let ended = w.stop.vector == 13 && w.memory.byte(w.state.rip) == Some(STOP) && w.state.rip != ENTRY;
            let name = if ended { "ok".into() } else { w.stop.describe().split(|c: char| c == ' ').next().unwrap().to_string() };
            *hist.entry(format!("{code:?}")).or_default().entry(name.clone()).or_default() += 1;
            if name == "died" || name == "hung" {
                println!("{}", c.report(&[name]));
            }
        }
    }
    println!("{codes} codes {total} cases {:?}", t.elapsed());
    for (m, h) in &hist {
        println!("{m}: {h:?}");
    }
}
