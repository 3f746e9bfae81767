//! The little encoder and decoder that every record uses.

use crate::types::{LogId, log_id};

/// Why bytes are not the record that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Written by a newer program.
    #[error(
        "{what} has format {found}, and this program knows up to {known}; it was written by a newer \
         version; run that version or a newer one"
    )]
    Newer {
        /// Which record.
        what: &'static str,
        /// Its version.
        found: u16,
        /// Newest version known here.
        known: u16,
    },
    /// Ends too early.
    #[error("{what} ends too early")]
    Short {
        /// Which record.
        what: &'static str,
    },
    /// Has bytes after its end.
    #[error("{what} has {extra} bytes after its end")]
    Trailing {
        /// Which record.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// Its checksum does not fit.
    #[error("{what} has checksum {found:08x} instead of {expected:08x}")]
    Checksum {
        /// Which record.
        what: &'static str,
        /// Computed from the bytes.
        expected: u32,
        /// Stored beside them.
        found: u32,
    },
    /// A field has a value that it cannot have.
    #[error("{what} has an impossible {field}")]
    Invalid {
        /// Which record.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
}

/// Appends explicit bytes to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn with_version(version: u8) -> Self {
        Self { bytes: vec![version] }
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn u128(&mut self, value: u128) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Text with its length in 16 bits. Longer text is cut at a character: the callers' limits are
    /// far below, and an encoder must not fail on the way to a disk.
    pub(crate) fn text(&mut self, text: &str, bytes_max: usize) -> &mut Self {
        let mut end = text.len().min(bytes_max).min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let cut = text.get(..end).unwrap_or_default();
        self.u16(u16::try_from(cut.len()).unwrap_or(u16::MAX)).raw(cut.as_bytes())
    }

    pub(crate) fn log_id(&mut self, id: &LogId) -> &mut Self {
        self.u64(id.leader_id.term).u64(id.leader_id.node_id).u64(id.index)
    }

    pub(crate) fn option<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T),
    ) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
                self
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Ends the record with the CRC32C of everything before.
    pub(crate) fn seal(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.bytes);
        self.u32(crc);
        self.bytes
    }
}

/// Reads explicit bytes; every read can fail and none can panic.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads a record that begins with an 8-bit version.
    pub(crate) fn versioned(
        what: &'static str,
        bytes: &'a [u8],
        known: u8,
    ) -> Result<Self, FormatError> {
        let mut decoder = Self { what, rest: bytes };
        let found = decoder.u8()?;
        decoder.check_version(u16::from(found), u16::from(known))?;
        Ok(decoder)
    }

    /// Reads a versioned record that ends with its own CRC32C. The version is looked at first, so
    /// that a newer record is called newer and not damaged.
    pub(crate) fn sealed(
        what: &'static str,
        bytes: &'a [u8],
        known: u8,
    ) -> Result<Self, FormatError> {
        Self::versioned(what, bytes, known)?;
        let body = Self::check_seal(what, bytes)?;
        Self::versioned(what, body, known)
    }

    /// Checks the CRC32C at the end and returns what is before it.
    pub(crate) fn check_seal(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(FormatError::Short { what });
        };
        let (expected, found) = (crc32c::crc32c(body), u32::from_le_bytes(*crc));
        if expected != found {
            return Err(FormatError::Checksum { what, expected, found });
        }
        Ok(body)
    }

    /// Reads plain fields.
    pub(crate) fn plain(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn check_version(&self, found: u16, known: u16) -> Result<(), FormatError> {
        if found == 0 {
            return Err(self.invalid("version"));
        }
        if found > known {
            return Err(FormatError::Newer { what: self.what, found, known });
        }
        Ok(())
    }

    pub(crate) fn invalid(&self, field: &'static str) -> FormatError {
        FormatError::Invalid { what: self.what, field }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(FormatError::Short { what: self.what });
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, FormatError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn bytes16(&mut self) -> Result<[u8; 16], FormatError> {
        self.array()
    }

    pub(crate) fn bytes8(&mut self) -> Result<[u8; 8], FormatError> {
        self.array()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let Some((head, rest)) = self.rest.split_at_checked(length) else {
            return Err(FormatError::Short { what: self.what });
        };
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn text(
        &mut self,
        field: &'static str,
        bytes_max: usize,
    ) -> Result<String, FormatError> {
        let length = usize::from(self.u16()?);
        if length > bytes_max {
            return Err(self.invalid(field));
        }
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.invalid(field))
    }

    pub(crate) fn count(
        &mut self,
        field: &'static str,
        count_max: usize,
    ) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        if count > count_max {
            return Err(self.invalid(field));
        }
        Ok(count)
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, FormatError> {
        let (term, leader, index) = (self.u64()?, self.u64()?, self.u64()?);
        Ok(log_id(term, leader, index))
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Option<T>, FormatError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(self.invalid("option tag")),
        }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Fails if bytes are left over.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(FormatError::Trailing { what: self.what, extra }),
        }
    }
}
