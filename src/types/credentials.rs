//! ICE credentials (RFC 8445 §5.3, RFC 8839 §5.4).

use crate::rng::Rng;

/// A user name fragment and a password, as one side signals them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 4 to 256 ice-chars; not secret.
    pub ufrag: String,
    /// 22 to 256 ice-chars; secret.
    pub pwd: String,
}

impl Credentials {
    /// Fresh credentials: 48 bits of user name fragment and 144 bits of password, more than RFC 8445 §5.3 asks.
    pub fn generate(rng: &mut Rng) -> Self {
        Credentials { ufrag: rng.ice_chars(8), pwd: rng.ice_chars(24) }
    }

    /// Whether both parts are made of ice-chars and have a length that RFC 8839 §5.4 allows.
    pub fn is_valid(&self) -> bool {
        let ice_chars = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        (4..=256).contains(&self.ufrag.len())
            && (22..=256).contains(&self.pwd.len())
            && ice_chars(&self.ufrag)
            && ice_chars(&self.pwd)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).field("pwd", &"..").finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn generated_credentials_are_valid_and_their_password_stays_out_of_logs() {
        let credentials = Credentials::generate(&mut Rng::new([3; 32], Stream::Ice));
        assert!(credentials.is_valid());
        assert!(!format!("{credentials:?}").contains(&credentials.pwd));
    }

    #[test]
    fn short_or_odd_credentials_are_not_valid() {
        let make = |ufrag: &str, pwd: &str| Credentials { ufrag: ufrag.into(), pwd: pwd.into() };
        let pwd = "0123456789012345678901";
        assert!(make("abcd", pwd).is_valid());
        assert!(!make("abc", pwd).is_valid());
        assert!(!make("ab d", pwd).is_valid());
        assert!(!make("abcd", &pwd[1..]).is_valid());
    }
}
