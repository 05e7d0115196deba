//! Making a TPM credential, on the verifier's side: a secret that only the TPM of one endorsement key gives out,
//! and only while it holds the attestation key of one name (TPM 2.0 library, part 1, sections 24 and B.10, C.6).
//!
//! The caller makes a fresh secret for each attempt and forgets it after the first answer, right or wrong:
//! otherwise a node could try until it fits.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use ring::rand::SecureRandom;
use ring::{agreement, digest, hmac};
use rsa::{BigUint, Oaep, RsaPublicKey};

use super::tpm::{ALG_SHA256, ALG_SHA384, Curve, Key, Public};

/// A credential, in the structures that `TPM2_ActivateCredential` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`.
    pub blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub secret: Vec<u8>,
}

/// Why no credential could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The endorsement key protects nothing, or with algorithms that are not taken.
    #[error("the endorsement key is of a kind that is not taken")]
    Key,
    /// The secret is longer than the key's hash.
    #[error("a credential holds at most as many bytes as the endorsement key's hash")]
    Secret,
    /// The system gives no random bytes.
    #[error("no random bytes")]
    Random,
}

/// Labels of the derivations, with the zero byte that ends them.
const IDENTITY: &[u8] = b"IDENTITY\0";
const STORAGE: &[u8] = b"STORAGE\0";
const INTEGRITY: &[u8] = b"INTEGRITY\0";

/// Makes a credential of `secret` for the key of this `name` in the TPM with this endorsement key.
///
/// # Errors
/// Why there is none.
pub fn make_credential(
    endorsement: &Public<'_>,
    name: &[u8],
    secret: &[u8],
    random: &dyn SecureRandom,
) -> Result<Credential, CredentialError> {
    let hash = Hash::of(endorsement.name_alg).ok_or(CredentialError::Key)?;
    let bits = endorsement.symmetric_bits.ok_or(CredentialError::Key)?;
    if secret.len() > hash.bytes() {
        return Err(CredentialError::Secret);
    }
    let (seed, encrypted) = match &endorsement.key {
        Key::Rsa { exponent, modulus } => rsa_seed(hash, *exponent, modulus, random)?,
        Key::Ecc { curve, point } => ecc_seed(hash, *curve, point, random)?,
    };
    let mut identity = sized(secret);
    encrypt(&hash.kdfa(&seed, STORAGE, name, bits), &mut identity).ok_or(CredentialError::Key)?;
    let mac_key = hash.kdfa(&seed, INTEGRITY, &[], hash.bits());
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hash.hmac(), &mac_key));
    mac.update(&identity);
    mac.update(name);
    let blob = [sized(mac.sign().as_ref()), identity].concat();
    Ok(Credential { blob: sized(&blob), secret: sized(&encrypted) })
}

/// The hash of an endorsement key's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    const fn of(algorithm: u16) -> Option<Self> {
        match algorithm {
            ALG_SHA256 => Some(Self::Sha256),
            ALG_SHA384 => Some(Self::Sha384),
            _ => None,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::Sha256 => 256,
            Self::Sha384 => 384,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
        }
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
        }
    }

    /// KDFa: SP 800-108 in counter mode with HMAC. One block is enough for every key here.
    fn kdfa(self, key: &[u8], label: &[u8], context: &[u8], bits: u16) -> Vec<u8> {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(self.hmac(), key));
        mac.update(&1_u32.to_be_bytes());
        mac.update(label);
        mac.update(context);
        mac.update(&u32::from(bits).to_be_bytes());
        let block = mac.sign();
        block.as_ref().iter().copied().take(usize::from(bits / 8)).collect()
    }

    /// KDFe: SP 800-56A over a shared secret.
    fn kdfe(self, shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> Vec<u8> {
        let mut context = digest::Context::new(self.digest());
        context.update(&1_u32.to_be_bytes());
        for part in [shared, label, ours, theirs] {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }
}

/// A random seed, and the same encrypted to an RSA key.
fn rsa_seed(
    hash: Hash,
    exponent: u32,
    modulus: &[u8],
    random: &dyn SecureRandom,
) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from(exponent))
        .map_err(|_| CredentialError::Key)?;
    let mut seed = vec![0; hash.bytes()];
    random.fill(&mut seed).map_err(|_| CredentialError::Random)?;
    // The label ends in a zero byte, which is part of it.
    let label = "IDENTITY\0";
    let mut rng = Rng(random);
    let encrypted = match hash {
        Hash::Sha256 => key.encrypt(&mut rng, Oaep::new_with_label::<rsa::sha2::Sha256, _>(label), &seed),
        Hash::Sha384 => key.encrypt(&mut rng, Oaep::new_with_label::<rsa::sha2::Sha384, _>(label), &seed),
    };
    Ok((seed, encrypted.map_err(|_| CredentialError::Key)?))
}

/// A seed agreed with an elliptic key, and our half of the agreement.
fn ecc_seed(
    hash: Hash,
    curve: Curve,
    point: &[u8],
    random: &dyn SecureRandom,
) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
    };
    let ours =
        agreement::EphemeralPrivateKey::generate(algorithm, random).map_err(|_| CredentialError::Random)?;
    let public = ours.compute_public_key().map_err(|_| CredentialError::Key)?;
    let (our_x, our_y) = coordinates(public.as_ref(), curve).ok_or(CredentialError::Key)?;
    let (their_x, _) = coordinates(point, curve).ok_or(CredentialError::Key)?;
    let theirs = agreement::UnparsedPublicKey::new(algorithm, point);
    let seed =
        agreement::agree_ephemeral(ours, &theirs, |shared| hash.kdfe(shared, IDENTITY, our_x, their_x))
            .map_err(|_| CredentialError::Key)?;
    Ok((seed, [sized(our_x), sized(our_y)].concat()))
}

fn coordinates(point: &[u8], curve: Curve) -> Option<(&[u8], &[u8])> {
    let (4, rest) = point.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    (rest.len() == 2 * curve.bytes()).then(|| rest.split_at(curve.bytes()))
}

/// AES-CFB from a zero vector, as TPMs protect what leaves them.
fn encrypt(key: &[u8], data: &mut [u8]) -> Option<()> {
    match key.len() {
        16 => cfb(&aes::Aes128::new_from_slice(key).ok()?, data),
        24 => cfb(&aes::Aes192::new_from_slice(key).ok()?, data),
        32 => cfb(&aes::Aes256::new_from_slice(key).ok()?, data),
        _ => return None,
    }
    Some(())
}

fn cfb<C: BlockEncrypt<BlockSize = aes::cipher::consts::U16>>(cipher: &C, data: &mut [u8]) {
    let mut feedback = [0_u8; 16];
    for chunk in data.chunks_mut(16) {
        let mut block = GenericArray::from(feedback);
        cipher.encrypt_block(&mut block);
        for (byte, pad) in chunk.iter_mut().zip(block.iter()) {
            *byte ^= pad;
        }
        // Only the last block is shorter, and nothing follows it.
        if let Ok(full) = <[u8; 16]>::try_from(&*chunk) {
            feedback = full;
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// `ring`'s source of random bytes in the shape that `rsa` wants.
struct Rng<'a>(&'a dyn SecureRandom);

impl rsa::rand_core::RngCore for Rng<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        // A source that fails after the seed was drawn leaves zeros in the padding alone: the seed stays random.
        let _ = self.0.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.0.fill(dest).map_err(|_| rsa::rand_core::Error::from(std::num::NonZeroU32::MIN))
    }
}

impl rsa::rand_core::CryptoRng for Rng<'_> {}
