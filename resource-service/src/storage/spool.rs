//! A temporary file that an import is collected in until all of it is known to be good.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek as _, Write},
    path::Path,
};

use crate::domain::{Age, Details, Email, Name, NewPerson, PersonId};

/// Persons in a file without a name, which is gone once this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Spool {
    writer: BufWriter<File>,
    rows: u64,
}

/// How many persons are read back at a time.
const BATCH_ROWS: usize = 10_000;

/// Stands for a field that is not there: no field is as long, and no age as high.
const NONE: u16 = u16::MAX;

impl Spool {
    /// Makes the file, in the system's temporary directory unless told.
    pub(crate) fn create(directory: Option<&Path>) -> io::Result<Self> {
        let file = match directory {
            Some(directory) => tempfile::tempfile_in(directory)?,
            None => tempfile::tempfile()?,
        };
        Ok(Self { writer: BufWriter::with_capacity(256 * 1024, file), rows: 0 })
    }

    /// How many persons there are in it.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds persons at the end.
    pub(crate) fn append(&mut self, persons: &[NewPerson]) -> io::Result<()> {
        for NewPerson { id, details } in persons {
            write_text(&mut self.writer, Some(id.as_str()))?;
            write_text(&mut self.writer, Some(details.name.as_str()))?;
            write_text(&mut self.writer, details.email.as_ref().map(Email::as_str))?;
            let age = details.age.and_then(|age| u16::try_from(age.years()).ok());
            self.writer.write_all(&age.unwrap_or(NONE).to_le_bytes())?;
        }
        self.rows += persons.len() as u64;
        Ok(())
    }

    /// Reads them back from the beginning.
    pub(crate) fn into_batches(self) -> io::Result<Batches> {
        let mut file = self.writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Batches { reader: BufReader::with_capacity(256 * 1024, file) })
    }
}

/// What a [`Spool`] holds, batch by batch.
#[derive(Debug)]
pub(crate) struct Batches {
    reader: BufReader<File>,
}

impl Batches {
    /// The next persons; nothing at the end.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<Vec<NewPerson>>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_ROWS
            && let Some(person) = self.next_person()?
        {
            batch.push(person);
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    fn next_person(&mut self) -> io::Result<Option<NewPerson>> {
        use std::io::BufRead as _;

        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let id = read_text(&mut self.reader)?.unwrap_or_default();
        let name = read_text(&mut self.reader)?.unwrap_or_default();
        let email = read_text(&mut self.reader)?;
        let age = read_number(&mut self.reader)?;
        Ok(Some(NewPerson {
            id: PersonId::from_stored(id),
            details: Details {
                name: Name::from_stored(name),
                email: email.map(Email::from_stored),
                age: (age != NONE).then(|| Age::from_stored(i32::from(age))),
            },
        }))
    }
}

fn write_text(writer: &mut impl Write, text: Option<&str>) -> io::Result<()> {
    let text_length = text.map(|text| u16::try_from(text.len())).transpose().map_err(io::Error::other)?;
    writer.write_all(&text_length.unwrap_or(NONE).to_le_bytes())?;
    writer.write_all(text.unwrap_or_default().as_bytes())
}

fn read_text(reader: &mut impl Read) -> io::Result<Option<String>> {
    let length = read_number(reader)?;
    if length == NONE {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::from(length)];
    reader.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map(Some).map_err(io::Error::other)
}

fn read_number(reader: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    reader.read_exact(&mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spooled_is_read_back_in_order() {
        let persons: Vec<NewPerson> = (0..25_000)
            .map(|number| NewPerson {
                id: PersonId::parse(format!("p{number}")).unwrap(),
                details: Details {
                    name: Name::parse(format!("Zoë {number}")).unwrap(),
                    email: (number % 2 == 0).then(|| Email::parse(format!("{number}@example.com")).unwrap()),
                    age: (number % 3 == 0).then(|| Age::parse(number % 151).unwrap()),
                },
            })
            .collect();
        let mut spool = Spool::create(None).unwrap();
        for part in persons.chunks(7_000) {
            spool.append(part).unwrap();
        }
        let mut batches = spool.into_batches().unwrap();
        let mut read = Vec::new();
        while let Some(batch) = batches.next_batch().unwrap() {
            assert!(batch.len() <= BATCH_ROWS);
            read.extend(batch);
        }
        assert_eq!(read, persons);
    }
}
