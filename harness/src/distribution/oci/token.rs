//! What a registry lets one in with. It says what it wants, and a token server that it names gives a token for what the user has: by a GET for a
//! name and a password (<https://distribution.github.io/distribution/spec/auth/token/>), by OAuth 2 for an identity token
//! (<https://distribution.github.io/distribution/spec/auth/oauth/>), which docker keeps in place of a password.

use super::credentials::Credentials;
use super::error::OciError;
use super::obstacle::Obstacle;
use super::registry::{Operation, Registry, Token, body, complaint};
use crate::error::Result;
use http_auth::parse_challenges;
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

/// How prebake calls itself there.
const CLIENT: &str = "prebake";
/// Bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;
/// What a registry says of TLS whose port is spoken to without.
const WANTS_TLS: &str = "HTTPS";

/// What a token server answers, in one of its dialects.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token: Option<String>,
}

impl Registry {
    /// Asks the registry what it wants, and gets it.
    pub(super) async fn obtain(&self, operation: Operation) -> Result<Token> {
        let response = self.ping().await?;
        self.answer(&Challenge::of(&response), operation).await
    }

    /// Gets what a challenge asks for. Nobody gets anything who has not asked.
    pub(super) async fn answer(&self, challenge: &Challenge, operation: Operation) -> Result<Token> {
        let credentials = &self.credentials().credentials;
        let (realm, service) = match (challenge, credentials) {
            (Challenge::Nothing, _) => return Ok(Token::Nothing),
            (Challenge::Password, Credentials::Password(user, password)) => return Ok(Token::Basic(user.clone(), password.clone())),
            (Challenge::Password, Credentials::Anonymous) => return Ok(Token::Nothing),
            (Challenge::Password, Credentials::Identity(_)) => {
                return Err(OciError::protocol("it wants credentials, but names no token server").into());
            }
            (Challenge::Token { realm, service }, _) => (realm, service),
        };
        // What is as good as a password goes nowhere in the clear, unless all does.
        if *credentials != Credentials::Anonymous && realm.scheme() != "https" && realm.scheme() != self.base().scheme() {
            return Err(OciError::protocol(format!("its token server {realm} does not use TLS")).into());
        }
        let actions = if operation == Operation::Pull { "pull" } else { "pull,push" };
        let scope = format!("repository:{}:{actions}", self.reference().repository());
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(service.as_deref().map(|service| ("service", service)));
        let request = match credentials {
            Credentials::Identity(identity) => {
                fields.extend([("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", identity.as_str())]);
                let mut form = realm.clone();
                form.set_query(None);
                form.query_pairs_mut().extend_pairs(fields);
                let form = form.query().unwrap_or_default().to_owned();
                self.http.post(realm.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            _ => {
                let mut place = realm.clone();
                place.query_pairs_mut().extend_pairs(fields);
                let request = self.http.get(place);
                match credentials {
                    Credentials::Password(user, password) => request.basic_auth(user, Some(password)),
                    _ => request,
                }
            }
        };
        let mut response = request.send().await.map_err(|error| self.unreachable(&error, realm))?;
        let status = response.status();
        let bytes = body(&mut response, MAX_ANSWER, "the token").await?;
        if !status.is_success() {
            return Err(self.refused(status, &bytes).into());
        }
        let Answer { access_token, token } = super::document::decode("token", &bytes)?;
        token.or(access_token).map(Token::Bearer).ok_or_else(|| OciError::protocol("its token server gave no token").into())
    }

    /// The error of a token server that gives nothing.
    fn refused(&self, status: StatusCode, bytes: &[u8]) -> OciError {
        let (registry, message) = (self.reference().resolve_registry().to_owned(), complaint(bytes));
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let what = format!("a token for {registry}");
            return OciError::Status { what, status: status.as_u16(), message, retry_after: None, proxy: None };
        }
        self.unread().unwrap_or(OciError::Unauthorized { registry, message })
    }

    /// Asks whether anyone is there. A registry on this host may turn out to use TLS, though none was expected.
    async fn ping(&self) -> Result<Response> {
        loop {
            let place = self.base().join("/v2/").map_err(|_| OciError::protocol("it has no valid base address"))?;
            let response = match self.http.get(place.clone()).send().await {
                // To some what is not TLS is no language at all.
                Err(error) if Obstacle::of(&error) == Obstacle::NotHttp && self.guess_again() => continue,
                response => response.map_err(|error| self.unreachable(&error, &place))?,
            };
            if response.status() != StatusCode::BAD_REQUEST || place.scheme() == "https" {
                return Ok(response);
            }
            let mut response = response;
            let message = complaint(&body(&mut response, MAX_ANSWER, "the answer").await.unwrap_or_default());
            if !message.contains(WANTS_TLS) {
                return Ok(response);
            }
            if !self.guess_again() {
                return Err(OciError::WantsTls { registry: self.reference().resolve_registry().into() }.into());
            }
        }
    }
}

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A token of this server, for this service.
    Token { realm: Url, service: Option<String> },
    /// A name and a password.
    Password,
    /// Nothing, or nothing that is known here.
    Nothing,
}

impl Challenge {
    /// The one in an answer. A token is preferred.
    pub fn of(response: &Response) -> Self {
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|header| header.to_str().ok());
        Self::among(headers)
    }

    fn among<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let challenges: Vec<_> = headers.filter_map(|header| parse_challenges(header).ok()).flatten().collect();
        let of = |scheme| challenges.iter().find(move |challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        let token = of("Bearer").and_then(|bearer| {
            let parameter = |name: &str| {
                let mut found = bearer.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
                found.next().map(|(_, value)| value.to_unescaped())
            };
            Some(Self::Token { realm: parameter("realm")?.parse().ok()?, service: parameter("service") })
        });
        token.unwrap_or(if of("Basic").is_some() { Self::Password } else { Self::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_asks_for_a_token_or_a_password_or_for_nothing_that_is_known() {
        let of = |headers: &[&'static str]| Challenge::among(headers.iter().copied());
        let token = Challenge::Token { realm: "https://auth.example/token".parse().unwrap(), service: Some("registry.example".into()) };
        let bearer = r#"Bearer realm="https://auth.example/token",service="registry.example""#;
        assert_eq!(of(&[bearer]), token);
        assert_eq!(of(&[r#"Basic realm="x", Bearer realm="https://auth.example/token",service="registry.example""#]), token);
        assert_eq!(of(&[r#"Basic realm="x""#, bearer]), token);
        assert_eq!(of(&["Negotiate", r#"basic realm="x""#]), Challenge::Password);
        for none in ["", "Negotiate", "Bearer service=\"x\"", "Bearer realm=\"no address\"", "\"\"\"="] {
            assert_eq!(of(&[none]), Challenge::Nothing, "{none}");
        }
        assert_eq!(of(&[]), Challenge::Nothing);
    }
}
