import { once } from 'node:events'
import process from 'node:process'
import { z } from 'zod'
import { startWorker } from './worker.ts'

/** The edge as a process of its own: settings come by environment. */

export const WorkerSettings = z.object({
  QUARTET_EDGE_PORT: z.coerce.number().int(),
  QUARTET_EDGE_STATE: z.string().min(1),
  QUARTET_NODES: z.string().min(1),
  QUARTET_NODE_SECRET: z.string().min(1),
  QUARTET_ADMIN_KEY: z.string().min(1),
  QUARTET_GATHER_MS: z.string().optional(),
  /** A webhook may be on the machine itself where the machine is one's own. */
  QUARTET_PRIVATE_WEBHOOKS: z.string().optional(),
  QUARTET_TRAINER_LEASE_SECONDS: z.string().optional(),
  QUARTET_LOG_LEVEL: z.string().optional(),
  QUARTET_OTLP_ENDPOINT: z.string().optional(),
  QUARTET_OTLP_HEADERS: z.string().optional(),
  QUARTET_TRACE_RATIO: z.string().optional(),
})
export type WorkerSettings = z.infer<typeof WorkerSettings>

const tellMs = 5_000

/** A log on a full disk loses lines, which are counted; the edge goes on, and tells how many when it can. */
let lost = 0
for (const stream of [process.stdout, process.stderr])
  stream.on('error', () => {
    lost += 1
  })
setInterval(() => {
  if (lost === 0) return
  const lines = lost
  const time = new Date().toISOString()
  process.stdout.write(
    `${JSON.stringify({ time, level: 'warn', event: 'log_lines_dropped', lines })}\n`,
    (error) => {
      if (!error) lost -= lines
    },
  )
}, tellMs).unref()

const { QUARTET_EDGE_PORT, QUARTET_EDGE_STATE, ...given } = WorkerSettings.parse(process.env)
const vars = Object.fromEntries(
  Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
)

const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
const worker = await startWorker({ port: QUARTET_EDGE_PORT, stateFolder: QUARTET_EDGE_STATE, vars })
console.log(`edge: ${worker.url}`)
await stopped
await worker[Symbol.asyncDispose]()
process.exit(0)
