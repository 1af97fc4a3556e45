//! The way to a registry: through a proxy, or not.

use super::error::OciError;
use crate::network::Proxies;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy, Proxy, Url};
use std::net::IpAddr;

/// What is never behind a proxy: this host.
const HERE: &str = "localhost,127.0.0.0/8,::1";

/// The proxies for what is asked of one registry.
#[derive(Debug)]
pub struct Route {
    matcher: Matcher,
}

/// Makes a client for `registry` use these proxies and no others.
pub fn apply(proxies: &Proxies, mut client: ClientBuilder, registry: &str) -> Result<(ClientBuilder, Route), OciError> {
    let except = exceptions(&proxies.except, registry);
    client = client.no_proxy();
    // The matcher knows `*` of names alone.
    let is_for_none = proxies.except.split(',').any(|entry| entry.trim() == "*");
    let mut matcher = Matcher::builder().no(except.as_str());
    if let Some(address) = proxies.http.as_ref().filter(|_| !is_for_none) {
        client = client.proxy(checked(Proxy::http(address), address)?.no_proxy(NoProxy::from_string(&except)));
        matcher = matcher.http(address.as_str());
    }
    if let Some(address) = proxies.https.as_ref().filter(|_| !is_for_none) {
        client = client.proxy(checked(Proxy::https(address), address)?.no_proxy(NoProxy::from_string(&except)));
        matcher = matcher.https(address.as_str());
    }
    Ok((client, Route { matcher: matcher.build() }))
}

/// The exceptions without ports: those with another port than the registry's are none.
fn exceptions(except: &str, registry: &str) -> String {
    let port = split_port(registry).1;
    let without_port = |entry: &str| {
        let entry = entry.trim();
        let is_address = entry.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || entry.contains('/');
        match if is_address { (entry, None) } else { split_port(entry) } {
            (host, None) => Some(host.trim_matches(['[', ']']).to_owned()),
            (host, wanted) => (wanted == port).then(|| host.trim_matches(['[', ']']).to_owned()),
        }
    };
    let own = except.split(',').filter(|entry| !entry.trim().is_empty()).filter_map(without_port);
    own.chain([HERE.to_owned()]).collect::<Vec<_>>().join(",")
}

/// A proxy, unless it is of a kind that is not known: of such ones nothing else would come.
fn checked(proxy: reqwest::Result<Proxy>, address: &str) -> Result<Proxy, OciError> {
    let anywhere = "http://host.invalid/".parse().ok();
    let is_known = anywhere.is_some_and(|url| Matcher::builder().all(address).build().intercept(&url).is_some());
    proxy.ok().filter(|_| is_known).ok_or_else(|| OciError::Proxy { address: without_password(address) })
}

/// An address without what must not be shown.
fn without_password(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => {
            format!("{}{host}", before.split_inclusive("://").next().filter(|scheme| scheme.ends_with("://")).unwrap_or_default())
        }
        None => address.to_owned(),
    }
}

impl Route {
    /// The proxy that `url` is reached through, if there is one.
    pub fn to(&self, url: &Url) -> Option<String> {
        let proxy = self.matcher.intercept(&url.as_str().parse().ok()?)?;
        Some(proxy.uri().to_string().trim_end_matches('/').to_owned())
    }
}

/// A host, and the port behind it.
pub fn split_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    }
}

/// Whether a registry is on this host.
pub fn is_loopback(registry: &str) -> bool {
    let host = split_port(registry).0;
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_told_by_its_names() {
        for local in ["localhost:5000", "127.0.0.1:5000", "localhost", "127.1.2.3", "[::1]:5000", "[::1]", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["index.docker.io", "localhost.example:5000", "10.0.0.1:5000", "127.0.0.1.example", "[2001:db8::1]:5000", "[fe80::1]"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }

    fn route(proxies: &Proxies, registry: &str, scheme: &str) -> Option<String> {
        let (_, route) = apply(proxies, reqwest::Client::builder(), registry).unwrap();
        route.to(&format!("{scheme}://{registry}/v2/").parse().unwrap())
    }

    #[test]
    fn a_proxy_is_for_its_scheme_and_never_for_this_host() {
        let proxies =
            Proxies { http: Some("http://me:secret@p.example:3128".into()), https: Some("s.example:443".into()), except: String::new() };
        assert_eq!(route(&proxies, "r.example", "http").as_deref(), Some("http://p.example:3128"));
        assert_eq!(route(&proxies, "r.example:5000", "https").as_deref(), Some("http://s.example:443"));
        for here in ["localhost:5000", "127.0.0.1", "127.3.4.5:1", "[::1]:5000"] {
            assert_eq!(route(&proxies, here, "http"), None, "{here}");
        }
        assert_eq!(route(&Proxies::default(), "r.example", "https"), None);
    }

    #[test]
    fn exceptions_are_names_addresses_ranges_and_ports() {
        let is_direct = |except: &str, registry: &str| {
            let proxies = Proxies { http: None, https: Some("http://p.example".into()), except: except.into() };
            route(&proxies, registry, "https").is_none()
        };
        for (except, registry) in [
            ("*", "r.example"),
            ("x, *", "192.0.2.10:5000"),
            ("r.example", "r.example:5000"),
            (".example", "r.example"),
            ("example", "a.b.example"),
            ("x, r.example ,y", "r.example"),
            ("10.0.0.0/8", "10.1.2.3:5000"),
            ("2001:db8::/32", "[2001:db8::7]:5000"),
            ("2001:db8::7", "[2001:db8::7]:5000"),
            ("[2001:db8::7]:5000", "[2001:db8::7]:5000"),
            ("r.example:5000", "r.example:5000"),
        ] {
            assert!(is_direct(except, registry), "{except} {registry}");
        }
        for (except, registry) in [
            ("", "r.example"),
            ("ample", "r.example"),
            ("s.example", "r.example"),
            ("r.example:5001", "r.example:5000"),
            ("r.example:5000", "r.example"),
            ("10.0.0.0/8", "11.1.2.3:5000"),
            (",", "r.example"),
        ] {
            assert!(!is_direct(except, registry), "{except} {registry}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        let proxies = Proxies { https: Some("ftp://me:secret@ p".into()), ..Proxies::default() };
        let error = apply(&proxies, reqwest::Client::builder(), "r.example").unwrap_err().to_string();
        assert!(error.contains("ftp:// p") && !error.contains("secret"), "{error}");
        assert_eq!(without_password("me:secret@p"), "p");
    }
}
