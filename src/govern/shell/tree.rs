//! The grammar's tree as a flat list in the order of the text, made with bounded work.
//!
//! Surprise: a node of the grammar does not know its parent; it is searched for from the root each time,
//! which on a long `a && b && …` takes time with the cube of its length. So parents are noted on the way
//! down. The parser's own work is counted, not timed: the same script always gets the same answer.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

/// Most nodes of a tree that is read.
const NODES_MAX: usize = 12_000;
/// Most hundreds of steps the parser may take.
const STEPS_MAX: usize = 800;
/// As many of them after a mistake: to recover takes time with the square of what follows.
const STEPS_AFTER_ERROR_MAX: usize = 25;
/// Bytes that the lexer is given at once.
const CHUNK_BYTES: usize = 256;
/// How often it may come for some: in `a=(a=(…` it looks from every bracket to the end of the text.
const CHUNKS_MAX: usize = 3_000;

/// One node and what is around it.
pub(super) struct Item<'t> {
    pub(super) node: Node<'t>,
    pub(super) parent: Option<usize>,
    /// The nearest named one before it under the same parent.
    pub(super) before: Option<usize>,
}

/// All nodes; places in the list stand for them.
pub(super) struct Flat<'t> {
    pub(super) items: Vec<Item<'t>>,
    /// By the place of a node: its first child that gives it text to read.
    pub(super) texts: BTreeMap<usize, usize>,
}

/// `None`: too much work.
pub(super) fn parse(source: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bash::LANGUAGE.into()).ok()?;
    let chunks = Cell::new(0_usize);
    let (mut steps, mut steps_after_error) = (0, 0);
    let mut count = |state: &ParseState| {
        steps += 1;
        steps_after_error += usize::from(state.has_error());
        let enough = steps > STEPS_MAX
            || steps_after_error > STEPS_AFTER_ERROR_MAX
            || chunks.get() > CHUNKS_MAX;
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut count);
    let mut text = |at: usize, _| {
        chunks.set(chunks.get() + 1);
        // The end of the text is the only thing that stops the lexer.
        let end = if chunks.get() > CHUNKS_MAX { at } else { source.len().min(at + CHUNK_BYTES) };
        source.as_bytes().get(at..end).unwrap_or_default()
    };
    let tree = parser.parse_with_options(&mut text, None, Some(options))?;
    (chunks.get() <= CHUNKS_MAX).then_some(tree)
}

/// `None`: too many nodes.
pub(super) fn flat(tree: &Tree) -> Option<Flat<'_>> {
    let mut cursor = tree.walk();
    let mut found = Flat { items: Vec::new(), texts: BTreeMap::new() };
    // Each open node with the last named child seen.
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    loop {
        let here = found.items.len();
        if here >= NODES_MAX {
            return None;
        }
        let node = cursor.node();
        let above = open.last().copied();
        found.items.push(Item {
            node,
            parent: above.map(|(parent, _)| parent),
            before: above.and_then(|(_, before)| before),
        });
        if let Some((parent, last)) = open.last_mut() {
            let gives = match node.kind() {
                "herestring_redirect" => true,
                "heredoc_redirect" => found.items[*parent].node.kind() == "redirected_statement",
                _ => false,
            };
            if gives {
                found.texts.entry(*parent).or_insert(here);
            }
            if node.is_named() {
                *last = Some(here);
            }
        }
        if cursor.goto_first_child() {
            open.push((here, None));
            continue;
        }
        while !cursor.goto_next_sibling() {
            if open.pop().is_none() {
                return Some(found);
            }
            cursor.goto_parent();
        }
    }
}
