//! Cutting a screen into the parts that rules look at, by a backend's layout.
//!
//! Text of the transcript is never a state: what an agent quotes must not be taken for what its CLI
//! says. So most rules look at the footer, the dialog or the last item only.
//! Surprise: an input box can be so full that its first line is scrolled away.

use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::Composer;
use super::capture::{Line, Screen, is_red};
use crate::config::section::detect::{Layout, Region};

/// What rules see in place of a tinted glyph that is drawn in red.
const RED_MARK: &str = "✖";
/// What rules see in place of a tinted glyph whose colour is not known.
const COLORLESS_MARK: &str = "‽";

/// A layout with its regexes compiled.
#[derive(Debug, Default)]
pub(crate) struct CompiledLayout {
    composer_start: Option<Regex>,
    composer_above: Option<Regex>,
    composer_line: Option<Regex>,
    composer_end: Option<Regex>,
    composer_prefix: Option<Regex>,
    composer_status: Option<Regex>,
    placeholder: Option<Regex>,
    footer_mark: Option<Regex>,
    footer_lines_max: usize,
    footer_join: bool,
    footer_noise: Option<Regex>,
    dialog_top: Option<Regex>,
    transcript_noise: Vec<Regex>,
    item_start: Option<Regex>,
    item_skip: Option<Regex>,
    item_link: Option<Regex>,
    item_break: Option<Regex>,
    item_prefix: Option<Regex>,
    tinted: Option<String>,
}

/// A layout regex that does not compile: the field, its text and why.
pub(crate) type BadField = (&'static str, String, regex::Error);

impl CompiledLayout {
    pub(crate) fn new(layout: &Layout) -> Result<Self, BadField> {
        let one = |field: &'static str, pattern: &Option<String>| {
            pattern
                .as_ref()
                .map(|text| {
                    super::detect::compile(text).map_err(|cause| (field, text.clone(), cause))
                })
                .transpose()
        };
        Ok(Self {
            composer_start: one("composer_start", &layout.composer_start)?,
            composer_above: one("composer_above", &layout.composer_above)?,
            composer_line: one("composer_line", &layout.composer_line)?,
            composer_end: one("composer_end", &layout.composer_end)?,
            composer_prefix: one("composer_prefix", &layout.composer_prefix)?,
            composer_status: one("composer_status", &layout.composer_status)?,
            placeholder: one("placeholder", &layout.placeholder)?,
            footer_mark: one("footer_mark", &layout.footer_mark)?,
            footer_lines_max: usize::from(layout.footer_lines_max),
            footer_join: layout.footer_join,
            footer_noise: one("footer_noise", &layout.footer_noise)?,
            dialog_top: one("dialog_top", &layout.dialog_top)?,
            transcript_noise: layout
                .transcript_noise
                .iter()
                .map(|text| {
                    super::detect::compile(text)
                        .map_err(|cause| ("transcript_noise", text.clone(), cause))
                })
                .collect::<Result<_, _>>()?,
            item_start: one("item_start", &layout.item_start)?,
            item_skip: one("item_skip", &layout.item_skip)?,
            item_link: one("item_link", &layout.item_link)?,
            item_break: one("item_break", &layout.item_break)?,
            item_prefix: one("item_prefix", &layout.item_prefix)?,
            tinted: layout.tinted.clone(),
        })
    }
}

/// The texts of one screen's regions; `None` = the screen has no such part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regions {
    pub(crate) live: String,
    pub(crate) screen: String,
    pub(crate) composer: Option<String>,
    pub(crate) footer: Option<String>,
    pub(crate) last_item: Option<String>,
    pub(crate) title: String,
    pub(crate) dialog: Option<String>,
    pub(crate) draft: Composer,
}

impl Regions {
    pub(crate) fn cut(
        screen: &Screen,
        layout: &CompiledLayout,
        live_lines: usize,
        title: &str,
    ) -> Self {
        let lines = &screen.lines;
        let live_from = lines.len().saturating_sub(live_lines);
        let found = layout.composer(lines);
        let transcript_end = found
            .as_ref()
            .map_or_else(|| layout.dialog_from(lines, live_from), |found| found.box_lines.start);
        Self {
            live: join(&lines[live_from..]),
            screen: screen.text(),
            composer: found.as_ref().map(|found| join(&lines[found.box_lines.clone()])),
            footer: found.as_ref().map(|found| layout.footer(&lines[found.footer_from..])),
            last_item: layout.last_item(screen, transcript_end),
            title: title.to_owned(),
            dialog: found.is_none().then(|| join(&lines[transcript_end..])),
            draft: found.map_or(Composer::Absent, |found| {
                layout.draft(&lines[found.box_lines], screen.styled)
            }),
        }
    }

    pub(crate) fn text(&self, region: Region) -> Option<&str> {
        match region {
            Region::Live => Some(&self.live),
            Region::Screen => Some(&self.screen),
            Region::Composer => self.composer.as_deref(),
            Region::Footer => self.footer.as_deref(),
            Region::LastItem => self.last_item.as_deref(),
            Region::Title => Some(&self.title),
            Region::Dialog => self.dialog.as_deref(),
        }
    }
}

/// The name of a region as the config writes it.
pub(crate) const fn word(region: Region) -> &'static str {
    match region {
        Region::Live => "live",
        Region::Screen => "screen",
        Region::Composer => "composer",
        Region::Footer => "footer",
        Region::LastItem => "last_item",
        Region::Title => "title",
        Region::Dialog => "dialog",
    }
}

struct FoundComposer {
    box_lines: Range<usize>,
    footer_from: usize,
}

fn join(lines: &[Line]) -> String {
    lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
}

fn matches(regex: Option<&Regex>, line: &Line) -> bool {
    regex.is_some_and(|regex| regex.is_match(&line.text))
}

impl CompiledLayout {
    fn composer(&self, lines: &[Line]) -> Option<FoundComposer> {
        self.composer_by_start(lines)
            .or_else(|| self.composer_by_end(lines))
            .or_else(|| self.composer_by_footer(lines))
            .filter(|found| {
                let below = lines[found.footer_from..].iter().filter(|line| !line.is_blank());
                self.footer_lines_max == 0 || below.count() <= self.footer_lines_max
            })
    }

    fn composer_by_start(&self, lines: &[Line]) -> Option<FoundComposer> {
        let start = self.composer_start.as_ref()?;
        let first = (0..lines.len()).rev().find(|&at| {
            start.is_match(&lines[at].text)
                && self
                    .composer_above
                    .as_ref()
                    .is_none_or(|above| at > 0 && above.is_match(&lines[at - 1].text))
        })?;
        let end =
            (first + 1..lines.len()).find(|&at| matches(self.composer_end.as_ref(), &lines[at]));
        Some(FoundComposer {
            box_lines: first..end.unwrap_or(lines.len()),
            footer_from: end.map_or(lines.len(), |end| end + 1),
        })
    }

    fn composer_by_end(&self, lines: &[Line]) -> Option<FoundComposer> {
        let (inside, after) = (self.composer_line.as_ref()?, self.composer_end.as_ref()?);
        let end = (0..lines.len()).rev().find(|&at| after.is_match(&lines[at].text))?;
        let first = (0..end).rev().take_while(|&at| inside.is_match(&lines[at].text)).last()?;
        Some(FoundComposer { box_lines: first..end, footer_from: end + 1 })
    }

    fn composer_by_footer(&self, lines: &[Line]) -> Option<FoundComposer> {
        let (mark, rule) = (self.footer_mark.as_ref()?, self.composer_end.as_ref()?);
        let footer = (0..lines.len()).rev().find(|&at| mark.is_match(&lines[at].text))?;
        let end = (0..footer).rev().find(|&at| rule.is_match(&lines[at].text))?;
        let above = (0..end).rev().find(|&at| matches(self.composer_above.as_ref(), &lines[at]));
        Some(FoundComposer { box_lines: above.map_or(0, |at| at + 1)..end, footer_from: end + 1 })
    }

    fn footer(&self, lines: &[Line]) -> String {
        let clean = |line: &Line| match &self.footer_noise {
            Some(noise) => noise.replace_all(&line.text, " ").into_owned(),
            None => line.text.clone(),
        };
        if !self.footer_join {
            return lines.iter().map(clean).collect::<Vec<_>>().join("\n");
        }
        let words: String = lines.iter().map(|line| clean(line) + " ").collect();
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The line a dialog begins at, when there is no input box.
    fn dialog_from(&self, lines: &[Line], live_from: usize) -> usize {
        match &self.dialog_top {
            Some(top) => (0..lines.len())
                .rev()
                .find(|&at| top.is_match(&lines[at].text))
                .unwrap_or(live_from),
            None => live_from,
        }
    }

    fn draft(&self, lines: &[Line], styled: bool) -> Composer {
        let mut shown: Vec<&Line> = lines.iter().collect();
        while shown.last().is_some_and(|line| self.is_empty_line(line)) {
            shown.pop();
        }
        if shown.last().is_some_and(|line| matches(self.composer_status.as_ref(), line)) {
            shown.pop();
        }
        let texts: Vec<&str> = shown.iter().map(|line| self.without_prefix(&line.text)).collect();
        let text = texts.join("\n").trim().to_owned();
        let placeholder = self.placeholder.as_ref().is_some_and(|regex| regex.is_match(&text));
        let dim = styled && shown.iter().all(|line| self.only_dim(line));
        if text.is_empty() || placeholder || dim {
            Composer::Empty
        } else {
            Composer::Draft { text }
        }
    }

    fn without_prefix<'a>(&self, text: &'a str) -> &'a str {
        let cut = self.composer_prefix.as_ref().and_then(|regex| regex.find(text));
        let rest = &text[cut.filter(|found| found.start() == 0).map_or(0, |found| found.end())..];
        // What stands far to the right belongs to a side bar or a label, not to the text.
        rest.find("          ").map_or(rest, |at| if at == 0 { "" } else { &rest[..at] }).trim_end()
    }

    fn is_empty_line(&self, line: &Line) -> bool {
        self.without_prefix(&line.text).trim().is_empty()
    }

    /// Whether what stands in this line of the input box is dim; the cell under the cursor never is.
    fn only_dim(&self, line: &Line) -> bool {
        let prefix = line.text.len() - self.without_prefix_start(&line.text).len();
        let skip = line.text[..prefix].chars().count();
        line.text
            .chars()
            .zip(&line.styles)
            .skip(skip)
            .filter(|(char, style)| !char.is_whitespace() && !style.reverse)
            .all(|(_, style)| style.dim)
            && line.styles.iter().any(|style| style.dim)
    }

    fn without_prefix_start<'a>(&self, text: &'a str) -> &'a str {
        let cut = self.composer_prefix.as_ref().and_then(|regex| regex.find(text));
        &text[cut.filter(|found| found.start() == 0).map_or(0, |found| found.end())..]
    }

    /// The last item of the transcript, its wrapped lines joined by one space.
    fn last_item(&self, screen: &Screen, transcript_end: usize) -> Option<String> {
        let start = self.item_start.as_ref()?;
        let mut texts: Vec<Cow<'_, str>> =
            screen.lines[..transcript_end].iter().map(|line| self.seen(line, screen)).collect();
        if let Some(rule) = &self.composer_above
            && texts.last().is_some_and(|text| rule.is_match(text))
        {
            texts.pop();
        }
        let is_start = |text: &str| {
            start.is_match(text) && !self.item_skip.as_ref().is_some_and(|skip| skip.is_match(text))
        };
        let mut from = texts.iter().rposition(|text| is_start(text)).unwrap_or(0);
        while let Some(link) = &self.item_link
            && let Some(upper) = texts[..from].iter().rposition(|text| is_start(text))
            && link.is_match(&format!("{}\n{}", texts[upper], texts[from]))
        {
            from = upper;
        }
        Some(self.joined(&texts[from..]))
    }

    /// A line of the transcript as rules see it.
    fn seen<'a>(&self, line: &'a Line, screen: &Screen) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(line.text.as_str());
        if let Some(glyph) = &self.tinted
            && let Some(at) = text.find(glyph.as_str())
        {
            let color = line.styles.get(text[..at].chars().count()).and_then(|style| style.color);
            let mark = match (screen.styled, color.is_some_and(is_red)) {
                (false, _) => COLORLESS_MARK,
                (true, true) => RED_MARK,
                (true, false) => glyph.as_str(),
            };
            // Toasts are recognised by their glyphs, so only the first one of a line is marked.
            let marked = text.replacen(glyph.as_str(), mark, 1);
            text = Cow::Owned(marked);
        }
        for noise in &self.transcript_noise {
            if let Cow::Owned(cleaned) = noise.replace(&text, "$keep") {
                text = Cow::Owned(cleaned.trim_end().to_owned());
            }
        }
        text
    }

    fn joined(&self, texts: &[Cow<'_, str>]) -> String {
        let breaks = |text: &str| {
            [&self.item_break, &self.item_start]
                .into_iter()
                .flatten()
                .any(|regex| regex.is_match(text))
        };
        let mut result = String::new();
        let mut open = false;
        for text in texts {
            if text.trim().is_empty() {
                open = false;
                continue;
            }
            if open && !breaks(text) {
                let rest = match &self.item_prefix {
                    Some(prefix) => prefix.replace(text, ""),
                    None => Cow::Borrowed(text.as_ref()),
                };
                if !rest.trim().is_empty() {
                    result.push(' ');
                    result.push_str(rest.trim());
                }
                continue;
            }
            if !result.is_empty() {
                result.push('\n');
            }
            result.push_str(text.trim_end());
            open = true;
        }
        result
    }
}
