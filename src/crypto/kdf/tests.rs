//! Published vectors of the key derivation functions.

use super::*;
use crate::crypto::AeadAlgorithm;
use crate::crypto::cipher::RecordNumberKey;
use crate::crypto::mac::hmac;
use crate::crypto::tests::hex;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// The P_SHA256 vector that was published on the TLS working group's list.
#[test]
fn prf_of_tls_1_2_matches_the_published_vector() {
    let mut out = [0; 100];
    prf(
        SHA256,
        &hex("9bbe436ba940f017b17652849a71db35"),
        "test label",
        &[&hex("a0ba9f936cda311827a6f796ffd5198c")],
        &mut out,
    );
    let expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa0\
        22f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66";
    assert_eq!(out.to_vec(), hex(expected));
    // A seed in parts is the same seed, and a shorter output is a prefix.
    let mut short = [0; 33];
    prf(
        SHA256,
        &hex("9bbe436ba940f017b17652849a71db35"),
        "test ",
        &[b"label", &hex("a0ba9f936cda311827a6f796ffd5198c")],
        &mut short,
    );
    assert_eq!(short.to_vec(), out[..33]);
}

/// RFC 5869 §A.1 and §A.3.
#[test]
fn hkdf_matches_rfc_5869() {
    for (salt, info, okm) in [
        (
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        ("", "", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ] {
        let secret = hkdf_extract(SHA256, &hex(salt), &[0x0b; 22]);
        let mut out = [0; 42];
        hkdf_expand(SHA256, secret.as_bytes(), &[&hex(info)], &mut out).unwrap();
        assert_eq!(out.to_vec(), hex(okm));
    }
}

#[test]
fn asking_for_too_much_is_an_error() {
    let long = "x".repeat(250);
    let mut out = vec![0; 255 * 32 + 1];
    assert_eq!(hkdf_expand(SHA256, b"secret", &[], &mut out), Err(TooLong));
    assert_eq!(hkdf_expand(SHA256, b"secret", &[], &mut out[1..]), Ok(()));
    assert_eq!(hkdf_expand_label(SHA256, b"secret", DTLS13, &long, &[], &mut out[..32]), Err(TooLong));
    assert_eq!(hkdf_expand_label(SHA256, b"secret", DTLS13, "x", &[0; 256], &mut out[..32]), Err(TooLong));
    assert_eq!(hkdf_expand_label(SHA256, b"secret", DTLS13, "x", &[], &mut vec![0; 65_536]), Err(TooLong));
}

/// Derives a secret under the TLS prefix and expects it.
fn expect(secret: &str, label: &str, context: &[u8], expected: &str) {
    let mut out = vec![0; expected.len() / 2];
    hkdf_expand_label(SHA256, &hex(secret), TLS13, label, context, &mut out).unwrap();
    assert_eq!(out, hex(expected), "{label}");
}

/// RFC 8448 §3.
#[test]
fn the_key_schedule_of_rfc_8448_comes_out() {
    let ecdhe = "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d";
    let early_secret = "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a";
    let handshake_secret = "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac";
    let hash_ch_sh = "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8";
    let c_hs_traffic = "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21";
    let s_hs_traffic = "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38";
    let master_secret = "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919";
    let s_hs_key = "3fce516009c21727d0f2e4e86ee403bc";
    let s_hs_iv = "5d313eb2671276ee13000b30";
    let s_finished_key = "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8";
    let s_finished = "9b9b141d906337fbd2cbdce71df4deda4ab42c309572cb7fffee5454b78f0718";
    let hash_through_s_finished = "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13";
    let c_ap_traffic = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
    let s_ap_traffic = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

    let early = hkdf_extract(SHA256, &[], &[0; 32]);
    assert_eq!(early.as_bytes(), hex(early_secret));
    let nothing = SHA256.digest(&[]);
    let derived = derive_secret(SHA256, early.as_bytes(), TLS13, "derived", &nothing).unwrap();
    let handshake = hkdf_extract(SHA256, derived.as_bytes(), &hex(ecdhe));
    assert_eq!(handshake.as_bytes(), hex(handshake_secret));

    expect(handshake_secret, "c hs traffic", &hex(hash_ch_sh), c_hs_traffic);
    expect(handshake_secret, "s hs traffic", &hex(hash_ch_sh), s_hs_traffic);
    expect(s_hs_traffic, "key", &[], s_hs_key);
    expect(s_hs_traffic, "iv", &[], s_hs_iv);
    expect(s_hs_traffic, "finished", &[], s_finished_key);
    let flight = hex(FLIGHT);
    let before_finished = &flight[..621];
    let transcript = SHA256.digest(&[&hex(CLIENT_HELLO), &hex(SERVER_HELLO), before_finished]);
    assert_eq!(hmac(SHA256, &hex(s_finished_key), &[&transcript]).to_vec(), hex(s_finished));

    let derived = derive_secret(SHA256, handshake.as_bytes(), TLS13, "derived", &nothing).unwrap();
    let master = hkdf_extract(SHA256, derived.as_bytes(), &[0; 32]);
    assert_eq!(master.as_bytes(), hex(master_secret));
    expect(master_secret, "c ap traffic", &hex(hash_through_s_finished), c_ap_traffic);
    expect(master_secret, "s ap traffic", &hex(hash_through_s_finished), s_ap_traffic);
}

/// RFC 8448 §3: the messages of the handshake.
const CLIENT_HELLO: &str = "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113031302010000\
    910000000b0009000006736572766572ff01000100000a00140012001d001700180019010001010102010301040023000000\
    3300260024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d\
    0020001e040305030603020308040805080604010501060102010402050206020202002d00020101001c00024001";
const SERVER_HELLO: &str = "020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100002e00330024001d\
    0020c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304";
const FLIGHT: &str = "080000240022000a00140012001d00170018001901000101010201030104001c00024001000000000b0001b9000001b50001\
    b0308201ac30820115a003020102020102300d06092a864886f70d01010b0500300e310c300a06035504031303727361301e\
    170d3136303733303031323335395a170d3236303733303031323335395a300e310c300a0603550403130372736130819f30\
    0d06092a864886f70d010101050003818d0030818902818100b4bb498f8279303d980836399b36c6988c0c68de55e1bdb826\
    d3901a2461eafd2de49a91d015abbc9a95137ace6c1af19eaa6af98c7ced43120998e187a80ee0ccb0524b1b018c3e0b6326\
    4d449a6d38e22a5fda430846748030530ef0461c8ca9d9efbfae8ea6d1d03e2bd193eff0ab9a8002c47428a6d35a8d88d79f\
    7f1e3f0203010001a31a301830090603551d1304023000300b0603551d0f0404030205a0300d06092a864886f70d01010b05\
    000381810085aad2a0e5b9276b908c65f73a7267170618a54c5f8a7b337d2df7a594365417f2eae8f8a58c8f8172f9319cf3\
    6b7fd6c55b80f21a03015156726096fd335e5e67f2dbf102702e608ccae6bec1fc63a42a99be5c3eb7107c3c54e9b9eb2bd5\
    203b1c3b84e0a8b2f759409ba3eac9d91d402dcc0cc8f8961229ac9187b42b4de100000f000084080400805a747c5d88fa9b\
    d2e55ab085a61015b7211f824cd484145ab3ff52f1fda8477b0b7abc90db78e2d33a5c141a078653fa6bef780c5ea248eeaa\
    a785c4f394cab6d30bbe8d4859ee511f602957b15411ac027671459e46445c9ea58c181e818e95b8c3fb0bf3278409d3be15\
    2a3da5043e063dda65cdf5aea20d53dfacd42f74f3140000209b9b141d906337fbd2cbdce71df4deda4ab42c309572cb7fff\
    ee5454b78f0718";

/// RFC 9147 §4.2.3, §5.9 with the inputs of RFC 8448: no published vector exists; these were computed apart from
/// this code.
#[test]
fn dtls_1_3_labels_and_record_number_masks_match_an_independent_computation() {
    let expect = |secret: &str, label: &str, context: &[u8], expected: &str| {
        let mut out = vec![0; expected.len() / 2];
        hkdf_expand_label(SHA256, &hex(secret), DTLS13, label, context, &mut out).unwrap();
        assert_eq!(out, hex(expected), "{label}");
    };
    let handshake_secret = "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac";
    let traffic = "a0cc1964ec5f6c5576d1d0a5405c55b840664358db3145afb347b874ae388ddf";
    expect(
        handshake_secret,
        "c hs traffic",
        &hex("860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8"),
        traffic,
    );
    expect(traffic, "key", &[], "8662662e7e641ac8a7d36d588266555d");
    expect(traffic, "iv", &[], "f4c8c3af0d01a3a35a4142ce");
    expect(traffic, "sn", &[], "10ec6cb13d74ae6539eafc39fb307a18");
    expect(traffic, "finished", &[], "76ed60807e05aa189d444ea5572f870019d4cd5ffdb79666f2f401d8fea10bc9");
    expect(traffic, "traffic upd", &[], "0d7691919931aaa039d7bd7b975c74596a5322d71a4432fc4c66106d875d4f26");
    let mask =
        RecordNumberKey::new(AeadAlgorithm::Aes128Gcm, &hex("10ec6cb13d74ae6539eafc39fb307a18")).unwrap();
    assert_eq!(mask.mask(&std::array::from_fn(|i| i as u8)).to_vec(), hex("9e23"));
}
