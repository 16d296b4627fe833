//! tmux's control mode as a pure reader: bytes in, events out.
//!
//! Does no IO and never fails: what it does not understand is an event of its own. Surprises, all
//! measured: a screen inside a block is not escaped, so a block ends only at the `%end` that repeats
//! its own numbers; errors of asynchronous commands come as bare lines outside any block; the first
//! block answers the attach itself and has flag 0, answers to us have flag 1.

/// Bytes of one line before the rest of it is dropped: far above any screen's width in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The answer to one command.
    Block {
        /// Of lines, each with its LF.
        text: String,
        failed: bool,
        /// Asked by this client, not by tmux itself.
        ours: bool,
    },
    /// `%sessions-changed`: a session came or went.
    SessionsChanged,
    /// `%window-close`, `%unlinked-window-close`.
    WindowClosed { window: String },
    /// `%session-changed`: we are attached to this session now.
    Attached { session: String },
    /// `%subscription-changed`: name and new value.
    Subscription { name: String, value: String },
    /// `%exit`: tmux ends the connection.
    Exit { reason: String },
    /// Another notification, by name (without `%`), with its arguments.
    Other { name: String, arguments: String },
    /// A line outside any block that is no notification.
    Stray { line: String },
}

/// Reads a control-mode stream, however it is cut into pieces.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line not yet ended.
    line: Vec<u8>,
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    /// `<time> <number> <flags>`, repeated at its end.
    stamp: String,
    text: String,
}

impl Reader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and returns the events they complete.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            self.keep(&rest[..at]);
            rest = &rest[at + 1..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.take(&String::from_utf8_lossy(&line)));
        }
        self.keep(rest);
        events
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        let Some(block) = &mut self.block else {
            if let Some(stamp) = line.strip_prefix("%begin ") {
                self.block = Some(Block { stamp: stamp.to_owned(), text: String::new() });
                return None;
            }
            return Some(notification(line));
        };
        let failed = line.strip_prefix("%error ") == Some(&block.stamp);
        if !failed && line.strip_prefix("%end ") != Some(&block.stamp) {
            block.text.push_str(line);
            block.text.push('\n');
            return None;
        }
        let Block { stamp, text } = self.block.take().expect("we are inside a block here");
        Some(Event::Block { text, failed, ours: stamp.ends_with(" 1") })
    }
}

fn notification(line: &str) -> Event {
    let Some(rest) = line.strip_prefix('%') else {
        return Event::Stray { line: line.to_owned() };
    };
    let (name, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
    match name {
        "sessions-changed" => Event::SessionsChanged,
        "window-close" | "unlinked-window-close" => {
            Event::WindowClosed { window: arguments.to_owned() }
        }
        "session-changed" => {
            let (_, session) = arguments.split_once(' ').unwrap_or(("", arguments));
            Event::Attached { session: session.to_owned() }
        }
        "subscription-changed" => {
            let (head, value) = arguments.split_once(" : ").unwrap_or((arguments, ""));
            let name = head.split(' ').next().unwrap_or(head);
            Event::Subscription { name: name.to_owned(), value: value.to_owned() }
        }
        "exit" => Event::Exit { reason: arguments.to_owned() },
        other => Event::Other { name: other.to_owned(), arguments: arguments.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    /// Recorded from tmux 3.3a, numbers shortened.
    const RECORDED: &str = "%begin 17 268 0\n%end 17 268 0\n%session-changed $0 ao-w\n\
        %begin 17 276 1\n\\path \u{1b}[31mred\u{1b}[39m ünï\n%end 17 999 1\n\n%end 17 276 1\n\
        /tmp/nothere: No such file or directory\n\
        %begin 17 281 1\ncan't find session: nope\n%error 17 281 1\n\
        %subscription-changed ao $0 @0 0 %0 : a : b\n%sessions-changed\n%unlinked-window-close @3\n\
        %output %1 x\\012\n%exit server exited\n";

    fn check(stream: &str, expect: &Expect) {
        let events = Reader::new().read(stream.as_bytes());
        let lines: Vec<String> = events.iter().map(|event| format!("{event:?}\n")).collect();
        expect.assert_eq(&lines.concat());
    }

    #[test]
    fn a_recorded_stream_reads_as_its_events() {
        check(
            RECORDED,
            &expect![[r#"
            Block { text: "", failed: false, ours: false }
            Attached { session: "ao-w" }
            Block { text: "\\path \u{1b}[31mred\u{1b}[39m ünï\n%end 17 999 1\n\n", failed: false, ours: true }
            Stray { line: "/tmp/nothere: No such file or directory" }
            Block { text: "can't find session: nope\n", failed: true, ours: true }
            Subscription { name: "ao", value: "a : b" }
            SessionsChanged
            WindowClosed { window: "@3" }
            Other { name: "output", arguments: "%1 x\\012" }
            Exit { reason: "server exited" }
        "#]],
        );
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_events_are_the_same(
            cuts in proptest::collection::vec(0..RECORDED.len(), 0..20)
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut reader, mut events, mut from) = (Reader::new(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([RECORDED.len()]) {
                events.extend(reader.read(&RECORDED.as_bytes()[from..cut]));
                from = cut;
            }
            prop_assert_eq!(events, Reader::new().read(RECORDED.as_bytes()));
        }

        #[test]
        fn no_bytes_break_the_reader(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'%')], 0..200)
        ) {
            Reader::new().read(&bytes);
        }
    }
}
