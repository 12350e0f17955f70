//! Secrets: unguessable names from the operating system, and their comparison. They are not drawn from the study's seed,
//! which may be known.

use rand::{TryRng, rngs::SysRng};
use sha2::{Digest, Sha256};
use std::io;

/// SHA-256 of a secret. Only this is stored, so that a copy of the database opens no session.
pub type SecretHash = [u8; 32];

/// 128 random bits.
///
/// # Errors
/// The operating system has no randomness to give.
pub fn random_name() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A secret of 128 random bits, in hex.
///
/// # Errors
/// As [`random_name`].
pub fn random_secret() -> io::Result<String> {
    random_name().map(|bytes| hex(&bytes))
}

/// A seed for a study whose researcher gives none. It has 32 bits, to be written down.
///
/// # Errors
/// As [`random_name`].
pub fn random_seed() -> io::Result<u64> {
    let [a, b, c, d, ..] = random_name()?;
    Ok(u32::from_be_bytes([a, b, c, d]).into())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a name in lower-case hex; None for any other text.
pub fn name_of_hex(text: &str) -> Option<[u8; 16]> {
    let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 32 || !text.bytes().all(digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

pub fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret).into()
}

/// Whether two hashes are equal, in a time that does not depend on where they differ.
pub fn is_equal(a: &SecretHash, b: &SecretHash) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_hex_and_nothing_else_is_one() {
        let name = random_name().unwrap();
        assert_eq!(name_of_hex(&hex(&name)), Some(name));
        let zero = "0".repeat(32);
        assert_eq!(name_of_hex(&zero), Some([0; 16]));
        for other in
            ["", "0", &"A".repeat(32), &format!("+{}", "0".repeat(31)), "../../../../etc/passwd/etc/passwd"]
        {
            assert_eq!(name_of_hex(other), None, "{other}");
        }
        assert_ne!(random_secret().unwrap(), random_secret().unwrap());
    }

    #[test]
    fn hashes_are_equal_in_all_bytes_or_not() {
        let a = hash("a");
        assert!(is_equal(&a, &hash("a")) && !is_equal(&a, &hash("b")));
        let mut last = a;
        last[31] ^= 1;
        assert!(!is_equal(&a, &last));
    }
}
