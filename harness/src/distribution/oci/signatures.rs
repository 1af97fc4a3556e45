//! Signatures of documents, kept in the registry as cosign keeps them: the signatures of the document `sha256:X` are the layers of the manifest
//! that is tagged `sha256-X.sig`.

use super::blob::Source;
use super::digest::Sha256;
use super::document::{Descriptor, MANIFEST_TYPE, decode, encode};
use super::error::OciError;
use super::registry::Registry;
use crate::distribution::trust::{Signature, SigningKey, repository};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// The media type of what is signed.
const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature of it.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The media type of the configuration, which says nothing.
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// A time for those who want one.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Signatures of a document that are looked at.
const MAX_SIGNATURES: usize = 32;
/// Bytes of what is signed, at most.
const MAX_PAYLOAD: u64 = 64 << 10;

/// The manifest with the signatures of a document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    schema_version: u32,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Registry {
    /// All signatures that the registry has of the document `digest`. Nothing is verified.
    pub async fn signatures(&self, digest: Sha256) -> Result<Vec<Signature>> {
        let mut signatures = Vec::new();
        for layer in self.signed_layers(digest).await?.iter().take(MAX_SIGNATURES) {
            let Some(signature) = signature_in(layer) else { continue };
            let payload = self.small("what is signed", layer.digest, MAX_PAYLOAD).await?;
            if let Ok(payload) = String::from_utf8(payload) {
                signatures.push(Signature { payload, signature: signature.into() });
            }
        }
        Ok(signatures)
    }

    /// Signs the document `digest`, unless the key has done so. The signatures of others stay.
    pub async fn sign(&self, digest: Sha256, key: &SigningKey) -> Result<()> {
        if self.signatures(digest).await?.iter().any(|signature| signature.is_of(digest, key.public())) {
            return Ok(());
        }
        let mut layers = self.signed_layers(digest).await?;
        let Signature { payload, signature } = Signature::new(key, &repository(self.reference()), digest);
        let layer = Descriptor::of(PAYLOAD_TYPE, payload.as_bytes());
        self.send("what is signed", &layer, &Source::Bytes(payload.as_bytes()), None, |_| Ok(())).await?;
        layers.push(Descriptor { annotations: Some(BTreeMap::from([(SIGNATURE.into(), signature)])), ..layer });

        let digests: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = encode(&json!({
            "architecture": "",
            "config": {},
            "created": NEVER,
            "history": vec![json!({ "created": NEVER }); layers.len()],
            "os": "",
            "rootfs": { "type": "layers", "diff_ids": digests },
        }));
        let described = Descriptor::of(CONFIG_TYPE, &config);
        self.send("the signature's configuration", &described, &Source::Bytes(&config), None, |_| Ok(())).await?;
        let signed = Signed { schema_version: 2, media_type: Some(MANIFEST_TYPE.into()), config: described, layers };
        self.send_document(MANIFEST_TYPE, &encode(&signed), &tag(digest)).await
    }

    async fn signed_layers(&self, digest: Sha256) -> Result<Vec<Descriptor>> {
        let tag = tag(digest);
        match self.tagged(&tag).await {
            Ok(bytes) => Ok(decode::<Signed>("list of signatures", &bytes)?.layers),
            // Some registries say 403 of what is not there.
            Err(Error::Oci(error)) if matches!(*error, OciError::Status { status: 403 | 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn signature_in(layer: &Descriptor) -> Option<&str> {
    let is_signature = layer.media_type == PAYLOAD_TYPE && layer.size <= MAX_PAYLOAD;
    layer.annotations.as_ref().filter(|_| is_signature)?.get(SIGNATURE).map(String::as_str)
}

fn tag(digest: Sha256) -> String {
    format!("sha256-{}.sig", digest.digits())
}
