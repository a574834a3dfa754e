import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CliFailure } from '../command/failure.ts'
import type { Home } from './home.ts'

/** A long-running child process that leads its own process group and never outlives this process. */
export interface Service {
  readonly name: string
  /** Rejects with what happened, and the log's last lines, when the process ends; never resolves. */
  readonly failed: Promise<never>
  /** Ends the process and whatever it started: SIGTERM, and SIGKILL for what is left after the grace period. */
  stop(): Promise<void>
  /** SIGKILL, at once. */
  kill(): void
}

export interface ServiceOptions {
  /** Names it in messages and names its log. */
  readonly name: string
  /** A TypeScript module, as a URL. */
  readonly entry: URL
  readonly home: Home
  /** Added to this process's environment. Secrets go here: arguments are visible to every user. */
  readonly env: Readonly<Record<string, string>>
  readonly stopGraceMs: number
}

const exitWithParent = fileURLToPath(new URL('./exit-with-parent.ts', import.meta.url))
const shownLogLines = 8

export async function startService({
  name,
  entry,
  home,
  env,
  stopGraceMs,
}: ServiceOptions): Promise<Service> {
  const log = join(home.logs, `${name}.log`)
  await keepPrevious(log)
  const output = await open(log, 'w', 0o600)
  const child = await spawnInto(output.fd, { entry, env }).finally(() => output.close())
  const exited = once(child, 'exit')
  const failed = exited.then(async ([code, signal]): Promise<never> => {
    const how = signal === null ? `exited with code ${code}` : `was ended by ${signal}`
    throw new CliFailure(`the ${name} process ${how}`, {
      remedy: `its log is ${log}`,
      log: await lastLines(log),
    })
  })
  failed.catch(() => undefined)

  const signalGroup = (signal: NodeJS.Signals) => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, signal)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }
  const kill = () => signalGroup('SIGKILL')
  return {
    name,
    failed,
    kill,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      await Promise.race([exited, delay(stopGraceMs, undefined, { ref: false })])
      kill()
      await exited
    },
  }
}

async function spawnInto(
  output: number,
  { entry, env }: Pick<ServiceOptions, 'entry' | 'env'>,
): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--import', exitWithParent, fileURLToPath(entry)], {
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
    env: { ...process.env, ...env },
  })
  await once(child, 'spawn')
  return child
}

async function keepPrevious(log: string): Promise<void> {
  try {
    await rename(log, `${log}.previous`)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
}

async function lastLines(log: string): Promise<readonly string[]> {
  const text = await readFile(log, 'utf8').catch(() => '')
  return text.trimEnd().split('\n').slice(-shownLogLines)
}
