//! `--mount`, docker's long form of a volume.

use prebake::machine::limits::Tmpfs;
use prebake::machine::program::{Volume, bytes};
use std::path::Path;
use std::str::FromStr;

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountArg {
    /// A directory or file of the host.
    Bind(Volume),
    /// Memory.
    Tmpfs(Tmpfs),
}

impl FromStr for MountArg {
    type Err = String;

    /// `KEY=VALUE,KEY…`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut kind, mut source, mut target, mut read_only, mut size, mut options) = (None, None, None, false, None, Vec::new());
        for word in text.split(',') {
            let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
            let text = || value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{key} needs a value"));
            match key {
                "type" => kind = Some(text()?),
                "source" | "src" => source = Some(text()?),
                "target" | "destination" | "dst" => target = Some(text()?),
                "readonly" | "ro" => read_only = is_on(key, value)?,
                "size" => size = Some(bytes(text()?).ok_or("size needs a number of bytes, such as 512m or 2g")?),
                "tmpfs-size" => options.push(format!("size={}", text()?)),
                "tmpfs-mode" => options.push(format!("mode={}", text()?)),
                // These are of a host whose kernel is the container's, too.
                "consistency" | "bind-nonrecursive" | "relabel" => {}
                "bind-propagation" if matches!(value, Some("private" | "rprivate")) => {}
                _ => {
                    return Err(format!(
                        "unknown key `{}`; the keys are type, src, dst, ro, size, tmpfs-size and tmpfs-mode",
                        word.escape_debug()
                    ));
                }
            }
        }
        let target = target.ok_or("dst is missing: the path in the guest")?;
        match kind {
            Some("bind") if !options.is_empty() => Err("tmpfs-size and tmpfs-mode need type=tmpfs".into()),
            Some("bind") => {
                let source = source.ok_or("src is missing: the folder or file of this host")?;
                if !Path::new(source).exists() {
                    return Err(format!("there is no {source} on this host; make it first"));
                }
                let volume = Volume::new(source.into(), target, read_only).map_err(|problem| problem.to_string())?;
                Ok(Self::Bind(Volume { size, ..volume }))
            }
            Some("tmpfs") if size.is_some() => Err("size is of a folder; memory has tmpfs-size".into()),
            Some("tmpfs") if source.is_some() => Err("type=tmpfs has no src; omit it".into()),
            Some("tmpfs") => {
                options.extend(read_only.then(|| "ro".to_owned()));
                Tmpfs::new(target, options.iter().map(String::as_str)).map(Self::Tmpfs).map_err(|problem| problem.to_string())
            }
            _ => {
                Err("prebake mounts folders and files of this host: write type=bind,src=HOST,dst=GUEST, or type=tmpfs,dst=GUEST for memory"
                    .into())
            }
        }
    }
}

fn is_on(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(format!("{key} is true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_understood_as_docker_does() {
        let bind = |text: &str, read_only| Ok(MountArg::Bind(Volume::new("src".into(), text, read_only).unwrap()));
        // Tests run in the package's folder.
        assert_eq!("type=bind,source=src,target=/a".parse(), bind("/a", false));
        assert_eq!("type=bind,src=src,dst=/a,ro".parse(), bind("/a", true));
        assert_eq!("destination=/a,readonly=true,src=src,type=bind,consistency=cached,bind-propagation=rprivate".parse(), bind("/a", true));
        assert_eq!("type=tmpfs,dst=/a,tmpfs-size=1m,tmpfs-mode=700".parse(), Ok(MountArg::Tmpfs("/a:size=1m,mode=700".parse().unwrap())));
        let bound = Volume { size: Some(1 << 20), ..Volume::new("src".into(), "/a", false).unwrap() };
        assert_eq!("type=bind,src=src,dst=/a,size=1m".parse(), Ok(MountArg::Bind(bound)));
        for (wrong, why) in [
            ("type=bind,src=src,dst=/a,size=x", "512m"),
            ("type=tmpfs,dst=/a,size=1m", "tmpfs-size"),
            ("", "unknown key"),
            ("src=src,dst=/a", "type=bind"),
            ("type=volume,src=data,dst=/a", "type=bind"),
            ("type=bind,dst=/a", "src is missing"),
            ("type=bind,src=src", "dst is missing"),
            ("type=bind,src=,dst=/a", "src needs a value"),
            ("type=bind,src=/nonexistent/x,dst=/a", "no /nonexistent/x on this host"),
            ("type=bind,src=src,dst=a", "absolute"),
            ("type=bind,src=src,dst=/a,ro=maybe", "true or false"),
            ("type=bind,src=src,dst=/a,bind-propagation=shared", "unknown key"),
            ("type=bind,src=src,dst=/a,tmpfs-size=1m", "type=tmpfs"),
            ("type=tmpfs,src=src,dst=/a", "has no src"),
        ] {
            let error = wrong.parse::<MountArg>().unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
