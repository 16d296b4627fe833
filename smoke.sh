#!/usr/bin/env bash
# Shows that `ao` does its work: starts the example fleet in a sandbox on a tmux server of its own, kills an agent,
# sees it come back, stops everything and looks that nothing is left. Touches no session and no file of yours.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./.ci/ground.sh

need tmux tmux
need git git
need_cargo

mkdir -p target
say "building (log: target/smoke-build.log)"
if ! cargo build --locked >target/smoke-build.log 2>&1 </dev/null; then
    tail -n 40 target/smoke-build.log >&2
    say "the build failed"
    exit 1
fi
ao=$PWD/target/debug/ao

sandbox=$(mktemp -d "$PWD/target/smoke-XXXXXX")
sockets=$sandbox
name=ao-smoke-$$
# A socket's path may have 107 bytes. A clone in a deep folder gets its socket elsewhere, for as long as this runs.
if [ ${#sandbox} -gt 70 ]; then
    sockets=$(mktemp -d "/tmp/ao-smoke-XXXXXX")
fi
socket=$(cd "$sockets" && pwd -P)/tmux-$(id -u)/$name
before=$(git status --porcelain 2>/dev/null || true)

# From here on nothing of the person who runs this is seen or written.
for variable in $(compgen -e); do
    case $variable in TMUX* | CLAUDE* | CODEX* | AO_* | XDG_* | AGENT_MODEL_* | AGENT_BACKEND_*) unset "$variable" ;; esac
done
mkdir -p "$sandbox/home" "$sandbox/tmp"
export HOME=$sandbox/home TMPDIR=$sandbox/tmp TMUX_TMPDIR=$sockets

ours() { tmux -S "$socket" "$@" 2>/dev/null; }

# The process in the pane of a session, as tmux knows it; nothing when it is dead.
process_of() {
    ours list-panes -a -F '#{session_name} #{pane_dead} #{pane_pid}' | awk -v session="$1" '$1 == session && $2 == 0 { print $3; exit }'
}

done_well=
finish() {
    local status=$?
    trap - EXIT
    if [ -z "$done_well" ]; then
        say "failed; what there was to see:"
        "$ao" --config "$sandbox/agents.toml" status >&2 2>&1 || true
        tail -n 30 "$sandbox"/.ao-state/watchdog.log "$sandbox"/.ao-state/events.jsonl >&2 2>/dev/null || true
        "$ao" --config "$sandbox/agents.toml" down >/dev/null 2>&1 || true
        [ "$status" -ne 0 ] || status=1
    fi
    ours kill-server || true
    rm -rf -- "$sandbox"
    [ "$sockets" = "$sandbox" ] || rm -rf -- "$sockets"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# until SECONDS WHAT COMMAND…: tries until it holds; past the deadline it says what did not come true.
until_so() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    while ! "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "waited in vain: $what"
            exit 1
        fi
        sleep 0.2
    done
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

cp agents.example.toml "$sandbox/agents.toml"
[ ! -d prompts ] || cp -R prompts "$sandbox/prompts"
# The example is run as it is, but on a tmux server of its own and at a pace for people who wait.
for table in tmux watchdog; do
    if grep -q "^\[$table\]" "$sandbox/agents.toml"; then
        say "agents.example.toml has a [$table] table, which this script wanted to add"
        exit 1
    fi
done
printf '\n[tmux]\nsocket = "%s"\n\n[watchdog]\nsignal_interval = 1\nheavy_interval = 2\n' "$name" >>"$sandbox/agents.toml"

prefix=$(sed -n 's/^session_prefix *= *"\(.*\)".*/\1/p' "$sandbox/agents.toml")
agent=$(sed -n '/^\[\[agent\]\]/,$ s/^name *= *"\(.*\)".*/\1/p' "$sandbox/agents.toml" | head -n 1)
session=$prefix$agent

cd "$sandbox"
echo "1. ao check"
"$ao" check --quiet
echo "2. ao up"
"$ao" up
first=$(process_of "$session")
[ -n "$first" ] || { say "after \`ao up\` no process runs in $session"; exit 1; }
"$ao" status

echo "3. kill $agent (process $first) and wait until it is back"
came_back() { local now; now=$(process_of "$session"); [ -n "$now" ] && [ "$now" != "$first" ]; }
begin=$(date +%s%N)
kill -KILL "$first"
until_so 60 "$agent running again after it was killed" came_back
case $begin in
    *N) took= ;; # This date knows no nanoseconds.
    *) took=" after $((($(date +%s%N) - begin) / 1000000)) ms" ;;
esac
second=$(process_of "$session")
echo "   back as process $second$took"
"$ao" explain "$agent"

echo "4. ao down"
"$ao" down
if left=$(ours list-sessions -F '#{session_name}' | grep "^$prefix"); then
    say "sessions left after \`ao down\`: $left"
    exit 1
fi
until_so 5 "process $second gone after \`ao down\`" is_gone "$second"
after=$(git -C "$OLDPWD" status --porcelain 2>/dev/null || true)
if [ "$before" != "$after" ]; then
    say "the clone is not as it was: $after"
    exit 1
fi
cd "$OLDPWD"
done_well=yes
echo "smoke: all well; nothing is left behind"
