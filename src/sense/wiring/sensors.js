// Written by ao at each start of the agent; changes are lost.
import { spawn } from "node:child_process"

const program = "AO"
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
  "tool.execute.before": async (input) => {
    tell("tool.execute.before", input.sessionID, { tool_name: input.tool })
  },
  "tool.execute.after": async (input) => {
    tell("tool.execute.after", input.sessionID, { tool_name: input.tool })
  },
  event: async ({ event }) => {
    try { heard(event) } catch {}
  },
})
