//! Files that end with the process.

use std::collections::BTreeMap;
use std::io;

use super::Medium;

/// A folder in memory.
#[derive(Debug, Default)]
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn file(&mut self, path: &str) -> io::Result<&mut Vec<u8>> {
        self.files.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Medium for Memory {
    fn read_at(&mut self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = self.file(path)?;
        let rest = file.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.entry(path.to_owned()).or_default();
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if file.len() < to {
            file.resize(to, 0);
        }
        file[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn length(&mut self, path: &str) -> io::Result<u64> {
        Ok(self.file(path)?.len() as u64)
    }

    fn set_length(&mut self, path: &str, length: u64) -> io::Result<()> {
        self.files.entry(path.to_owned()).or_default().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.file(path).map(|_| ())
    }

    fn make_folder(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<(String, u64)>> {
        Ok(list(self.files.iter().map(|(name, file)| (name.as_str(), file.len() as u64)), path))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.files.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files.insert(to.to_owned(), file);
        Ok(())
    }
}

/// The files right in a folder, of files by path.
pub(crate) fn list<'a>(files: impl Iterator<Item = (&'a str, u64)>, folder: &str) -> Vec<(String, u64)> {
    let inside = |(path, length): (&'a str, u64)| {
        let (of, name) = path.rsplit_once('/').unwrap_or(("", path));
        (of == folder).then(|| (name.to_owned(), length))
    };
    files.filter_map(inside).collect()
}
