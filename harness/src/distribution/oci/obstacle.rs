//! What stands between here and a registry that does not answer: what it is, whether it passes by itself, and which option helps if not.

use reqwest::Url;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::error::Error;
use std::io;

/// See above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Nobody knows the registry's name.
    Unresolved,
    /// Nothing listens there.
    Refused,
    /// What listens there speaks no TLS.
    PlainHttp,
    /// What it answers is not HTTP.
    NotHttp,
    /// It lets nobody in without a certificate, or not with the one that was shown.
    WantsCertificate,
    /// It shows a certificate that nobody who is believed has signed.
    UnknownAuthority,
    /// It shows a certificate for another name.
    OtherName,
    /// It shows a certificate whose time is over, or has not come.
    OutOfTime,
    /// It sends one from place to place.
    Redirects,
    /// A proxy does not let one through.
    Proxy,
    /// Something else, which may pass.
    Other,
}

/// What can be asked for that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// No TLS.
    PlainHttp,
    /// An authority that is believed, in a file.
    CaFile,
}

/// What is said of a proxy's answer to CONNECT.
const TUNNEL_REFUSED: &str = "tunnel error: unsuccessful";
/// The same of an answer with 407.
const TUNNEL_UNAUTHORIZED: &str = "tunnel error: proxy authorization required";

/// How a peer says that it does not like one's certificate, or wants one.
const REFUSALS: [AlertDescription; 6] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::CertificateUnknown,
    AlertDescription::AccessDenied,
    AlertDescription::HandshakeFailure,
];

impl Obstacle {
    /// That which an error of the transport is about.
    pub fn of(error: &reqwest::Error) -> Self {
        if error.is_redirect() {
            return Self::Redirects;
        }
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(found) = cause {
            if let Some(obstacle) = Self::of_cause(found) {
                return obstacle;
            }
            cause = found.source();
        }
        Self::Other
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<TlsError>() {
            return Some(Self::of_tls(error));
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            // Such an error does not show what it wraps as its source.
            if let Some(wrapped) = error.get_ref().and_then(|wrapped| Self::of_cause(wrapped)) {
                return Some(wrapped);
            }
            return (error.kind() == io::ErrorKind::ConnectionRefused).then_some(Self::Refused);
        }
        // These have no type of their own.
        match cause.to_string() {
            text if text == "dns error" => Some(Self::Unresolved),
            text if text.starts_with("invalid HTTP") => Some(Self::NotHttp),
            text if text == TUNNEL_REFUSED || text == TUNNEL_UNAUTHORIZED => Some(Self::Proxy),
            _ => None,
        }
    }

    fn of_tls(error: &TlsError) -> Self {
        match error {
            TlsError::InvalidMessage(_) => Self::PlainHttp,
            TlsError::AlertReceived(alert) if REFUSALS.contains(alert) => Self::WantsCertificate,
            TlsError::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::OutOfTime,
            TlsError::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                Self::OtherName
            }
            TlsError::InvalidCertificate(_) | TlsError::General(_) => Self::UnknownAuthority,
            _ => Self::Other,
        }
    }

    /// Whether a proxy on the way may be meant.
    pub const fn may_be_the_proxy(&self) -> bool {
        matches!(self, Self::Unresolved | Self::Refused | Self::Proxy | Self::Other)
    }

    /// Whether the same may succeed in a moment. A registry that has answered before and refuses now may be on its way up.
    pub const fn passes(&self, has_answered: bool) -> bool {
        match self {
            Self::Other => true,
            Self::Refused => has_answered,
            _ => false,
        }
    }

    /// What can be asked for that helps, if `url` was asked for.
    pub fn remedy(&self, url: &Url) -> Option<Remedy> {
        match self {
            Self::Refused if url.scheme() == "https" => Some(Remedy::PlainHttp),
            Self::PlainHttp | Self::NotHttp | Self::Redirects => Some(Remedy::PlainHttp),
            Self::UnknownAuthority => Some(Remedy::CaFile),
            _ => None,
        }
    }

    /// What to do about it, if `url` of `registry` was asked for.
    pub fn advice(&self, registry: &str, url: &Url) -> String {
        let has_tls = url.scheme() == "https";
        match self {
            Self::Unresolved => "check the name of the registry and the network".into(),
            Self::Refused if has_tls => "check that it is running and its port; a registry without TLS needs plain HTTP".into(),
            Self::Refused => "check that it is running and its port".into(),
            Self::PlainHttp => "if it is a registry without TLS, use plain HTTP".into(),
            Self::NotHttp => "check its port, and whether it uses TLS".into(),
            Self::WantsCertificate => {
                format!("put a certificate for it and the key into /etc/docker/certs.d/{registry}/client.cert and client.key")
            }
            Self::UnknownAuthority => {
                format!("to trust its certificate, put it into /etc/docker/certs.d/{registry}/ca.crt, or name its file")
            }
            Self::OtherName => "use a name that its certificate is for".into(),
            Self::OutOfTime => "renew its certificate, or check the clock of this host".into(),
            Self::Redirects => "some registries send one protocol to the other; check the reference, and whether it uses TLS".into(),
            Self::Proxy | Self::Other => "check that it is running and that the reference names the right registry".into(),
        }
    }
}
