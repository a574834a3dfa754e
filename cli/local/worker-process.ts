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
  QUARTET_LOG_LEVEL: z.string().optional(),
  QUARTET_OTLP_ENDPOINT: z.string().optional(),
  QUARTET_OTLP_HEADERS: z.string().optional(),
  QUARTET_TRACE_RATIO: z.string().optional(),
})
export type WorkerSettings = z.infer<typeof WorkerSettings>

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
