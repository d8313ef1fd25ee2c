//! Checking signatures, the same for both back ends: no randomness is in it.

use ring::signature::{self, VerificationAlgorithm};

use super::{BadSignature, KeyAlgorithm, PublicKey, SignatureScheme};

/// See [`Backend::verify`](super::Backend::verify).
pub(super) fn verify(
    scheme: SignatureScheme,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let algorithm = algorithm(scheme, key.algorithm()).ok_or(BadSignature)?;
    signature::UnparsedPublicKey::new(algorithm, key.as_bytes())
        .verify(message, signature)
        .map_err(|_| BadSignature)
}

/// What fits this scheme and this kind of key; `None` when they do not fit each other.
///
/// RSA keys have 2048 to 8192 bits. ring would check 1024-bit ones too; they are refused, for such a key is
/// within reach of a rich attacker, browsers have not made them since 2015, and who breaks one owns the call.
fn algorithm(scheme: SignatureScheme, key: KeyAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, Ed25519, Rsa};
    use SignatureScheme as S;
    Some(match (scheme, key) {
        // RFC 8422 §5.10: in TLS 1.2 the hash and the curve are chosen apart.
        (S::EcdsaSecp256r1Sha256, EcdsaP256) => &signature::ECDSA_P256_SHA256_ASN1,
        (S::EcdsaSecp256r1Sha256, EcdsaP384) => &signature::ECDSA_P384_SHA256_ASN1,
        (S::EcdsaSecp384r1Sha384, EcdsaP256) => &signature::ECDSA_P256_SHA384_ASN1,
        (S::EcdsaSecp384r1Sha384, EcdsaP384) => &signature::ECDSA_P384_SHA384_ASN1,
        (S::Ed25519, Ed25519) => &signature::ED25519,
        (S::RsaPkcs1Sha256, Rsa) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (S::RsaPkcs1Sha384, Rsa) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (S::RsaPkcs1Sha512, Rsa) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (S::RsaPssRsaeSha256, Rsa) => &signature::RSA_PSS_2048_8192_SHA256,
        (S::RsaPssRsaeSha384, Rsa) => &signature::RSA_PSS_2048_8192_SHA384,
        (S::RsaPssRsaeSha512, Rsa) => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
