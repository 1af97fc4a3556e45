//! The virtio-console ports that connect the machine with its host.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Where the kernel lists the ports.
const CLASS: &str = "/sys/class/virtio-ports";

/// The ports, opened once and for good: a port that is closed and opened again would lose bytes.
#[derive(Debug)]
pub struct Ports {
    /// Lines, see PROTOCOL.md. Absent in a machine whose host does not speak them.
    pub control: Option<File>,
    streams: [(&'static str, Option<File>); 3],
}

/// The three byte-exact ports, or those of them that have been taken out.
#[derive(Debug)]
pub struct StreamPorts {
    /// What the program reads.
    pub stdin: File,
    /// What the program writes.
    pub stdout: File,
    /// What the program complains of.
    pub stderr: File,
}

impl Ports {
    /// Opens those that the machine has.
    pub fn open() -> Result<Self> {
        let open = |name| open_by_name(Path::new(CLASS), Path::new("/dev"), name);
        let stream = |name| Ok((name, open(name)?));
        Ok(Self {
            control: open("prebake.control")?,
            streams: [stream("prebake.stdin")?, stream("prebake.stdout")?, stream("prebake.stderr")?],
        })
    }

    /// The ports for the program's streams.
    pub fn into_streams(self) -> Result<StreamPorts> {
        let [stdin, stdout, stderr] = self.streams.map(|(name, port)| port.ok_or(Error::NoPort(name)));
        Ok(StreamPorts { stdin: stdin?, stdout: stdout?, stderr: stderr? })
    }
}

fn open_by_name(class: &Path, devices: &Path, name: &str) -> Result<Option<File>> {
    // A machine without virtio-console has no such folder.
    let Ok(ports) = fs::read_dir(class) else { return Ok(None) };
    for port in ports.flatten() {
        if fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim_end() == name) {
            let device = devices.join(port.file_name());
            let file = OpenOptions::new().read(true).write(true).open(&device).context("open", format!("{} ({name})", device.display()))?;
            return Ok(Some(file));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn ports_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (class, devices) = (folder.path().join("class"), folder.path().join("dev"));
        fs::create_dir(&devices).unwrap();
        for (device, name) in [("vport1p1", "org.other\n"), ("vport1p2", "prebake.control\n"), ("vport1p3", "prebake.control.x\n")] {
            fs::create_dir_all(class.join(device)).unwrap();
            fs::write(class.join(device).join("name"), name).unwrap();
            fs::write(devices.join(device), device).unwrap();
        }
        // The console port has no name.
        fs::create_dir_all(class.join("vport1p0")).unwrap();

        let mut content = String::new();
        open_by_name(&class, &devices, "prebake.control").unwrap().unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "vport1p2");
        assert!(open_by_name(&class, &devices, "prebake.stdin").unwrap().is_none());
        assert!(open_by_name(Path::new("/nonexistent"), &devices, "prebake.control").unwrap().is_none());
    }

    #[test]
    fn a_missing_stream_is_named() {
        let ports = Ports { control: None, streams: [("prebake.stdin", None), ("prebake.stdout", None), ("prebake.stderr", None)] };
        assert!(matches!(ports.into_streams(), Err(Error::NoPort("prebake.stdin"))));
    }
}
