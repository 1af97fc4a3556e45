//! Names of registries, looked up by whom the context names.

use crate::network::{Asker, Resolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::SocketAddr;
use std::sync::Arc;

/// See above.
pub struct Lookups(pub Arc<dyn Resolver>);

impl Resolve for Lookups {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || resolver.resolve(name.as_str(), Asker::Registry)).await??;
            // A port of 0 stands for the one in the address that is asked for.
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
