import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LocalState } from '../../cli/local/local-state.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Ports {
  readonly edge: number
  readonly node: number
}

export interface StartOptions {
  readonly home: string
  readonly ports: Ports
  readonly env?: Readonly<Record<string, string>>
  /** Further words of the command line. */
  readonly words?: readonly string[]
}

/** A `quartet start` as a person runs it: a process, its output, and how it ended. */
export interface StartedProcess {
  readonly process: ChildProcess
  readonly output: () => { readonly stdout: string; readonly stderr: string }
  readonly exited: Promise<number | null>
}

export function quartetStart(options: StartOptions): StartedProcess {
  return startedBy([process.execPath, main, 'start', ...(options.words ?? [])], options)
}

/** The same through `npm start`; npm is the process. */
export function npmStart(options: StartOptions): StartedProcess {
  return startedBy(['npm', 'start', '--', ...(options.words ?? [])], options)
}

function startedBy(
  [command, ...words]: readonly [string, ...string[]],
  { home, ports, env = {} }: StartOptions,
): StartedProcess {
  const child = spawn(command, words, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      QUARTET_HOME: home,
      QUARTET_EDGE_PORT: String(ports.edge),
      QUARTET_NODE_PORT: String(ports.node),
      // More threads wait busily for each other while the other tests need the cores.
      QUARTET_THREADS: '1',
      ...env,
    },
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text
  })
  const exited = once(child, 'close').then(([code]): number | null => code)
  return { process: child, output: () => ({ ...said }), exited }
}

/** Waits for `Quartet is ready` and all that is printed with it. Throws with the output when the process ends first. */
export async function untilReady(started: StartedProcess): Promise<void> {
  const ended = started.exited.then((code) => {
    const { stdout, stderr } = started.output()
    throw new Error(`quartet start ended with code ${code} before it was ready\n${stdout}\n${stderr}`)
  })
  const ready = new Promise<void>((resolve) => {
    started.process.stderr?.on('data', () => {
      if (isReady(started)) resolve()
    })
  })
  await Promise.race([ready, ended])
}

function isReady(started: StartedProcess): boolean {
  const { stdout, stderr } = started.output()
  return stdout.includes('Quartet is ready') && stderr.includes('Ctrl-C stops everything')
}

export async function stop({ process: child, exited }: StartedProcess): Promise<number | null> {
  child.kill('SIGTERM')
  return exited
}

export async function localState(home: string): Promise<LocalState> {
  return LocalState.parse(JSON.parse(await readFile(join(home, 'local.json'), 'utf8')))
}

/** Ports that nothing listens on now. */
export async function freePorts(): Promise<Ports> {
  const servers = [createServer(), createServer()] as const
  const ports = await Promise.all(
    servers.map(async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const address = server.address()
      if (typeof address !== 'object' || address === null) throw new Error('no port')
      return address.port
    }),
  )
  for (const server of servers) server.close()
  const [edge, node] = ports
  if (edge === undefined || node === undefined) throw new Error('no ports')
  return { edge, node }
}
