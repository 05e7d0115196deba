//! Basic authentication: bcrypt outside the event loop, one at a time, and
//! nothing but one HMAC for a password that was right before.

use std::collections::BTreeMap;
use std::fmt;
use std::str;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

/// Highest cost taken: 2¹⁴ rounds are about a second of one core, and every
/// wrong password costs that much.
pub const COST_MAX: u32 = 14;

/// Lowest cost that bcrypt defines.
const COST_MIN: u32 = 4;

/// Passwords that wait to be checked, the one being checked included. Prometheus
/// servers are few and known after their first scrape; the rest is guessing.
pub const QUEUE_MAX: usize = 8;

/// bcrypt reads this much of a password, with its closing zero byte.
const PASSWORD_BYTES_MAX: usize = 72;

/// bcrypt's own alphabet; other programs leave any bits in the last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A bcrypt hash, taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash {
    cost: u32,
    salt: [u8; 16],
    hash: [u8; 23],
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash of cost {}", self.cost)
    }
}

impl PasswordHash {
    /// Reads `$2a$`, `$2b$` or `$2y$`, two digits of cost, `$`, 53 characters.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix));
        let rest = rest.ok_or("is not a bcrypt hash: it does not begin with $2a$, $2b$ or $2y$")?;
        let shape = rest.is_ascii() && rest.len() == 2 + 1 + 22 + 31 && rest.as_bytes()[2] == b'$';
        let cost = rest.get(..2).filter(|_| shape).and_then(|digits| digits.parse().ok());
        let cost: u32 = cost.ok_or("is not a bcrypt hash: it is not 60 characters in bcrypt's form")?;
        if !(COST_MIN..=COST_MAX).contains(&cost) {
            return Err(format!("has cost {cost}, allowed are {COST_MIN} to {COST_MAX}"));
        }
        let decode = |text: &str| BASE64.decode(text).ok();
        let salt = decode(&rest[3..25]).and_then(|salt| salt.try_into().ok());
        let hash = decode(&rest[25..]).and_then(|hash| hash.try_into().ok());
        let (Some(salt), Some(hash)) = (salt, hash) else {
            return Err("is not a bcrypt hash: it has characters that bcrypt does not use".to_owned());
        };
        Ok(Self { cost, salt, hash })
    }

    /// Whether the password gives this hash. Takes 2^cost rounds whatever the answer is.
    fn matches(&self, password: &[u8]) -> bool {
        let mut bytes: Vec<u8> = password.iter().copied().take(PASSWORD_BYTES_MAX).collect();
        if bytes.len() < PASSWORD_BYTES_MAX {
            bytes.push(0);
        }
        let computed = bcrypt::bcrypt(self.cost, self.salt, &bytes);
        let mut differing = 0;
        for (computed, known) in computed.iter().zip(&self.hash) {
            differing |= computed ^ known;
        }
        std::hint::black_box(differing) == 0
    }
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A known user with the right password.
    Known,
    /// Anything else.
    Unknown,
    /// Too many passwords wait to be checked.
    Busy,
}

#[derive(Debug)]
struct User {
    hash: PasswordHash,
    /// The password that was right last, under the key of this process. The cache
    /// of `Users`: one entry per user, gone with the next configuration.
    accepted: Mutex<Option<hmac::Tag>>,
}

/// The users of one configuration.
#[derive(Debug)]
pub struct Users {
    users: BTreeMap<String, User>,
    /// Checked for names that are not known, so that they take as long as known ones.
    nobody: PasswordHash,
    cache_key: hmac::Key,
}

impl Users {
    /// Users by name. None where there is none: then nobody is asked for a password.
    pub fn new(hashes: BTreeMap<String, PasswordHash>) -> Option<Self> {
        let cost = hashes.values().map(|hash| hash.cost).max()?;
        // Without randomness there is no cache key, and no TLS and no node key either.
        let cache_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let user = |hash| User { hash, accepted: Mutex::new(None) };
        Some(Self {
            users: hashes.into_iter().map(|(name, hash)| (name, user(hash))).collect(),
            nobody: PasswordHash { cost, salt: [0; 16], hash: [0; 23] },
            cache_key,
        })
    }

    /// Whether an accepted password of this user is remembered and is this one.
    fn remembered(&self, user: &User, password: &[u8]) -> bool {
        let accepted = user.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.is_some_and(|tag| hmac::verify(&self.cache_key, password, tag.as_ref()).is_ok())
    }

    /// Runs bcrypt; to be called where blocking is allowed.
    fn check(&self, name: &str, password: &[u8]) -> Verdict {
        let Some(user) = self.users.get(name) else {
            self.nobody.matches(password);
            return Verdict::Unknown;
        };
        // Another connection may have had it checked while this one waited.
        if !self.remembered(user, password) {
            if !user.hash.matches(password) {
                return Verdict::Unknown;
            }
            let tag = hmac::sign(&self.cache_key, password);
            *user.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
        }
        Verdict::Known
    }
}

/// The place where passwords wait. It outlives configurations, so that a reload
/// does not make a second one.
#[derive(Debug)]
pub struct Doorkeeper {
    queue: Arc<Semaphore>,
    /// bcrypt takes a core; one is enough.
    turn: Arc<Semaphore>,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self { queue: Arc::new(Semaphore::new(QUEUE_MAX)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Doorkeeper {
    /// Decides about the `Authorization` header of a request.
    pub async fn admit(&self, users: &Arc<Users>, authorization: Option<&[u8]>) -> Verdict {
        let Some((name, password)) = authorization.and_then(credentials) else { return Verdict::Unknown };
        if users.users.get(&name).is_some_and(|user| users.remembered(user, &password)) {
            return Verdict::Known;
        }
        let Ok(place) = self.queue.clone().try_acquire_owned() else { return Verdict::Busy };
        let Ok(turn) = self.turn.clone().acquire_owned().await else { return Verdict::Busy };
        let users = users.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // Held until bcrypt is through, also where the client went away.
            let _held = (place, turn);
            users.check(&name, &password)
        });
        checked.await.unwrap_or(Verdict::Unknown)
    }
}

/// Name and password of `Basic` credentials.
fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = str::from_utf8(&decoded[..colon]).ok()?.to_owned();
    Some((name, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A hash of `password` with a fixed salt.
    fn hashed(password: &str, cost: u32) -> PasswordHash {
        let mut hash = PasswordHash { cost, salt: *b"0123456789abcdef", hash: [0; 23] };
        let bytes = [password.as_bytes(), &[0]].concat();
        hash.hash.copy_from_slice(&bcrypt::bcrypt(cost, hash.salt, &bytes)[..23]);
        hash
    }

    fn users(list: &[(&str, PasswordHash)]) -> Arc<Users> {
        let list = list.iter().map(|(name, hash)| ((*name).to_owned(), *hash)).collect();
        Arc::new(Users::new(list).expect("users"))
    }

    fn basic(name: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))).into_bytes()
    }

    #[test]
    fn hashes_of_other_programs_are_understood() {
        // The public test vectors of jBCrypt, and one in the form of htpasswd.
        for (hash, password) in [
            ("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", ""),
            ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
            ("$2y$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
        ] {
            let parsed = PasswordHash::parse(hash).expect(hash);
            assert!(parsed.matches(password.as_bytes()), "{hash}");
            assert!(!parsed.matches(b"b"), "{hash}");
        }
    }

    #[test]
    fn hashes_that_are_none_or_too_costly_are_refused() {
        let good = "$2b$10$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        assert!(PasswordHash::parse(good).is_ok());
        assert!(PasswordHash::parse(&good.replace("$10$", "$14$")).is_ok());
        for wrong in [
            good.replace("$10$", "$15$"),
            good.replace("$10$", "$03$"),
            good.replace("$2b$", "$2x$"),
            good.replace('D', "ß"),
            good.replace('D', "!"),
            good[..59].to_owned(),
            "secret".to_owned(),
            String::new(),
        ] {
            let problem = PasswordHash::parse(&wrong).expect_err(&wrong);
            assert!(!problem.contains("DCq7"), "the hash is not shown: {problem}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_let_in() {
        let users = users(&[("alice", hashed("right", 4)), ("bob", hashed("other", 4))]);
        let door = Doorkeeper::default();
        for _ in 0..2 {
            assert_eq!(door.admit(&users, Some(&basic("alice", "right"))).await, Verdict::Known);
            for wrong in [
                basic("alice", "wrong"),
                basic("alice", "other"),
                basic("alice", "right2"),
                basic("alice", ""),
                basic("carol", "right"),
                basic("", ""),
                b"Basic !!!".to_vec(),
                b"Bearer abc".to_vec(),
                b"Basic".to_vec(),
                vec![0xff; 8],
            ] {
                let shown = String::from_utf8_lossy(&wrong).into_owned();
                assert_eq!(door.admit(&users, Some(&wrong)).await, Verdict::Unknown, "{shown}");
            }
            assert_eq!(door.admit(&users, None).await, Verdict::Unknown);
        }
    }

    #[tokio::test]
    async fn a_password_that_was_right_is_not_hashed_again_and_does_not_wait() {
        let users = users(&[("alice", hashed("right", 4))]);
        let door = Doorkeeper::default();
        assert_eq!(door.admit(&users, Some(&basic("alice", "right"))).await, Verdict::Known);
        // Nobody can be checked any more: only memory answers.
        door.turn.close();
        assert_eq!(door.admit(&users, Some(&basic("alice", "right"))).await, Verdict::Known);
        assert_eq!(door.admit(&users, Some(&basic("alice", "wrong"))).await, Verdict::Busy);
    }

    #[tokio::test]
    async fn the_queue_has_an_end() {
        let users = users(&[("alice", hashed("right", 4))]);
        let door = Doorkeeper::default();
        let places = door.queue.clone().acquire_many_owned(QUEUE_MAX as u32).await.expect("places");
        assert_eq!(door.admit(&users, Some(&basic("alice", "right"))).await, Verdict::Busy);
        drop(places);
        assert_eq!(door.admit(&users, Some(&basic("alice", "right"))).await, Verdict::Known);
    }

    #[tokio::test]
    async fn passwords_are_checked_one_at_a_time() {
        let users = users(&[("alice", hashed("right", 4))]);
        let door = Doorkeeper::default();
        let credentials = basic("alice", "right");
        let first = door.turn.clone().acquire_owned().await.expect("turn");
        let mut second = std::pin::pin!(door.admit(&users, Some(&credentials)));
        let waited = tokio::time::timeout(Duration::from_millis(100), second.as_mut()).await;
        assert!(waited.is_err(), "another one is being checked: {waited:?}");
        drop(first);
        assert_eq!(second.await, Verdict::Known);
    }

    #[test]
    fn an_unknown_user_takes_as_long_as_a_known_one() {
        // Debug or release, cost 8 is milliseconds: far above the noise of a lookup.
        let users = users(&[("alice", hashed("right", 8))]);
        // The thread's own processor time: a busy machine lengthens only the clock on the wall.
        let spent = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::try_from(time).unwrap_or(Duration::ZERO)
        };
        let took = |name: &str| {
            let runs = (0..5).map(|_| {
                let began = spent();
                assert_eq!(users.check(name, b"wrong"), Verdict::Unknown);
                spent() - began
            });
            runs.min().unwrap_or(Duration::ZERO)
        };
        let (known, unknown) = (took("alice"), took("carol"));
        assert!(unknown * 2 > known && known * 2 > unknown, "known {known:?}, unknown {unknown:?}");
    }
}
