#!/usr/bin/env python3
"""What it costs to watch N quiet agents: ao, a plain polling loop, and others, in the same run.

    benches/peers.py --ao target/release/ao [--agents 5,60] [--seconds 30] [--only ao,supervisor]
                     [--tools FOLDER]

Python's standard library, tmux and Linux's /proc are all it needs; whatever of the others is not found is
left out with a word. FOLDER (default target/peers) holds them: `v/` a virtual environment with
cli-agent-orchestrator and supervisor, `node_modules/mprocs` from npm, `cargo/bin/workmux`. Everything
runs in a temporary HOME on private tmux sockets; every process that has it is ended. benches/peers.md
says what each was asked to do.
"""

import argparse
import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")
SETTLE_S = 12
PATIENCE_S = 120


def wait_until(what, ask):
    end = time.monotonic() + PATIENCE_S
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise RuntimeError(f"never: {what}")
        time.sleep(0.02)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


class Sandbox:
    """A HOME of its own; every process that was started with it is known by it."""

    def __init__(self, tools, ao):
        self.folder = tempfile.mkdtemp(prefix="ao-p", dir="/tmp")
        self.tools, self.ao = tools, ao
        self.environment = {
            "HOME": self.folder,
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "TMUX_TMPDIR": self.folder,
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        os.mkdir(f"{self.folder}/bin")

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run(self, *words, check=True, **more):
        done = subprocess.run(
            words, env=self.environment | more, cwd=self.folder, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
        )
        if check and done.returncode:
            raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def spawn(self, *words):
        log = open(f"{self.folder}/log.txt", "ab")
        return subprocess.Popen(
            words, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )

    def spawn_in_terminal(self, *words):
        """A full-screen program gets a terminal whose output is read and thrown away."""
        pid, terminal = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
            os.chdir(self.folder)
            os.execvpe(words[0], words, self.environment)

        def drain():
            try:
                while os.read(terminal, 65536):
                    pass
            except OSError:
                pass

        threading.Thread(target=drain, daemon=True).start()
        return pid

    def processes(self):
        """pid -> words of the command line."""
        mark, found = f"HOME={self.folder}\0", {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and mark in read(f"/proc/{entry}/environ"):
                found[int(entry)] = read(f"/proc/{entry}/cmdline").split("\0")
        return found

    def agents(self):
        """The demo agents: name -> pid."""
        found = {}
        for pid, words in self.processes().items():
            if "demo-agent" in words and words[0].endswith("ao"):
                found[words[words.index("--name") + 1]] = pid
        return found

    def clean(self):
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 5
            while self.processes() and time.monotonic() < end:
                for pid in self.processes():
                    try:
                        os.kill(pid, signal_number)
                    except ProcessLookupError:
                        pass
                time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)


def cpu_seconds(pid):
    """Own time in nanoseconds' precision, and that of children that ended."""
    own = 0.0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            own += int((read(f"/proc/{pid}/task/{task}/schedstat").split() or ["0"])[0]) / 1e9
    except OSError:
        return 0.0
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) / TICK if len(fields) > 14 else own


def rss_mb(pid):
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Tool:
    """One way to keep agents; a subclass says how it is started and which processes are its own."""

    name = ""
    heals = True

    def __init__(self, box, count):
        self.box, self.count = box, count
        self.names = [f"a{index}" for index in range(count)]

    def version(self):
        return "-"

    def agent(self, name):
        return f"{self.box.ao} demo-agent --name {name}"

    def own(self):
        raise NotImplementedError

    def tmux_server(self):
        return [pid for pid, words in self.box.processes().items()
                if os.path.basename(words[0]).startswith("tmux") and words[0] != "tmux: client"]


class Ao(Tool):
    name = "ao"

    def version(self):
        return self.box.run(self.box.ao, "--version").split(" ", 1)[1].strip()

    def start(self):
        agents = "".join(f'[[agent]]\nname = "{name}"\nprompt = "Say hello."\n' for name in self.names)
        self.box.write("agents.toml", '[defaults]\nsession_prefix = "b-"\nlog_dir = "log"\n'
                       f'backend = "demo"\nwatch = "heal"\n[tmux]\nsocket = "bench"\n{agents}')
        self.box.run(self.box.ao, "up")

    def own(self):
        document = json.loads(self.box.run(self.box.ao, "status", "--json"))
        watchdog = document["watchdog"]["pid"]
        clients = [pid for pid, words in self.box.processes().items()
                   if read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1:2] == [str(watchdog)]
                   and "demo-agent" not in words]
        return [watchdog, *clients]


class Polling(Tool):
    """The plainest way to see what agents do: each 2 s a tmux process for each of them."""

    name = "polling loop"
    heals = False

    def start(self):
        for name in self.names:
            self.box.run("tmux", "-L", "bench", "-f", "/dev/null", "new-session", "-d", "-s", name,
                         self.agent(name))
        script = self.box.write("poll.sh", """while :; do
  for session in $(tmux -L bench list-sessions -F '#{session_name}'); do
    tmux -L bench capture-pane -p -t "=$session:" | tail -n 12 | grep -q 'esc to interrupt'
  done
  sleep 2
done
""")
        self.loop = self.box.spawn("sh", script)

    def own(self):
        return [self.loop.pid]


class Supervisor(Tool):
    """Needs no tmux; `script` gives each agent the terminal that it wants."""

    name = "supervisor"

    def path(self, name):
        return f"{self.box.tools}/v/bin/{name}"

    def version(self):
        return self.box.run(self.path("supervisord"), "--version").strip()

    def start(self):
        programs = "".join(
            f"[program:{name}]\ncommand=script -qfec '{self.agent(name)}' /dev/null\n"
            "autorestart=true\nstartsecs=0\nstdout_logfile=NONE\nredirect_stderr=true\n"
            for name in self.names)
        config = self.box.write("supervisord.conf", "[supervisord]\nnodaemon=true\nlogfile=%(here)s/s.log\n"
                                f"pidfile=%(here)s/s.pid\nminfds=8192\n{programs}")
        self.daemon = self.box.spawn(self.path("supervisord"), "-c", config)

    def own(self):
        return [self.daemon.pid]


class Mprocs(Tool):
    name = "mprocs"

    def path(self):
        machine = os.uname().machine
        folder = f"{self.box.tools}/node_modules/mprocs"
        version = json.loads(read(f"{folder}/package.json"))["version"]
        return f"{folder}/mprocs-{version}-linux-{machine}-musl/mprocs"

    def version(self):
        return self.box.run(self.path(), "--version").split()[-1]

    def start(self):
        procs = {name: {"shell": self.agent(name), "autorestart": True} for name in self.names}
        config = self.box.write("mprocs.yaml", json.dumps({"procs": procs}))
        self.box.spawn_in_terminal(self.path(), "--config", config)

    def own(self):
        return [pid for pid, words in self.box.processes().items()
                if os.path.basename(words[0]) == "mprocs"]


class Workmux(Tool):
    """Its sidebar is what watches; agents tell it their state by hooks, as one call here does."""

    name = "workmux sidebar"
    heals = False

    def path(self):
        return f"{self.box.tools}/cargo/bin/workmux"

    def version(self):
        return self.box.run(self.path(), "--version").split()[-1]

    def start(self):
        for name in self.names:
            words = f"{self.path()} set-window-status done; exec {self.agent(name)}"
            self.box.run("tmux", "-f", "/dev/null", "new-session", "-d", "-x", "160", "-y", "50", "-s",
                         name, words)
        server = self.box.run("tmux", "display-message", "-p", "#{socket_path},#{pid},0").strip()
        pane = self.box.run("tmux", "list-panes", "-t", f"={self.names[0]}:", "-F", "#{pane_id}").strip()
        self.box.run(self.path(), "sidebar", TMUX=server, TMUX_PANE=pane)

    def own(self):
        return [pid for pid, words in self.box.processes().items()
                if os.path.basename(words[0]) == "workmux"]


class Cao(Tool):
    """Its server with its own mock provider, whose program it leaves to its tests."""

    name = "cli-agent-orchestrator"
    heals = False
    port = 19889

    def path(self, name):
        return f"{self.box.tools}/v/bin/{name}"

    def version(self):
        return self.box.run(self.path("cao"), "--version").split()[-1]

    def start(self):
        self.box.write("bin/mock_cli", "#!/bin/sh\nprintf '\\342\\235\\257 '\nwhile read -r line; do\n"
                       "  printf '> MOCK: %s\\n\\342\\235\\257 ' \"$line\"\ndone\n", 0o755)
        # A login shell may set the path anew.
        self.box.write(".bash_profile", f"PATH={self.box.folder}/bin:$PATH\n")
        self.box.environment |= {"CAO_API_PORT": str(self.port), "SHELL": "/bin/bash"}
        self.box.run(self.path("cao"), "init", check=False)
        self.server = self.box.spawn(self.path("cao-server"), "--host", "127.0.0.1", "--port", str(self.port))
        wait_until("the server answers", self.healthy)
        for name in self.names:
            self.post(f"/sessions?provider=mock_cli&agent_profile=developer&session_name={name}"
                      f"&working_directory={self.box.folder}")

    def healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def post(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.read()

    def own(self):
        return [pid for pid, words in self.box.processes().items()
                if any(os.path.basename(word) == "cao-server" for word in words[:3])]

    def ready(self):
        return sum(words[0].endswith("sh") and len(words) > 1 and words[1].endswith("bin/mock_cli")
                   for words in self.box.processes().values())


TOOLS = [Ao, Polling, Supervisor, Mprocs, Workmux, Cao]


def measure(kind, arguments, count):
    box = Sandbox(arguments.tools, arguments.ao)
    try:
        tool = kind(box, count)
        row = {"tool": tool.name, "version": tool.version(), "agents": count}
        begin = time.monotonic()
        tool.start()
        ready = getattr(tool, "ready", lambda: len(box.agents()))
        wait_until(f"{count} agents run", lambda: ready() >= count)
        row["up_s"] = time.monotonic() - begin
        time.sleep(SETTLE_S)
        own, server = tool.own(), tool.tmux_server()
        before = [sum(map(cpu_seconds, pids)) for pids in (own, server)]
        begin = time.monotonic()
        time.sleep(arguments.seconds)
        took = time.monotonic() - begin
        after = [sum(map(cpu_seconds, pids)) for pids in (own, server)]
        row["cpu_percent"] = 100 * (after[0] - before[0]) / took
        row["tmux_cpu_percent"] = 100 * (after[1] - before[1]) / took if server else None
        row["rss_mb"] = sum(map(rss_mb, own))
        row["processes"] = len(own)
        row["restarted_ms"] = restarted_ms(box, tool) if tool.heals else None
        return row
    finally:
        box.clean()


def restarted_ms(box, tool):
    """Median of five: from the kill to the new process."""
    times = []
    for name in tool.names[:5]:
        old = box.agents()[name]
        begin = time.monotonic()
        os.kill(old, signal.SIGKILL)
        wait_until(f"{name} is back", lambda: box.agents().get(name, old) != old)
        times.append(1000 * (time.monotonic() - begin))
    return sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ao", default="target/release/ao")
    parser.add_argument("--tools", default="target/peers")
    parser.add_argument("--agents", default="5,60")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    arguments.ao = os.path.abspath(arguments.ao)
    arguments.tools = os.path.abspath(arguments.tools)
    print("| tool | version | agents | up, s | CPU, % of a core | tmux server, % | RSS, MB (processes) "
          "| killed → back, ms |\n|---|---|---|---|---|---|---|---|")
    for count in map(int, arguments.agents.split(",")):
        for kind in TOOLS:
            if arguments.only and kind.name not in arguments.only.split(","):
                continue
            try:
                row = measure(kind, arguments, count)
            except (RuntimeError, OSError, subprocess.SubprocessError, KeyError, ValueError) as problem:
                print(f"| {kind.name} | left out: {str(problem)[:300]!r} | {count} | | | | | |", flush=True)
                continue
            shown = {key: "-" if value is None else f"{value:.3g}" if isinstance(value, float) else value
                     for key, value in row.items()}
            print("| {tool} | {version} | {agents} | {up_s} | {cpu_percent} | {tmux_cpu_percent} "
                  "| {rss_mb} ({processes}) | {restarted_ms} |".format(**shown), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
