//! Which network a run has.

use super::RunRequest;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::host::backend::entropy::OsEntropy;
use crate::host::net::{Link, Network, NetworkOptions, Publish};
use crate::machine::ClockSource;
use crate::machine::file::MachineFile;
use crate::observer::Notice;
use std::path::Path;

/// The network of a run of `path`, which has a network device or not, and is of `machine`. Under the virtual clock there is none, because a replay would
/// not get the same frames; to ask for one is an error.
pub fn open(
    context: &Context,
    request: &RunRequest,
    machine: Option<&MachineFile>,
    (has_device, path): (bool, &Path),
) -> Result<Option<Network>> {
    let mut options = match &request.network {
        Some(options) => options.clone(),
        None if has_device && request.clock == ClockSource::Host => NetworkOptions::user(),
        None => return Ok(None),
    };
    if options.link == Link::None {
        return Ok(None);
    }
    if !has_device {
        return Err(Error::NoNetworkDevice { path: path.into() });
    }
    if request.clock == ClockSource::Virtual {
        return Err(Error::NetworkInVirtualTime);
    }
    if options.publish_all {
        let exposed = machine.map(MachineFile::exposed_ports).unwrap_or_default();
        options.published.extend(exposed.iter().filter_map(|port| Publish::exposed(port)));
    }
    let network = Network::open(&options, context.resolver().cloned(), &mut OsEntropy::open()?)?;
    let addresses = network.iter().flat_map(Network::addresses);
    for (Publish { host, guest, protocol }, address) in options.published.iter().zip(addresses) {
        // The others are as asked for.
        if host.port() == 0 {
            let address = address.map_err(|source| Error::Publish { address: *host, source })?;
            context.notice(Notice::Published { address, guest: *guest, protocol: protocol.name() });
        }
    }
    Ok(network)
}
