//! Bytes of a control connection give the same events however they are cut.
#![no_main]

use ao::sys::tmux::protocol::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let whole = Reader::new().read(bytes);
    let mut reader = Reader::new();
    let pieces: Vec<_> =
        bytes.chunks(usize::from(cut) + 1).flat_map(|piece| reader.read(piece)).collect();
    assert_eq!(whole, pieces);
});
