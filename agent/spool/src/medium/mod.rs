//! What a spool is written on: a folder of files, by path.

mod disk;
mod memory;

use std::io;

pub use disk::Disk;
pub use memory::Memory;
#[cfg(feature = "faults")]
pub(crate) use memory::list;

/// Files in one folder and its subfolders. Paths are relative, `name` or `folder/name`.
///
/// Nothing is durable before [`sync`](Medium::sync) (content) and
/// [`sync_folder`](Medium::sync_folder) (names) have returned.
pub trait Medium {
    /// Reads from `offset` on; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the system says; a missing file is [`io::ErrorKind::NotFound`].
    fn read_at(&mut self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes at `offset`, making the file where it is missing. After an error some of it may be written.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Length of a file.
    ///
    /// # Errors
    /// What the system says; a missing file is [`io::ErrorKind::NotFound`].
    fn length(&mut self, path: &str) -> io::Result<u64>;

    /// Cuts a file, or fills it up with zeros without allocating them.
    ///
    /// # Errors
    /// What the system says.
    fn set_length(&mut self, path: &str, length: u64) -> io::Result<()>;

    /// Makes the content of a file durable.
    ///
    /// # Errors
    /// What the system says; it is then unknown what of it is durable.
    fn sync(&mut self, path: &str) -> io::Result<()>;

    /// Makes a folder; it may exist.
    ///
    /// # Errors
    /// What the system says.
    fn make_folder(&mut self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable; the empty path is the spool's own.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&mut self, path: &str) -> io::Result<()>;

    /// Names and lengths of the files in a folder, in any order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&mut self, path: &str) -> io::Result<Vec<(String, u64)>>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&mut self, path: &str) -> io::Result<()>;

    /// Gives a file another name, over whatever has that name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
}
