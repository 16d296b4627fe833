//! A builder and an adversary work through phases on a real tmux server and a real git remote.
//!
//! The agents are demo agents that write down what reached them; commits are made by the `git`
//! program, as theirs would be. The second tale is the first with kills at seeded moments.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::fleet::{Fleet, Status, kill};
use crate::support::tmux::eventually;

const PHASES: &str = r#"  { id = "p1", plan = "plans/p1.md", status = "STATUS-p1.md" },
  { id = "p2", plan = "plans/p2.md", status = "STATUS-p2.md", models = { builder = "big" } },
"#;
const THIRD: &str = r#"  { id = "p3", plan = "plans/p3.md", status = "STATUS-p3.md" },
"#;

fn blocks(phases: &str) -> String {
    let agent = |name: &str| {
        format!(
            "[[agent]]\nname = \"{name}\"\nkind = \"loop\"\nrole = \"{name}\"\nmodel = \"small\"\n\
             dir = \"{name}\"\n\n"
        )
    };
    format!(
        "[backend.demo]\npreset = \"demo\"\nbin = \"{{ao}} demo-agent --name {{name}} --truth DIR/{{name}}.truth \
         --scenario DIR/scenario --kickoff {{kickoff}}\"\nmodel_flag = \"\"\n\n\
         [backend.script]\nbin = \"sh DIR/report.sh\"\nprompt_delivery = \"exec\"\n\n{}{}\
         [[agent]]\nname = \"reporter\"\nkind = \"task\"\nbackend = \"script\"\nenabled = false\n\
         watch = \"none\"\nprompt = \"report\"\n\n\
         [loop]\nhandoff = {{ repo = \"builder\", claim_pings = \"adversary\", \
         review_pings = \"builder\", inboxes = [\"ADVERSARY-INBOX.md\", \"BUILDER-INBOX.md\"] }}\n\
         on_complete = {{ trigger_file = \".run-on-complete\", run = \"reporter\" }}\n\
         phases = [\n{phases}]\n",
        agent("builder"),
        agent("adversary")
    )
}

/// The fleet, and a clone for each side of one bare remote.
struct Loop {
    fleet: Fleet,
    /// The remote has a commit.
    begun: Cell<bool>,
}

impl Loop {
    fn new() -> Self {
        let fleet = Fleet::new(&blocks(PHASES));
        fleet.write("scenario", "ready\nwait_submit\nwork 50ms\nloop\n");
        fleet.write("report.sh", format!("echo once >> {}\n", fleet.path("reports").display()));
        std::fs::create_dir(fleet.path("prompts")).unwrap();
        fleet.write("prompts/kickoff.md", "Work on phase {phase_id}, plan {plan}.\n");
        for role in ["builder", "adversary"] {
            fleet.write(&format!("prompts/{role}.md"), format!("You are the {role}.\n"));
        }
        let remote = fleet.path("remote.git");
        let story = Self { fleet, begun: Cell::new(false) };
        story.git(
            Path::new("/"),
            "x",
            &["init", "-q", "--bare", "-b", "main", &remote.to_string_lossy()],
        );
        for side in ["builder", "adversary"] {
            let clone = story.side(side);
            let (from, to) = (remote.to_string_lossy(), clone.to_string_lossy());
            story.git(Path::new("/"), "x", &["clone", "-q", &from, &to]);
        }
        story.commit("builder", "begin", &[("README.md", "hello\n")]);
        story
    }

    fn side(&self, side: &str) -> PathBuf {
        self.fleet.path(side)
    }

    fn git(&self, dir: &Path, author: &str, arguments: &[&str]) {
        let mut command = Command::new("git");
        command
            .current_dir(dir)
            .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .env("HOME", self.fleet.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), author);
            command.env(format!("GIT_{who}_EMAIL"), format!("{author}@example.org"));
        }
        let said = self.fleet.finish(&mut command);
        assert_eq!(said.code, 0, "git {arguments:?}: {said:?}");
    }

    /// Writes files, commits and pushes as that side.
    fn commit(&self, side: &str, subject: &str, files: &[(&str, &str)]) {
        let dir = self.side(side);
        if self.begun.get() {
            self.git(&dir, side, &["pull", "-q", "--rebase", "origin", "main"]);
        }
        self.begun.set(true);
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&dir, side, &["add", "-A"]);
        self.git(&dir, side, &["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&dir, side, &["push", "-q", "origin", "HEAD:main"]);
    }

    /// What the agent received, of one kind, in order.
    fn heard(&self, agent: &str, event: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.fleet.path(&format!("{agent}.truth")));
        text.unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["event"] == event)
            .map(|line| line["text"].as_str().expect("a text").to_owned())
            .collect()
    }

    fn pings(&self, agent: &str, text: &str) -> usize {
        self.heard(agent, "submit").iter().filter(|said| said.contains(text)).count()
    }

    #[track_caller]
    fn until_pinged(&self, agent: &str, text: &str) {
        self.fleet.until(&format!("{agent} is told of {text}"), |_| {
            (self.pings(agent, text) > 0).then_some(())
        });
    }

    /// The phases of an agent's first prompts, in order, repeats left out.
    fn phases(&self, agent: &str) -> Vec<String> {
        let mut phases: Vec<String> = self
            .heard(agent, "kickoff")
            .iter()
            .filter_map(|text| Some(text.split("phase ").nth(1)?.get(..2)?.to_owned()))
            .collect();
        phases.dedup();
        phases
    }

    #[track_caller]
    fn until_on(&self, phase: &str) {
        for agent in ["builder", "adversary"] {
            self.fleet.until(&format!("{agent} works on {phase}"), |status| {
                let on_it = self.phases(agent).last().is_some_and(|last| last == phase);
                (on_it && matches!(status.state(agent), "idle" | "working")).then_some(())
            });
        }
    }

    fn done(&self, phase: &str) {
        let file = format!("machine-docs/STATUS-{phase}.md");
        let text = format!("# Status of {phase}\n\n## DONE\n\nAll of it.\n");
        self.commit("builder", &format!("status {phase}"), &[(&file, &text)]);
    }

    #[track_caller]
    fn until_complete(&self) {
        self.fleet.until("the sequence is complete", |status| {
            let states = ["builder", "adversary"].map(|agent| status.state(agent).to_owned());
            (status.0["phase"]["complete"] == true && states == ["finished", "finished"])
                .then_some(())
        });
    }

    fn model(&self, agent: &str) -> Value {
        let path = self.fleet.path(&format!(".ao-state/state/launch-fleet-{agent}.json"));
        let record: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        record["model"].clone()
    }

    fn state(&self, name: &str) -> String {
        std::fs::read_to_string(self.fleet.path(&format!(".ao-state/{name}"))).unwrap_or_default()
    }

    fn reports(&self) -> usize {
        let text = std::fs::read_to_string(self.fleet.path("reports")).unwrap_or_default();
        text.lines().count()
    }
}

#[test]
fn builder_and_adversary_go_through_all_phases_and_resume_at_an_added_one() {
    let story = Loop::new();
    story.fleet.well(&["up"]);
    story.until_on("p1");
    story.fleet.until("the branch was looked at", |_| {
        (!story.state("state/handoff.json").is_empty()).then_some(())
    });
    story.commit("builder", "claim: the parser", &[("parser.rs", "fn main() {}\n")]);
    story.until_pinged("adversary", "claim: the parser");
    story.commit("adversary", "review: the parser leaks", &[]);
    story.until_pinged("builder", "review: the parser leaks");
    story.commit("adversary", "note", &[("machine-docs/BUILDER-INBOX.md", "look at line 3\n")]);
    story.until_pinged("builder", "BUILDER-INBOX.md");
    assert_eq!(story.model("builder"), "small");

    story.fleet.write(".ao-state/.run-on-complete", "");
    story.done("p1");
    story.until_on("p2");
    assert_eq!((story.model("builder"), story.model("adversary")), ("big".into(), "small".into()));
    assert_eq!(story.state("state/phase-idx"), "1\n");

    story.done("p2");
    story.until_complete();
    story.fleet.until("the report was made", |_| (story.reports() == 1).then_some(()));
    assert_eq!(story.state("SEQUENCE-COMPLETE"), "p1\np2\n");
    assert!(!story.fleet.path(".ao-state/.run-on-complete").exists());
    let up = story.fleet.well(&["up"]);
    assert!(up.out.contains("builder    finished"), "{up:?}");

    story.fleet.configure(&blocks(&format!("{PHASES}{THIRD}")));
    story.until_on("p3");
    assert_eq!(story.state("SEQUENCE-COMPLETE"), "");
    let shown = story.fleet.well(&["phase", "show"]);
    assert!(shown.out.contains("→ 2  p3"), "{shown:?}");
    let out_of_range = story.fleet.ao(&["phase", "next"]);
    assert!(out_of_range.code != 0 && out_of_range.err.contains("0 `p1`, 1 `p2`, 2 `p3`"));

    for agent in ["builder", "adversary"] {
        assert_eq!(story.phases(agent)[..3], ["p1", "p2", "p3"]);
        let mut all = story.heard(agent, "submit");
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "no ping twice: {all:?}");
    }
    assert_eq!(story.reports(), 1);
}

/// A small generator, so that a failure can be told by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

impl Loop {
    /// Kills the watchdog, the server or both, after a moment; a person says `up` if nobody is left.
    fn strike(&self, dice: &mut Dice) {
        let (watchdog, server) = (self.fleet.status().watchdog(), self.fleet.server_pid());
        std::thread::sleep(Duration::from_millis(dice.below(600)));
        let what = dice.below(3);
        let both = what == 2;
        watchdog.filter(|_| what == 0 || both).into_iter().for_each(kill);
        server.filter(|_| what == 1 || both).into_iter().for_each(kill);
        if both {
            self.fleet.until("the fleet is up again", |_| {
                (self.fleet.ao(&["up"]).code == 0).then_some(())
            });
        }
        self.fleet.until("a watchdog is at work", Status::watchdog);
    }
}

#[test]
fn kills_at_any_moment_come_to_the_same_end() {
    let seed = std::env::var("AO_LOOP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut dice = Dice(seed);
    let story = Loop::new();
    story.fleet.well(&["up"]);
    story.until_on("p1");
    story.fleet.until("the branch was looked at", |_| {
        (!story.state("state/handoff.json").is_empty()).then_some(())
    });
    story.fleet.write(".ao-state/.run-on-complete", "");
    story.commit("builder", "claim: the parser", &[]);
    story.strike(&mut dice);
    story.fleet.until("the claim has a fate", |_| {
        let unknown = story.fleet.whys("adversary", "not_sent");
        let unknown = unknown.iter().any(|why| why.contains("its fate is unknown"));
        (unknown || story.pings("adversary", "claim: the parser") == 1).then_some(())
    });
    story.done("p1");
    story.strike(&mut dice);
    story.until_on("p2");
    story.done("p2");
    story.strike(&mut dice);
    story.until_complete();
    story.fleet.until("the report was made", |_| (story.reports() > 0).then_some(()));
    assert_eq!(story.reports(), 1, "seed {seed}");
    assert!(story.pings("adversary", "claim: the parser") <= 1, "seed {seed}");
    for agent in ["builder", "adversary"] {
        assert_eq!(story.phases(agent), ["p1", "p2"], "seed {seed}");
    }
}

/// An ssh server on loopback that lets this user in by one key, ended on drop.
struct SshServer {
    child: std::process::Child,
    command: String,
    port: u16,
}

impl SshServer {
    /// `None` with the reason where there is no ssh server to start.
    fn start(dir: &Path) -> Result<Self, String> {
        let sshd =
            which::which_in("sshd", Some("/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"), dir)
                .map_err(|_| "sshd is not installed".to_owned())?;
        // As root it wants this folder, which its service would make.
        if rustix::process::getuid().is_root() && std::fs::create_dir_all("/run/sshd").is_err() {
            return Err("sshd needs /run/sshd".to_owned());
        }
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.join(key))
                .output();
            made.map_err(|error| format!("ssh-keygen: {error}"))?;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| dir.join(name).display().to_string();
        std::fs::write(
            dir.join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
                 PermitRootLogin prohibit-password\n",
                at("host"),
                at("user.pub")
            ),
        )
        .unwrap();
        let child = Command::new(sshd)
            .args(["-D", "-f", &at("sshd_config"), "-E", &at("sshd.log")])
            .spawn()
            .map_err(|error| format!("sshd: {error}"))?;
        let command = format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            at("user")
        );
        eventually("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Ok(Self { child, command, port })
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it is skipped")]
fn a_branch_behind_ssh_is_fetched_with_the_persons_own_ssh_set_up() {
    let story = Loop::new();
    let dir = story.fleet.path("ssh");
    std::fs::create_dir(&dir).unwrap();
    let server = match SshServer::start(&dir) {
        Ok(server) => server,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let remote = story.fleet.path("remote.git");
    let url = format!("ssh://{}@127.0.0.1:{}{}", user.trim(), server.port, remote.display());
    // The builder's clone is the one that is watched; the adversary's pushes by path.
    story.git(&story.side("builder"), "builder", &["remote", "set-url", "origin", &url]);
    let mut up = story.fleet.command(&["up"]);
    let said = story.fleet.finish(up.env("GIT_SSH_COMMAND", &server.command));
    assert_eq!(said.code, 0, "{said:?}");
    story.until_on("p1");
    story.fleet.until("the branch was looked at", |_| {
        (!story.state("state/handoff.json").is_empty()).then_some(())
    });
    story.commit("adversary", "review: read over ssh", &[]);
    story.until_pinged("builder", "review: read over ssh");
    let failed = story.fleet.whys("", "handoff");
    assert!(failed.iter().all(|why| !why.contains("fail")), "{failed:?}");
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
fn a_claim_is_typed_soon_after_its_commit() {
    let claims = std::env::var("AO_PINGS").ok().and_then(|count| count.parse().ok());
    let story = Loop::new();
    story.fleet.well(&["up"]);
    story.until_on("p1");
    story.fleet.until("the branch was looked at", |_| {
        (!story.state("state/handoff.json").is_empty()).then_some(())
    });
    let mut waits: Vec<u64> = Vec::new();
    for number in 0..claims.unwrap_or(2) {
        story.fleet.until("the adversary is idle", |status| {
            (status.state("adversary") == "idle").then_some(())
        });
        let subject = format!("claim: part {number}.");
        let begun = ao::sys::clock::now().mono.0;
        story.commit("builder", &subject, &[]);
        story.until_pinged("adversary", &subject);
        let text = std::fs::read_to_string(story.fleet.path("adversary.truth")).unwrap();
        let typed = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|line| {
                line["event"] == "submit" && line["text"].as_str().unwrap().contains(&subject)
            })
            .and_then(|line| line["at_ms"].as_u64())
            .unwrap();
        waits.push(typed - begun);
    }
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    if claims.is_some() {
        eprintln!("commit begun → ping submitted: p50 {} ms, p99 {} ms", at(50), at(99));
    }
}
