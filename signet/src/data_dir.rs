//! The data directory of a stack: who may enter, and that one stack at a time uses it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use service_kit::server::StartError;

const LOCK_FILE_NAME: &str = "lock";

/// A data directory that is this process's own until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The operating system lets go of the lock when the file is closed, however the process ends.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, for its owner alone, and takes it into use.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let unusable = |cause: io::Error| {
            StartError::Unavailable(format!(
                "the data directory {} cannot be used: {cause} (choose another with --data-dir)",
                path.display()
            ))
        };
        private_directories().create(path).map_err(unusable)?;
        let lock = private_files().write(true).create(true).open(path.join(LOCK_FILE_NAME)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::Unavailable(format!(
                "another `signet up` is using {}: stop it, or choose another directory with --data-dir",
                path.display()
            ))),
            Err(TryLockError::Error(cause)) => Err(unusable(cause)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes an empty file for a database that is not there yet, readable by its owner alone: SQLite would let everybody
/// read it, and gives the files that it keeps next to it the same permissions.
pub(crate) fn make_private_file(path: &Path) -> Result<(), StartError> {
    match private_files().write(true).create(true).truncate(false).open(path) {
        Ok(_) => Ok(()),
        Err(cause) => Err(StartError::Unavailable(format!(
            "the database {} cannot be written (database.url): {cause}",
            path.display()
        ))),
    }
}

/// Makes directories for their owner alone.
pub(crate) fn private_directories() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn private_files() -> OpenOptions {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Whether others than its owner may read a file, or write to it.
pub(crate) fn is_exposed(path: &Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(path)
        .is_ok_and(|metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0);
    #[cfg(not(unix))]
    return false;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_directory_is_made_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep").join("data");
        let data = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let database = path.join("auth.db");
        make_private_file(&database).unwrap();
        assert_eq!(fs::metadata(database).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_second_stack_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let first = DataDir::open(parent.path()).unwrap();
        let refusal = DataDir::open(parent.path()).unwrap_err().to_string();
        assert!(refusal.contains("another `signet up`"), "{refusal}");
        drop(first);
        DataDir::open(parent.path()).unwrap();
    }

    #[test]
    fn a_file_of_a_database_that_is_there_is_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("auth.db");
        fs::write(&path, "kept").unwrap();
        make_private_file(&path).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "kept");
    }
}
