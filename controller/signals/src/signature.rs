//! Signatures of webhooks, as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, timestamp and body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header that tells a message from every other one; the same when it is sent again.
pub const ID: &str = "webhook-id";
/// The header with the time of sending, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signature.
pub const SIGNATURE: &str = "webhook-signature";

/// What a secret begins with whose rest is base64.
const PREFIX: &str = "whsec_";

/// A secret that sender and receiver share. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl SigningSecret {
    /// Reads a secret: base64 after `whsec_`, or any other text as it is; a line break at its end is not part of it.
    ///
    /// Errors: it is empty, or no base64.
    pub fn read(bytes: &[u8]) -> Result<SigningSecret, String> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let key = match bytes.strip_prefix(PREFIX.as_bytes()) {
            Some(encoded) => {
                STANDARD.decode(encoded).map_err(|_| format!("what follows `{PREFIX}` in it is no base64"))?
            }
            None => bytes.to_vec(),
        };
        if key.is_empty() { Err("it is empty".to_owned()) } else { Ok(SigningSecret(key)) }
    }

    /// The value of the header [`SIGNATURE`]. `timestamp`: seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        // A key of any length is taken.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secret = SigningSecret::read(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_any_text_is_taken_as_it_is_and_a_bad_one_says_why() {
        let plain = SigningSecret::read(b"hush\n").unwrap();
        assert_eq!(plain, SigningSecret::read(b"whsec_aHVzaA==").unwrap());
        for bad in [&b""[..], b"\n", b"whsec_", b"whsec_!!"] {
            assert!(SigningSecret::read(bad).is_err(), "{bad:?}");
        }
        assert!(!format!("{plain:?}").contains("hush"));
    }
}
