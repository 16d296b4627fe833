# Sourced by test.sh, smoke.sh and .ci/run: what a fresh machine needs, installed only when it is missing.

say() { echo "$(basename "$0"): $*" >&2; }

# need COMMAND PACKAGE…: installs the Debian packages when the command is not there.
need() {
    local command=$1 sudo=()
    shift
    ! command -v "$command" >/dev/null 2>&1 || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        if [ "$(uname)" = Darwin ]; then
            say "\`$command\` is missing; get it with: brew install $command"
        else
            say "\`$command\` is missing; install it with this system's package manager"
        fi
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            say "\`$command\` is missing; as root run: apt-get install -y $*"
            exit 1
        fi
        sudo=(sudo)
    fi
    say "\`$command\` is missing; installing with apt-get: $*"
    local install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@")
    # The package lists may be absent or old: first with what is there, then with fresh ones.
    if ! "${install[@]}" >/dev/null 2>&1 </dev/null; then
        "${sudo[@]}" apt-get -qq update </dev/null >&2
        if ! "${install[@]}" </dev/null >&2; then
            say "apt-get could not install $*; its words are above"
            exit 1
        fi
    fi
}

# Finds cargo and a linker. A toolchain is too big a thing to install unasked, so it is only named.
need_cargo() {
    local home=${CARGO_HOME:-$HOME/.cargo} wanted found
    if ! command -v cargo >/dev/null 2>&1 && [ -x "$home/bin/cargo" ]; then
        export PATH=$home/bin:$PATH
    fi
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null 2>&1; then
        say "cargo is not on PATH, and Rust $wanted or later is needed. Get it by either of:"
        say "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
        say "  apt-get install -y rustup && rustup default stable    (Debian 13 and later; Debian 12's rustc is too old)"
        exit 1
    fi
    found=$(cargo --version | awk '{ print $2 }')
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        say "cargo is $found, and Rust $wanted or later is needed: rustup update stable"
        exit 1
    fi
    if [ "$(uname)" = Darwin ]; then
        command -v cc >/dev/null 2>&1 || { say "no linker: run xcode-select --install"; exit 1; }
    else
        need cc gcc libc6-dev
    fi
}
