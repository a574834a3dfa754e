import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { WorkerSettings } from '../../cli/local/worker-process.ts'

/** The worker in workerd, as a process of its own at a socket: its log can be read, and clients can reset. */
export interface WorkerProcess extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Lines of its log so far. */
  readonly log: readonly LogLine[]
  /** Ends it without a word, the runtime with it. */
  readonly kill: () => Promise<void>
}

interface LogLine {
  readonly event: string
  readonly [field: string]: unknown
}

type Settings = Omit<WorkerSettings, 'QUARTET_EDGE_PORT' | 'QUARTET_EDGE_STATE'>

/** `state`: a folder that outlives it; its own, which goes with it, when absent. */
export async function startWorkerProcess(settings: Settings, state?: string): Promise<WorkerProcess> {
  const stateFolder = state ?? (await mkdtemp(join(tmpdir(), 'quartet-worker-')))
  const port = await freePort()
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('../../cli/local/worker-process.ts', import.meta.url))],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      // A group of its own, so that the runtime, its child, can be killed with it.
      detached: true,
      env: {
        ...process.env,
        ...settings,
        QUARTET_EDGE_PORT: String(port),
        QUARTET_EDGE_STATE: stateFolder,
      },
    },
  )
  const log: LogLine[] = []
  const lines = createInterface({ input: child.stdout })
  const ready = new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the worker process ended with ${code}`)))
    lines.on('line', (line) => {
      if (line.startsWith('edge: ')) resolve()
      else if (line.startsWith('{')) log.push(JSON.parse(line) as LogLine)
    })
  })
  await ready
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    log,
    async [Symbol.asyncDispose]() {
      await stop(child)
      if (state === undefined) await rm(stateFolder, { recursive: true, force: true })
    },
    async kill() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      process.kill(-child.pid, 'SIGKILL')
      await gone
    },
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill()
  await gone
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A request on a socket of its own, which can be reset (RST). */
export interface RawRequest {
  /** All that came back so far. */
  readonly received: () => string
  readonly reset: () => void
}

export async function postRaw(
  port: number,
  { body, headers, path }: { path: string; headers: Readonly<Record<string, string>>; body: unknown },
): Promise<RawRequest> {
  const socket: Socket = connect(port, '127.0.0.1').on('error', () => undefined)
  await once(socket, 'connect')
  let received = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    received += text
  })
  const content = Buffer.from(JSON.stringify(body))
  const head = Object.entries({
    host: 'edge',
    'content-type': 'application/json',
    'content-length': String(content.length),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`POST ${path} HTTP/1.1\r\n${head.join('')}\r\n`)
  socket.write(content)
  return { received: () => received, reset: () => socket.resetAndDestroy() }
}
