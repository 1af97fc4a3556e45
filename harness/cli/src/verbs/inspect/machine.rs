//! What is in a machine's file.

use crate::args::InspectArgs;
use crate::wording::{grouped, mebibytes};
use payload::{ImageOrigin, Metadata};
use prebake::artifact::{Artifact, Kind, PartKind};
use prebake::error::{Error, Result};
use prebake::host::file::HostFile;
use prebake::text::printable;
use serde_json::{Value, json};
use snapshot::ReadAt;

/// Describes the machine's file, as text or as JSON.
pub fn inspect(args: &InspectArgs) -> Result<String> {
    let error = |source| Error::Artifact { path: args.file.clone(), source };
    let artifact = Artifact::open(HostFile::open("machine", &args.file)?).map_err(error)?;
    let metadata = artifact.read_part(PartKind::Metadata).map_err(error)?;
    let metadata = Metadata::decode(&metadata).map_err(|source| Error::Metadata { path: args.file.clone(), source })?;
    if args.verify {
        artifact.verify().map_err(error)?;
    }
    let cpu = artifact.cpu().map_err(error)?;
    let facts = (&artifact, &metadata, cpu.as_deref());
    Ok(if args.json { format!("{:#}\n", as_json(args, facts)) } else { as_text(args, facts) })
}

/// The machine's file, its metadata, and the processor that its code says it needs.
type Facts<'a> = (&'a Artifact<HostFile>, &'a Metadata, Option<&'a str>);

fn engine(kind: &Kind) -> String {
    match kind {
        Kind::Wasm => "WebAssembly".into(),
        Kind::Aot { target } => format!("compiled for {target}"),
    }
}

fn as_json(args: &InspectArgs, (artifact, metadata, cpu): Facts<'_>) -> Value {
    json!({
        "file": args.file.display().to_string(),
        "code": engine(artifact.kind()),
        "cpu": cpu,
        "bytes": artifact.file().byte_len(),
        "ram_bytes": artifact.size().ram_size,
        "upper_bytes": metadata.upper,
        "append": metadata.append,
        "parts": artifact.parts().iter().map(|part| json!({
            "name": part.kind.name(),
            "bytes": part.length,
            "digest": part.digest.to_string(),
        })).collect::<Vec<_>>(),
        "image": metadata.image,
        "verified": args.verify,
    })
}

fn as_text(args: &InspectArgs, (artifact, metadata, cpu): Facts<'_>) -> String {
    let length = mebibytes(artifact.file().byte_len());
    let mut lines = vec![
        format!("machine    {} ({}, {length})", args.file.display(), engine(artifact.kind())),
        format!("memory     {} MiB", artifact.size().ram_size >> 20),
        format!("append     {}", printable(&metadata.append)),
    ];
    if let Some(cpu) = cpu {
        lines.push(format!("processor  {cpu}, or better"));
    }
    if metadata.upper > 0 {
        lines.push(format!("upper      {} MiB", metadata.upper >> 20));
    }
    for part in artifact.parts() {
        lines.push(format!("{:<10} {} bytes, {}", part.kind.name(), grouped(part.length), part.digest));
    }
    lines.extend(metadata.image.iter().flat_map(image));
    lines.push(format!(
        "integrity  {}",
        if args.verify { "every byte verified" } else { "the metadata verified (--verify checks the rest too)" }
    ));
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

/// What is known of the image, in lines.
fn image(image: &ImageOrigin) -> Vec<String> {
    let config = &image.config;
    let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let words = |words: &[String]| {
        let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        if quoted.is_empty() { quoted } else { vec![quoted.join(" ")] }
    };
    let rows = [
        ("image", one(&image.name)),
        ("manifest", one(&image.manifest)),
        ("id", one(&image.id)),
        ("created", one(&config.created)),
        ("entrypoint", words(&config.entrypoint)),
        ("cmd", words(&config.cmd)),
        ("env", config.env.clone()),
        ("workdir", one(&config.working_dir)),
        ("user", one(&config.user)),
        ("stop", one(&config.stop_signal)),
        ("hostname", one(&config.hostname)),
        ("port", config.exposed_ports.clone()),
        ("volume", config.volumes.clone()),
        ("label", config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect()),
    ];
    let line = |name: &str, value: String| format!("{name:<10} {}", printable(&value));
    rows.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| line(name, value))).collect()
}
