// Written by ao at each start of the agent; changes are lost.
import { spawn } from "node:child_process"

const program = "AO"
const bounds = "BOUNDS"
const parents = new Map()
let seq = 0

const tell = (event, session, fields) => {
  try {
    const parent = parents.get(session)
    const payload = {
      hook_event_name: event,
      at_ms: Date.now(),
      seq: seq++,
      session_id: parent ?? session,
      agent_id: parent ? session : undefined,
      ...fields,
    }
    const child = spawn(program, ["hook", "opencode"], { stdio: ["pipe", "ignore", "ignore"] })
    child.on("error", () => {})
    child.stdin.on("error", () => {})
    child.stdin.end(JSON.stringify(payload))
  } catch {}
}

// Whatever goes wrong on the way rejects, and a rejection denies the tool call.
const ask = (event, input, output) => new Promise((resolve, reject) => {
  const parent = parents.get(input.sessionID)
  const payload = {
    hook_event_name: event,
    hook: event,
    at_ms: Date.now(),
    seq: seq++,
    session_id: parent ?? input.sessionID,
    agent_id: parent ? input.sessionID : undefined,
    tool_name: input.tool,
    cwd: process.cwd(),
    input,
    output: { args: output?.args },
  }
  const fail = (why) => reject(new Error(`ao: denied, ${why}`))
  const child = spawn(program, ["hook", "opencode", "--governed", bounds], { stdio: ["pipe", "pipe", "pipe"] })
  let out = "", err = ""
  child.stdout.on("data", (data) => { out += data })
  child.stderr.on("data", (data) => { err += data })
  child.on("error", (error) => fail(error.message))
  child.stdin.on("error", () => {})
  child.on("close", (code) => {
    if (event !== "tool.execute.before") return resolve({})
    try { resolve(JSON.parse(out)) } catch { fail(err.trim() || `its hook ended with ${code}`) }
  })
  child.stdin.end(JSON.stringify(payload))
})

const heard = (event) => {
  const said = event.properties ?? {}
  const session = said.sessionID ?? said.info?.id
  if (event.type === "session.created") {
    if (said.info?.parentID) parents.set(session, said.info.parentID)
    else tell("session.created", session, {})
  } else if (event.type === "session.status") {
    const status = said.status ?? {}
    if (!parents.has(session)) {
      tell(status.type, session, { message: status.message, next_ms: status.next })
    }
  } else if (event.type === "session.error") {
    const error = said.error ?? {}
    if (!parents.has(session)) {
      tell("session.error", session, {
        error: error.name, status: error.data?.statusCode, message: error.data?.message,
      })
    }
  } else if (/^(permission|question)\.(asked|replied|rejected)$/.test(event.type)) {
    tell(event.type, session, { tool_name: said.permission })
  }
}

export const AoSensors = async () => ({
  "tool.execute.before": async (input, output) => {
    const said = await ask("tool.execute.before", input, output)
    if (said.decision !== "allow") throw new Error(said.reason ?? "ao: denied")
  },
  "tool.execute.after": async (input) => {
    try { await ask("tool.execute.after", input, {}) } catch {}
  },
  event: async ({ event }) => {
    try { heard(event) } catch {}
  },
})
