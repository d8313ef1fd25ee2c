//! Bare AES: counter mode for SRTP, single blocks, masks of record numbers (SP 800-38A, FIPS 197, RFC 9001 §5.4).

use super::*;
use crate::crypto::cipher::{AesKey, RecordNumberKey};

/// NIST SP 800-38A §F.5.1 and §F.5.5.
#[test]
fn counter_mode_vectors_of_sp_800_38a() {
    let iv = std::array::from_fn(|i| 0xf0 + i as u8);
    let text = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
    for (key, sealed) in [
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
             5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
        ),
        (
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
             2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        ),
    ] {
        let key = AesKey::new(&hex(key)).unwrap();
        let (text, sealed) = (hex(text), hex(sealed));
        for len in [0, 1, 15, 16, 17, 63, 64] {
            let mut bytes = text[..len].to_vec();
            key.apply_counter_mode(&iv, &mut bytes);
            assert_eq!(bytes, sealed[..len]);
            key.apply_counter_mode(&iv, &mut bytes);
            assert_eq!(bytes, text[..len]);
        }
    }
}

/// FIPS 197 §C.1 and §C.3.
#[test]
fn block_vectors_of_fips_197() {
    for (key_len, sealed) in
        [(16, "69c4e0d86a7b0430d8cdb78070b4c55a"), (32, "8ea2b7ca516745bfeafc49904b496089")]
    {
        let key: Vec<u8> = (0..key_len).collect();
        let mut block = std::array::from_fn(|i| 0x11 * i as u8);
        AesKey::new(&key).unwrap().encrypt_block(&mut block);
        assert_eq!(block.to_vec(), hex(sealed));
    }
    assert!((0..40).filter(|len| ![16, 32].contains(len)).all(|len| AesKey::new(&vec![0; len]).is_err()));
}

/// RFC 9001 §A.2 and §A.5: QUIC's header protection, of which the mask of RFC 9147 §4.2.3 is the start.
#[test]
fn record_number_masks_are_those_of_quic() {
    for (algorithm, key, sample, mask) in [
        (
            AeadAlgorithm::Aes128Gcm,
            "9f50449e04a0e810283a1e9933adedd2",
            "d1b1c98dd7689fb8ec11d242b123dc9b",
            "437b",
        ),
        (
            AeadAlgorithm::ChaCha20Poly1305,
            "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
            "5e5cd55c41f69080575d7999c25a5bfb",
            "aefe",
        ),
    ] {
        let key = RecordNumberKey::new(algorithm, &hex(key)).unwrap();
        assert_eq!(key.mask(&hex(sample).try_into().unwrap()).to_vec(), hex(mask));
    }
    // The mask of AES is its block encryption, for both lengths.
    for (algorithm, len) in [(AeadAlgorithm::Aes128Gcm, 16), (AeadAlgorithm::Aes256Gcm, 32)] {
        let key = vec![9; len];
        let mut block = [4; 16];
        AesKey::new(&key).unwrap().encrypt_block(&mut block);
        assert_eq!(RecordNumberKey::new(algorithm, &key).unwrap().mask(&[4; 16]), block[..2]);
        assert!(RecordNumberKey::new(algorithm, &key[1..]).is_err());
    }
}
