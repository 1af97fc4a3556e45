//! Identity tokens, which docker keeps in place of a password: a registry's token server gives a token for them, by OAuth 2
//! (<https://distribution.github.io/distribution/spec/auth/oauth/>).

use super::error::OciError;
use super::registry::{body, complaint, unreachable};
use http_auth::parse_challenges;
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Url};
use serde::Deserialize;

/// How prebake calls itself there.
const CLIENT: &str = "prebake";
/// Bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// Asks for a token for `scope` at the token server that the registry at `base` names. `None` if it lets everyone in.
pub async fn exchange(http: &Client, base: &Url, registry: &str, identity: &str, scope: &str) -> Result<Option<String>, OciError> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
    }
    let lost = |error: reqwest::Error| unreachable(&error, registry);
    let place = base.join("/v2/").map_err(|_| OciError::protocol("it has no valid base address"))?;
    let response = http.get(place).send().await.map_err(lost)?;
    let Some(challenge) = response.headers().get(WWW_AUTHENTICATE).and_then(|header| header.to_str().ok()) else { return Ok(None) };
    let (realm, service) = server(challenge).ok_or_else(|| OciError::protocol("it wants credentials, but names no token server"))?;
    // What is as good as a password goes nowhere in the clear, unless all does.
    if realm.scheme() != "https" && realm.scheme() != base.scheme() {
        return Err(OciError::protocol(format!("its token server {realm} does not use TLS")));
    }
    let mut form = realm.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", CLIENT)
        .append_pair("scope", scope)
        .append_pair("refresh_token", identity);
    if let Some(service) = service {
        form.query_pairs_mut().append_pair("service", &service);
    }
    let form = form.query().unwrap_or_default().to_owned();
    let request = http.post(realm).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let bytes = body(&mut response, MAX_ANSWER, "the token").await?;
    if !status.is_success() {
        return Err(OciError::Unauthorized { registry: registry.into(), message: complaint(&bytes) });
    }
    let answer: Answer = super::document::decode("token", &bytes)?;
    Ok(Some(answer.access_token))
}

/// The token server that a challenge names, and the service that a token is for.
fn server(challenge: &str) -> Option<(Url, Option<String>)> {
    let challenges = parse_challenges(challenge).ok()?;
    let bearer = challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer"))?;
    let parameter = |name: &str| {
        let mut found = bearer.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_unescaped())
    };
    Some((parameter("realm")?.parse().ok()?, parameter("service")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_a_token_server() {
        let found = server(r#"Basic realm="x", Bearer realm="https://auth.example/token",service="registry.example""#).unwrap();
        assert_eq!((found.0.as_str(), found.1.as_deref()), ("https://auth.example/token", Some("registry.example")));
        for none in ["", "Basic realm=\"x\"", "Bearer service=\"x\"", "Bearer realm=\"no address\"", "\"\"\"="] {
            assert!(server(none).is_none(), "{none}");
        }
    }
}
