"""One published version of the client against a running server; each line it prints is one thing that held.

Arguments: URL, key, another organisation's key, the admin's key, a key that demands signatures, its secret, and `ao` with what it needs to approve.
"""

import inspect
import subprocess
import sys
import threading
import time

import requests
from ascend import AscendClient
from ascend import exceptions

url, key, foreign_key, admin_key, signed_key, secret, *ao = sys.argv[1:]


def client(key, agent):
    return AscendClient(api_key=key, agent_id=agent, agent_name=agent, api_url=url)


def held(what, holds, seen=None):
    if not holds:
        sys.exit(f"does not hold: {what}; seen: {seen!r}")
    print(what, flush=True)


def word(decision):
    return str(getattr(decision.decision, "value", decision.decision))


def refused(what, kind, text, call):
    try:
        answer = call()
    except kind as error:
        held(what, text in str(error), str(error))
    else:
        sys.exit(f"not refused: {what}; answer {answer!r}")


def answer_when_asked(verb, rest=()):
    """A person at another terminal, who answers what waits."""

    def run():
        end = time.monotonic() + 20
        while time.monotonic() < end:
            listed = subprocess.run([*ao, "approvals", "--json"], capture_output=True, text=True, check=True)
            import json

            for approval in json.loads(listed.stdout)["approvals"]:
                if approval["state"] == "pending":
                    subprocess.run([*ao, verb, str(approval["id"]), *rest], check=True, capture_output=True)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


planner = client(key, "planner")
linked = "orchestration_session_id" in inspect.signature(planner.evaluate_action).parameters

planner.test_connection()
held("the connection test passes", True)
registered = planner.register(agent_type="automation", capabilities=["plan"])
again = planner.register(agent_type="automation", capabilities=["plan"])
held("registering twice is no error", True, (registered, again))

root = planner.evaluate_action(
    action_type="orchestrator.plan",
    resource="onboarding",
    wait_for_decision=False,
    **({"orchestration_session_id": "sess-1", "orchestration_depth": 0} if linked else {}),
)
held("a root action is allowed", word(root) == "allowed" and int(root.action_id) > 0, root)
held("its risk is the server's", 0 <= int(root.risk_score) <= 100, root.risk_score)

if linked:
    child = client(key, "worker").evaluate_action(
        action_type="database.write",
        resource="customers",
        orchestration_session_id="sess-1",
        parent_action_id=int(root.action_id),
        orchestration_depth=1,
        wait_for_decision=False,
    )
    held("a child action is allowed", word(child) == "allowed", child)
    refused(
        "depth 6 is refused by the client",
        exceptions.ValidationError,
        "",
        lambda: planner.evaluate_action(action_type="x.y", resource="r", orchestration_depth=6),
    )
    raw = requests.post(
        f"{url}/api/v1/actions/submit",
        headers={"X-API-Key": key},
        json={"action_type": "x.y", "resource": "r", "orchestration_depth": 6},
        timeout=10,
    )
    text = "orchestration_depth must be between 0 and 5"
    held("depth 6 is refused by the server", (raw.status_code, raw.json()) == (422, {"detail": text}), raw.text)
    refused(
        "a foreign parent is refused",
        exceptions.AuthorizationError,
        "parent action not found in this organization",
        lambda: client(foreign_key, "planner").evaluate_action(
            action_type="database.write",
            resource="customers",
            parent_action_id=int(root.action_id),
            orchestration_depth=1,
            wait_for_decision=False,
        ),
    )
    refused(
        "a graft is refused",
        exceptions.AuthorizationError,
        "orchestration session id does not match parent action",
        lambda: planner.evaluate_action(
            action_type="database.write",
            resource="customers",
            orchestration_session_id="sess-2",
            parent_action_id=int(root.action_id),
            orchestration_depth=1,
            wait_for_decision=False,
        ),
    )

def signed(secret):
    signer = AscendClient(api_key=signed_key, agent_id="signer", agent_name="signer", api_url=url, signing_secret=secret)
    parameters = {"grüße 😀": [1e16, 2e-07, -0.0, 10], "b/c": {"z": None, "Z": True}}
    return signer.evaluate_action(
        action_type="database.write", resource="t\x7f", parameters=parameters, wait_for_decision=False
    )


decision = signed(secret)
try:
    seen = signed("another secret")
except exceptions.AuthenticationError as error:
    seen = error
fits = word(decision) == "allowed" and isinstance(seen, exceptions.AuthenticationError)
held("a signature is checked", fits, (decision, seen))

planner.log_action_completed(root.action_id, result={"rows": 1}, duration_ms=5)
details = requests.get(f"{url}/api/v1/actions/{root.action_id}", headers={"X-API-Key": key}, timeout=10).json()
held("an outcome is recorded", details["outcome"] == "done", details)


def ask_person(resource, seconds=20):
    return planner.evaluate_action(
        action_type="database.write",
        resource=resource,
        context={"require_human_approval": True},
        wait_for_decision=True,
        timeout=seconds,
    )


person = answer_when_asked("approve")
decision = ask_person("approved-table")
person.join()
held("waiting returns when a person approves", word(decision) == "allowed", decision)

person = answer_when_asked("deny", ["--why", "not today"])
decision = ask_person("denied-table")
person.join()
held("waiting returns when a person refuses", word(decision) == "denied" and "not today" in str(decision.reason), decision)

decision = ask_person("forgotten-table")
held("an approval that nobody gave is denied", word(decision) == "denied", decision)

admin = client(admin_key, "ops")
hook = admin.configure_webhook(url="https://hooks.invalid/x", events=["agent.trust_changed"])
changed = admin.update_webhook(str(hook["webhook_id"]), events=["agent.trust_changed", "policy.violation"], secret="sixteen bytes or more")
listed = admin.list_webhooks()
admin.delete_webhook(str(hook["webhook_id"]))
fits = len(listed) == 1 and len(changed.events) == 2 and hook["secret"] and not admin.list_webhooks()
held("a webhook is set up, changed, listed and taken off", fits, (hook, changed, listed))

if hasattr(admin, "register_mcp_server"):
    server = admin.register_mcp_server(server_name="files", blocked_tools=["rm"])["server"]
    edge = admin.register_mcp_topology("planner", [server["id"]])
    held("an MCP server is registered as a worker", edge["worker_agent_ids"] == ["mcp:files"], (server, edge))
    admin.deactivate_mcp_server("files", reason="an incident")
    try:
        seen = word(planner.evaluate_action(action_type="x.y", resource="r", mcp_server_name="files", wait_for_decision=False))
    except exceptions.AuthorizationError as error:
        seen = str(error)
    held("an action of a deactivated server is refused", seen == "denied" or "deactivated" in seen, seen)
    admin.activate_mcp_server("files")

status = requests.get(f"{url}/api/sdk/kill-switch/status", headers={"X-API-Key": key}, timeout=10).json()
held("the kill switch is off", status["blocked"] is False and status["active"] is False, status)
headers = {"X-API-Key": admin_key}
body = {"reason": "a test of the switch"}
requests.post(f"{url}/api/billing/kill-switch/1/trigger", headers=headers, json=body, timeout=30).raise_for_status()
decision = planner.evaluate_action(action_type="file.read", resource="r", wait_for_decision=False)
held("a killed organisation is denied everything", word(decision) == "denied", decision)
if hasattr(planner, "get_pending_commands"):
    told = planner.get_pending_commands()
    fits = len(told) == 1 and told[0]["is_broadcast"] and told == planner.get_pending_commands()
    fits = fits and planner.ack_command(told[0]["command_id"]) and planner.get_pending_commands() == []
    held("a kill is a command until it is acknowledged", fits, told)
if hasattr(planner, "start_kill_switch_polling"):
    planner.start_kill_switch_polling()
    end, seen = time.monotonic() + 20, None
    while time.monotonic() < end and seen is None:
        try:
            planner.evaluate_action(action_type="file.read", resource="r", wait_for_decision=False)
            time.sleep(0.1)
        except Exception as error:
            seen = error
    held("the client sees the kill switch", type(seen).__name__ == "KillSwitchError", seen)
requests.post(f"{url}/api/billing/kill-switch/1/release", headers=headers, json=body, timeout=30).raise_for_status()
print("done", flush=True)
import os

os._exit(0)
