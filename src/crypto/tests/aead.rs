//! Sealing and opening (RFC 5116, RFC 8439).

use super::*;

/// "The Galois/Counter Mode of Operation" (McGrew and Viega), test cases 4 and 16, which NIST's own vectors took
/// over; RFC 8439 §2.8.2.
#[test]
fn aead_vectors() {
    let gcm_text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let gcm_aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let key_128 = "feffe9928665731c6d6a8f9467308308";
    let key_256 = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let sunscreen = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                     sunscreen would be it.";
    let sunscreen_hex: String = sunscreen.bytes().map(|b| format!("{b:02x}")).collect();
    let chacha_key = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
    for (algorithm, key, nonce, aad, text, sealed) in [
        (
            AeadAlgorithm::Aes128Gcm,
            key_128,
            "cafebabefacedbaddecaf888",
            gcm_aad,
            gcm_text,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
             5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            AeadAlgorithm::Aes256Gcm,
            key_256,
            "cafebabefacedbaddecaf888",
            gcm_aad,
            gcm_text,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b",
        ),
        (
            AeadAlgorithm::ChaCha20Poly1305,
            chacha_key,
            "070000004041424344454647",
            "50515253c0c1c2c3c4c5c6c7",
            &sunscreen_hex,
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
        ),
    ] {
        let nonce: [u8; NONCE_LEN] = hex(nonce).try_into().unwrap();
        for backend in backends() {
            let key = backend.aead(algorithm, &hex(key)).unwrap();
            let mut bytes = hex(text);
            let tag = key.seal_in_place(&nonce, &hex(aad), &mut bytes);
            bytes.extend_from_slice(&tag);
            assert_eq!(bytes, hex(sealed), "{algorithm:?}");
            assert_eq!(key.open_in_place(&nonce, &hex(aad), &mut bytes).unwrap().to_vec(), hex(text));
        }
    }
}

#[test]
fn nothing_opens_that_was_altered_anywhere() {
    for backend in backends() {
        for algorithm in AEADS {
            let key = backend.aead(algorithm, &[3; 32][..algorithm.key_len()]).unwrap();
            let mut sealed = *b"some text.................";
            let tag = key.seal_in_place(&[4; 12], b"aad", &mut sealed[..10]);
            sealed[10..].copy_from_slice(&tag);
            let open = |nonce: &[u8; 12], aad: &[u8], mut bytes: Vec<u8>| {
                key.open_in_place(nonce, aad, &mut bytes).map(|text| text.to_vec())
            };
            assert_eq!(open(&[4; 12], b"aad", sealed.to_vec()), Ok(b"some text.".to_vec()));
            assert_eq!(open(&[5; 12], b"aad", sealed.to_vec()), Err(Unauthentic));
            assert_eq!(open(&[4; 12], b"aae", sealed.to_vec()), Err(Unauthentic));
            for i in 0..sealed.len() {
                let mut altered = sealed.to_vec();
                altered[i] ^= 1;
                assert_eq!(open(&[4; 12], b"aad", altered), Err(Unauthentic));
                assert_eq!(open(&[4; 12], b"aad", sealed[..i].to_vec()), Err(Unauthentic));
            }
        }
    }
}

#[test]
fn an_aead_key_of_another_length_is_refused() {
    for backend in backends() {
        for algorithm in AEADS {
            for len in (0..40).filter(|&len| len != algorithm.key_len()) {
                assert_eq!(backend.aead(algorithm, &vec![0; len]).err(), Some(InvalidKey));
            }
        }
    }
}
