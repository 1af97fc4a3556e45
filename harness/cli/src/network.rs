//! How the user's registries are reached, by the options, the environment and the files of docker and podman.

use crate::args::RegistryArgs;
use crate::shell::{path_in, variable};
use prebake::distribution::oci;
use prebake::network::{Login, Network, Proxies};
use rustix::process::getuid;
use std::path::PathBuf;

/// For a verb with these options, which has to do with this reference.
pub fn of(args: Option<&RegistryArgs>, reference: Option<&str>) -> Network {
    let login = match (variable("PREBAKE_REGISTRY_USER"), variable("PREBAKE_REGISTRY_PASSWORD")) {
        (Some(user), Some(password)) => login_registry(reference).map(|registry| Login { registry, user, password }),
        _ => None,
    };
    Network {
        plain_http: args.is_some_and(|args| args.plain_http),
        login,
        credentials: credentials(),
        authorities: args.map(|args| args.ca_file.clone()).unwrap_or_default(),
        certificates: certificates(),
        proxies: proxies(),
        ..Network::default()
    }
}

/// The registry that the login in the environment is for.
fn login_registry(reference: Option<&str>) -> Option<String> {
    let of = |text: &str| Some(oci::reference(text).ok()?.resolve_registry().to_owned());
    variable("PREBAKE_REGISTRY").or_else(|| reference.and_then(of))
}

/// Docker's own folder of the user.
fn docker() -> Option<PathBuf> {
    path_in("DOCKER_CONFIG").or_else(|| path_in("HOME").map(|home| home.join(".docker")))
}

/// The folder of the user's configurations.
fn configuration() -> Option<PathBuf> {
    path_in("XDG_CONFIG_HOME").or_else(|| path_in("HOME").map(|home| home.join(".config")))
}

/// Files with credentials: the one that is named, docker's, podman's of this login, podman's of the user.
fn credentials() -> Vec<PathBuf> {
    let runtime = path_in("XDG_RUNTIME_DIR").map(|folder| folder.join("containers"));
    let runtime = runtime.unwrap_or_else(|| PathBuf::from(format!("/run/containers/{}", getuid().as_raw())));
    let files = [
        path_in("REGISTRY_AUTH_FILE"),
        docker().map(|folder| folder.join("config.json")),
        Some(runtime.join("auth.json")),
        configuration().map(|folder| folder.join("containers/auth.json")),
    ];
    files.into_iter().flatten().collect()
}

/// Folders with certificates for registries: the user's before the system's.
fn certificates() -> Vec<PathBuf> {
    let configuration = configuration();
    let below = |name: &str| configuration.as_ref().map(|folder| folder.join(name));
    let own = [docker().map(|folder| folder.join("certs.d")), below("docker/certs.d"), below("containers/certs.d")];
    own.into_iter().flatten().chain(["/etc/docker/certs.d", "/etc/containers/certs.d"].map(PathBuf::from)).collect()
}

fn proxies() -> Proxies {
    let either = |upper: &str, lower: &str| variable(upper).or_else(|| variable(lower));
    let all = either("ALL_PROXY", "all_proxy");
    // In a CGI script the first of these is a header of whoever asks (CVE-2016-5385).
    let http = if variable("REQUEST_METHOD").is_some() { variable("http_proxy") } else { either("HTTP_PROXY", "http_proxy") };
    Proxies {
        http: http.or_else(|| all.clone()),
        https: either("HTTPS_PROXY", "https_proxy").or(all),
        except: either("NO_PROXY", "no_proxy").unwrap_or_default(),
    }
}
