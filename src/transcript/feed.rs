//! Bytes that come in pieces, cut anywhere, as whole lines for a reader.
//!
//! An unfinished last line waits for its rest. A line longer than [`LINE_BYTES_MAX`] is given up, so that
//! a file which is no transcript cannot fill the memory.

use super::{Event, Reader};

/// The longest lines seen hold an image of some megabytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A reader with what it has not understood yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    pub reader: Reader,
    partial: Vec<u8>,
    /// Up to the next line break all is left out.
    skipping: bool,
}

impl Feed {
    pub fn new(reader: Reader) -> Self {
        Self { reader, partial: Vec::new(), skipping: false }
    }

    /// How many of the last bytes wait for the end of their line.
    pub fn waiting_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Forgets the unfinished line: the file began anew.
    pub fn restart(&mut self) {
        self.partial.clear();
        self.skipping = false;
    }

    /// Reads the lines that these bytes complete.
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, more) = (&rest[..at], &rest[at + 1..]);
            rest = more;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.is_empty() {
                read(&mut self.reader, line, each);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                read(&mut self.reader, &whole, each);
            }
        }
        if self.skipping {
            return;
        }
        if self.partial.len() + rest.len() > LINE_BYTES_MAX {
            self.restart();
            self.skipping = true;
            return each(Event::Unreadable);
        }
        self.partial.extend_from_slice(rest);
    }
}

fn read(reader: &mut Reader, line: &[u8], each: &mut dyn FnMut(Event<'_>)) {
    match std::str::from_utf8(line) {
        Ok(text) => reader.line(text, &mut |event| each(event)),
        Err(_) => reader.line(&String::from_utf8_lossy(line), &mut |event| each(event)),
    }
}
