//! Digests of files, and of texts that are not for everybody.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA256};

/// Largest file of which a digest is made; the NVML library has about 2 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// SHA-256 of bytes, in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    digits(ring::digest::digest(&SHA256, bytes).as_ref())
}

/// SHA-256 of a file, in hexadecimal digits; absent where it cannot be read or is too large.
pub(super) fn of_file(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?.take(FILE_BYTES_MAX + 1);
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut length: u64 = 0;
    loop {
        let read = file.read(&mut buffer).ok()?;
        if read == 0 {
            break;
        }
        length += read as u64;
        context.update(buffer.get(..read)?);
    }
    (length <= FILE_BYTES_MAX).then(|| digits(context.finish().as_ref()))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_digest_that_everybody_computes() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "abc").expect("write");
        // FIPS 180-2, B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_file(file.path()).as_deref(), Some(known));
        assert_eq!(hex(b"abc"), known);
        assert_eq!(of_file(Path::new("/no/such/file")), None);
    }
}
