//! A shell script taken apart: every simple command in it, wherever it stands, and every redirection.
//!
//! The grammar is tree-sitter's for bash, which neither recurses nor fails: what it cannot read it marks,
//! and then [`Script::broken`] is set. What the commands mean is not decided here. Nothing is run,
//! expanded or looked up on disk; a variable counts as known only when the script sets it once, plainly.

mod word;

use tree_sitter::{Node, Parser};

pub use word::{HOLE, Word};
use word::{Held, Reader, Variables, children};

/// Longest script that is read, in bytes; a longer one counts as unreadable.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024;
/// Most commands that are read; more count as unreadable.
pub const COMMANDS_MAX: usize = 512;

/// All that a script would run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// In the order in which they stand.
    pub commands: Vec<Command>,
    pub redirects: Vec<Redirect>,
    /// Names of the functions it makes.
    pub functions: Vec<String>,
    /// Some of it could not be read, so what it does is not known.
    pub broken: bool,
}

/// One simple command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Names of variables set for this command alone.
    pub environment: Vec<String>,
    /// The program first. Empty when only variables are set.
    pub words: Vec<Word>,
    pub input: Input,
}

/// Where a command's standard input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Input {
    /// The terminal, or nothing.
    #[default]
    None,
    /// This text: a here-document, a here-string, or what `echo` prints into the pipe.
    Text(String),
    /// The output of this program (empty when not known).
    Pipe(String),
}

/// A file that is opened by a redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub writes: bool,
    pub target: Word,
}

/// Takes a script apart.
pub fn read(source: &str) -> Script {
    let broken = Script { broken: true, ..Script::default() };
    if source.len() > SCRIPT_BYTES_MAX || source.contains([HOLE, '\0']) || long_pipe(source) {
        return broken;
    }
    let mut parser = Parser::new();
    if parser.set_language(&tree_sitter_bash::LANGUAGE.into()).is_err() {
        return broken;
    }
    let Some(tree) = parser.parse(source, None) else {
        return broken;
    };
    let nodes = every_node(tree.root_node());
    let variables = variables(source, &nodes);
    let reader = Reader { source, variables: &variables };
    let broken = tree.root_node().has_error();
    let mut script = Script { broken, ..Script::default() };
    for node in &nodes {
        // Around an error the tree can be flat and wide, and says little about pipes.
        let input = |node| if broken { Input::None } else { input(&reader, node) };
        match node.kind() {
            "command" => {
                script.commands.push(Command { input: input(*node), ..command(&reader, *node) });
            }
            // `export A=$(x)` runs x, which is a node of its own; the rest only sets variables.
            "declaration_command" | "unset_command" => {
                script.commands.push(declaration(&reader, *node))
            }
            "function_definition" => {
                let name = node.child_by_field_name("name").map(|name| reader.source(name));
                script.functions.extend(name.map(str::to_owned));
            }
            "file_redirect" => script.redirects.extend(redirect(&reader, *node)),
            _ => {}
        }
        if script.commands.len() > COMMANDS_MAX {
            return Script { broken: true, ..script };
        }
    }
    script
}

/// Whether some pipeline is longer than anybody means it.
///
/// The grammar's recovery from an error inside a pipeline takes time with the square of its length:
/// 9 s were measured for 4,000 parts. Rows of a table in a here-document begin with `|`, pipelines do not.
fn long_pipe(source: &str) -> bool {
    const PIPES_MAX: usize = 64;
    let mut chain = 0;
    source.lines().any(|line| {
        let line = line.trim();
        chain += line.matches('|').count();
        let long = chain > PIPES_MAX;
        if !line.ends_with(['|', '\\']) || line.starts_with('|') {
            chain = 0;
        }
        long
    })
}

/// The tree from the top, in the order of the text. A stack of our own: depth is in the hands of the script.
fn every_node(root: Node<'_>) -> Vec<Node<'_>> {
    let mut nodes = Vec::new();
    let mut waiting = vec![root];
    while let Some(node) = waiting.pop() {
        nodes.push(node);
        waiting.extend(children(node).into_iter().rev());
    }
    nodes
}

fn variables(source: &str, nodes: &[Node<'_>]) -> Variables {
    let mut variables = Variables::new();
    let none = Variables::new();
    let reader = Reader { source, variables: &none };
    let mut note = |name: String, held: Held| {
        variables.entry(name).and_modify(|before| *before = Held::Unknown).or_insert(held);
    };
    for node in nodes {
        match node.kind() {
            "variable_assignment" => {
                let Some(name) = node.child_by_field_name("name") else { continue };
                let value = node.child_by_field_name("value").map(|value| reader.word(value));
                let appends =
                    source.get(name.end_byte()..).is_some_and(|rest| rest.starts_with('+'));
                let held = match value {
                    Some(value) if value.known() && !value.glob && !appends => {
                        Held::Text(value.text)
                    }
                    None if !appends => Held::Text(String::new()),
                    Some(_) | None => Held::Unknown,
                };
                note(reader.source(name).to_owned(), held);
            }
            "for_statement" => {
                let Some(name) = node.child_by_field_name("variable") else { continue };
                let mut cursor = node.walk();
                let mut values = node.children_by_field_name("value", &mut cursor).peekable();
                let tame = values.peek().is_some()
                    && values.all(|value| !reader.word(value).may_be_option());
                let held = if tame { Held::Tame } else { Held::Unknown };
                note(reader.source(name).to_owned(), held);
            }
            // `read`, `printf -v`, `mapfile`, `getopts`: any bare word may name what is filled.
            "command" => {
                let name = node.child_by_field_name("name").map(|name| reader.word(name).text);
                let fills = ["read", "printf", "mapfile", "readarray", "getopts", "let", "declare"];
                if name.is_some_and(|name| fills.contains(&name.as_str())) {
                    let mut cursor = node.walk();
                    for argument in node.children_by_field_name("argument", &mut cursor) {
                        let text = reader.word(argument).text;
                        let text = text.split(['=', '+', '[']).next().unwrap_or_default();
                        note(text.to_owned(), Held::Unknown);
                        note(text.to_owned(), Held::Unknown);
                    }
                }
            }
            _ => {}
        }
    }
    variables
}

fn command(reader: &Reader<'_>, node: Node<'_>) -> Command {
    let mut command = Command::default();
    let mut cursor = node.walk();
    let fields: Vec<(Node<'_>, Option<&str>)> = {
        let mut fields = Vec::new();
        if cursor.goto_first_child() {
            loop {
                fields.push((cursor.node(), cursor.field_name()));
                if !cursor.goto_next_sibling() {
                    break;
                }
            }
        }
        fields
    };
    for (child, field) in fields {
        match (child.kind(), field) {
            ("variable_assignment", _) => {
                let name = child.child_by_field_name("name").map(|name| reader.source(name));
                command.environment.push(name.unwrap_or_default().to_owned());
            }
            (_, Some("name" | "argument")) => command.words.push(reader.word(child)),
            _ => {}
        }
    }
    command
}

fn declaration(reader: &Reader<'_>, node: Node<'_>) -> Command {
    let mut command = Command::default();
    for child in children(node) {
        if child.kind() == "variable_assignment" {
            let name = child.child_by_field_name("name").map(|name| reader.source(name));
            command.environment.push(name.unwrap_or_default().to_owned());
        }
    }
    command.words.push(Word::plain("export"));
    command
}

fn redirect(reader: &Reader<'_>, node: Node<'_>) -> Option<Redirect> {
    let operator = children(node).into_iter().find(|child| !child.is_named())?;
    let operator = reader.source(operator);
    let target = node.child_by_field_name("destination").map(|target| reader.word(target))?;
    let duplicates =
        operator.ends_with('&') && (target.text == "-" || target.text.parse::<u32>().is_ok());
    (!duplicates).then(|| Redirect { writes: operator != "<" && operator != "<&", target })
}

/// What stands on a command's standard input, seen from the tree around it.
fn input(reader: &Reader<'_>, node: Node<'_>) -> Input {
    let mut inner = node;
    // Bounded: only the nearest pipes and redirections matter.
    for _ in 0..32 {
        for child in children(inner) {
            if child.kind() == "herestring_redirect" {
                let text =
                    children(child).into_iter().rfind(Node::is_named).map(|text| reader.word(text));
                return Input::Text(text.map(|text| text.text).unwrap_or_default());
            }
            if child.kind() == "heredoc_redirect" && inner.kind() == "redirected_statement" {
                let body = children(child).into_iter().find(|part| part.kind() == "heredoc_body");
                return Input::Text(
                    body.map(|body| reader.source(body)).unwrap_or_default().to_owned(),
                );
            }
        }
        let Some(outer) = inner.parent() else { break };
        match outer.kind() {
            "pipeline" => {
                let before: Vec<Node<'_>> = children(outer)
                    .into_iter()
                    .filter(|part| part.is_named() && part.end_byte() <= inner.start_byte())
                    .collect();
                match before.last() {
                    Some(upstream) => return piped(reader, *upstream),
                    // The head of a pipeline inside a here-document's line reads what that command prints.
                    None if outer
                        .parent()
                        .is_some_and(|above| above.kind() == "heredoc_redirect") =>
                    {
                        return Input::Pipe(String::new());
                    }
                    None => {}
                }
            }
            "heredoc_redirect" => return Input::Pipe(String::new()),
            "command_substitution" | "process_substitution" | "program" | "function_definition" => {
                break;
            }
            _ => {}
        }
        inner = outer;
    }
    Input::None
}

fn piped(reader: &Reader<'_>, upstream: Node<'_>) -> Input {
    if upstream.kind() != "command" {
        return Input::Pipe(String::new());
    }
    let before = command(reader, upstream);
    let Some((program, arguments)) = before.words.split_first() else {
        return Input::Pipe(String::new());
    };
    if ["echo", "printf"].contains(&program.text.as_str()) {
        let text: Vec<&str> = arguments
            .iter()
            .map(|word| word.text.as_str())
            .filter(|word| !["-n", "-e", "-E"].contains(word))
            .collect();
        return Input::Text(text.join(" "));
    }
    Input::Pipe(program.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a command: its words between `|`, then its input.
    fn shape(source: &str) -> String {
        let script = read(source);
        let mut lines: Vec<String> = script
            .commands
            .iter()
            .map(|command| {
                let words: Vec<String> = command.words.iter().map(Word::shown).collect();
                let env = command.environment.join(",");
                let input = match &command.input {
                    Input::None => String::new(),
                    Input::Text(text) => format!(" <text {}", text.trim().replace(HOLE, "…")),
                    Input::Pipe(from) => format!(" <pipe {from}"),
                };
                format!(
                    "{}{}{input}",
                    if env.is_empty() { env } else { format!("[{env}] ") },
                    words.join("|")
                )
            })
            .collect();
        for redirect in &script.redirects {
            let sign = if redirect.writes { ">" } else { "<" };
            lines.push(format!("{sign}{}", redirect.target.shown()));
        }
        if script.broken {
            lines.push("broken".to_owned());
        }
        lines.join("\n")
    }

    #[test]
    fn every_command_of_a_compound_is_found_with_its_words() {
        for (source, expected) in [
            ("ls -la", "ls|-la"),
            ("a && b || c; d & e", "a\nb\nc\nd\ne"),
            ("a | b |& c", "a\nb <pipe a\nc <pipe b"),
            ("echo \"$(rm -rf x)\" `id`", "echo|…|…\nrm|-rf|x\nid"),
            ("r'm' -\"rf\" \\x", "rm|-rf|x"),
            ("$'\\x72m' a", "rm|a"),
            ("X=1 Y=2 make all", "[X,Y] make|all"),
            ("f=out; cat \"$f\" $f.txt", "cat|out|out.txt"),
            ("f=a; f=b; cat $f", "cat|…"),
            ("read f; cat $f", "read|f\ncat|…"),
            ("for f in *.rs; do wc -l $f; done", "wc|-l|…"),
            ("if a; then b; elif c; then d; else e; fi", "a\nb\nc\nd\ne"),
            ("while read l; do a; done < in", "read|l\na\n<in"),
            ("case $x in a) b;; *) c;; esac", "b\nc"),
            ("f() { a; }; f", "a\nf"),
            ("(a; { b; })", "a\nb"),
            ("a <(b) >(c)", "a|…|…\nb\nc"),
            ("[[ -f x ]] && a", "a"),
            ("a > out 2>&1 >> more 2>/dev/null < in", "a\n>out\n>more\n>/dev/null\n<in"),
            ("a &> both", "a\n>both"),
            ("rm {a,b} ~root/x ~/y", "rm|…|…|~/y"),
            ("bash <<'E'\nrm x\nE\n", "bash <text rm x"),
            ("cat <<E | sh\nrm x\nE\n", "cat <text rm x\nsh <pipe "),
            ("sh <<< 'rm x'", "sh <text rm x"),
            ("echo 'rm x' | sh", "echo|rm x\nsh <text rm x"),
            ("export A=$(id)", "[A] export\nid"),
            ("$CMD a", "…|a"),
            ("! a", "a"),
            ("time a", "time|a"),
            ("coproc a", "coproc|a"),
            ("a 'open", "broken"),
        ] {
            let found = shape(source);
            if expected == "broken" {
                assert!(found.ends_with("broken"), "{source}: {found}");
            } else {
                assert_eq!(found, expected, "{source}");
            }
        }
    }

    #[test]
    fn deep_and_long_scripts_end_in_time() {
        for opening in
            ["$(", "(", "\"$(", "{ ", "a <(", "if a; then ", "$((", "${a:-", "a|", "a|\n", "a<<E;"]
        {
            let _ = read(&opening.repeat(SCRIPT_BYTES_MAX / opening.len()));
        }
        assert!(read(&"a;".repeat(COMMANDS_MAX + 1)).broken);
        assert!(read(&"a".repeat(SCRIPT_BYTES_MAX + 1)).broken);
    }
}
