//! A file that is written beside its place, and gets its name once it is whole and on disk. Whatever ends it before leaves what was
//! there as it was.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Result, StoreError};

pub struct Beside {
    file: NamedTempFile,
    place: PathBuf,
}

impl Beside {
    /// Only its owner may read it.
    pub fn of(place: &Path) -> Result<Beside> {
        let wrong = |error: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {error}", place.display()));
        let name = place.file_name().ok_or_else(|| wrong(&"is no name of a file"))?;
        let prefix = format!("{}.", name.to_string_lossy());
        let file = tempfile::Builder::new().prefix(&prefix).suffix(".part").tempfile_in(folder(place));
        Ok(Beside { file: file.map_err(|error| wrong(&error))?, place: place.into() })
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Where nothing may be yet.
    pub fn put_new(self) -> Result<()> {
        self.put(|file, place| file.persist_noclobber(place))
    }

    /// In place of what is there.
    pub fn put_over(self) -> Result<()> {
        self.put(|file, place| file.persist(place))
    }

    fn put<T>(
        self,
        name: impl FnOnce(NamedTempFile, &Path) -> std::result::Result<T, tempfile::PersistError>,
    ) -> Result<()> {
        let Beside { file, place } = self;
        let wrong = |error: std::io::Error| StoreError::Failed(format!("{}: {error}", place.display()));
        file.as_file().sync_all().map_err(wrong)?;
        name(file, &place).map_err(|error| wrong(error.error))?;
        std::fs::File::open(folder(&place)).and_then(|folder| folder.sync_all()).map_err(wrong)
    }
}

fn folder(place: &Path) -> &Path {
    place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
