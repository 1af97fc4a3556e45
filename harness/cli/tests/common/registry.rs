//! A registry: Debian's, on this host.

use super::made;
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Who is let in.
pub const USER: &str = "user";
/// With this.
pub const PASSWORD: &str = "secret";
/// bcrypt of the password.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// A registry of its own, until it is dropped.
pub struct Registry {
    server: Server,
    /// Where it keeps what it has.
    pub folder: TempDir,
    /// Host and port.
    pub address: String,
    /// What a client is let in with.
    pub auth: RegistryAuth,
}

/// The process, until this is dropped.
struct Server(Child);

impl Server {
    /// Starts it, and waits until it listens.
    fn start(config: &Path, address: &str) -> Self {
        let program = made(Path::new("registry/docker-registry"), "registry");
        let child = Command::new(program).arg("serve").arg(config).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Registry {
    /// Begins to listen.
    pub fn start(with_password: bool) -> Self {
        Self::start_at("127.0.0.1", with_password)
    }

    /// Begins to listen at this address of this host.
    pub fn start_at(host: &str, with_password: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((host.trim_matches(['[', ']']), 0)).unwrap().local_addr().unwrap().port();
        let address = format!("{host}:{port}");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": at("data") } },
            "http": { "addr": address },
        });
        if with_password {
            fs::write(at("passwords"), format!("{USER}:{HASH}\n")).unwrap();
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": at("passwords") } });
        }
        fs::write(at("config.yml"), config.to_string()).unwrap();
        let auth = if with_password { RegistryAuth::Basic(USER.into(), PASSWORD.into()) } else { RegistryAuth::Anonymous };
        let server = Server::start(&folder.path().join("config.yml"), &address);
        Self { server, folder, address, auth }
    }

    /// Starts it again, with TLS: with this certificate and key, and for those alone who show a certificate of the authority, if there is one.
    pub fn restart_with_tls(&mut self, certificate: &Path, key: &Path, authority: Option<&Path>) {
        let path = self.at("config.yml");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["http"]["tls"] = json!({ "certificate": certificate, "key": key, "clientcas": authority.into_iter().collect::<Vec<_>>() });
        fs::write(path, config.to_string()).unwrap();
        self.kill_and_start_again(Duration::ZERO);
    }

    /// Kills it, and starts it again after `pause`, at the same address and with what it had.
    pub fn kill_and_start_again(&mut self, pause: Duration) {
        self.server.end();
        std::thread::sleep(pause);
        self.server = Server::start(&self.at("config.yml"), &self.address);
    }

    /// Puts there what `descriptor` names in the OCI layout at `layout`, as `name`, and all of the layout's blobs.
    pub fn push(&self, layout: &Path, descriptor: &Value, name: &str) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
        let reference: Reference = format!("{}/{name}", self.address).parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let blobs = layout.join("blobs/sha256");
        runtime.block_on(async {
            client.auth(&reference, &self.auth, oci_client::RegistryOperation::Push).await.unwrap();
            for blob in fs::read_dir(&blobs).unwrap() {
                let blob = blob.unwrap();
                let digest = format!("sha256:{}", blob.file_name().display());
                client.push_blob(&reference, fs::read(blob.path()).unwrap(), &digest).await.unwrap();
            }
            let digest = descriptor["digest"].as_str().unwrap();
            let manifest = fs::read(blobs.join(digest.strip_prefix("sha256:").unwrap())).unwrap();
            let media_type = descriptor["mediaType"].as_str().unwrap().parse().unwrap();
            client.push_manifest_raw(&reference, manifest, media_type).await.unwrap();
        });
    }

    /// Ends it, and leaves what it had.
    pub fn stop(self) -> TempDir {
        drop(self.server);
        self.folder
    }

    /// A place in its folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
