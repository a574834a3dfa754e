import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { constants, existsSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { CliFailure } from '../cli/command/failure.ts'
import { homeAt } from '../cli/local/home.ts'
import { readJsonFile } from '../cli/local/json-file.ts'
import { localHost } from '../cli/local/port.ts'
import { openCache } from '../model/backbone/cache.ts'
import { BackboneShape } from '../shared/backbone.ts'
import { BackboneDigest, BackboneSlug } from '../shared/ids.ts'
import { freePorts } from '../test/e2e/quartet-start.ts'
import { benchSlug } from './backend.ts'
import { type Checkout, entryOf } from './checkout.ts'
import type { ManifestShape } from './random-adapter.ts'

/** A checkout's whole local stack, started as a person does it: by its own `quartet start`. */
export interface StartedCheckout extends AsyncDisposable {
  readonly edge: string
  readonly adminKey: string
  readonly backbone: ManifestShape
  /** The process of `quartet start`, which is the parent of all others. */
  readonly pid: number
  /** Rejects with its last words when it ends; never resolves. */
  readonly failed: Promise<never>
}

const weights = 'q8'
/** The first start converts the model and compiles the demo's adapters. */
const startMs = 900_000
const pollMs = 250
/** Longer than `quartet start` gives its parts to end. */
const stopMs = 30_000
/** What a start that was told twice may still take. */
const killMs = 5_000
const shownLines = 16

/** What adapters must know of the backbone, whatever else the manifest of that commit holds. */
const Manifest = z.object({
  slug: BackboneSlug,
  digest: BackboneDigest,
  config: z.object(BackboneShape.shape),
})
const Secrets = z.object({ adminKey: z.string().min(1) })

export interface Ending {
  /** Gives up what is being done. */
  readonly signal: AbortSignal
  /** Waits no longer for what is ending. */
  readonly hurry: AbortSignal
}

/**
 * Starts a checkout with a home, a cache and ports of its own; it makes its backbone itself, of the files that this machine's
 * cache has. All of it is removed when it is disposed of. Settings go by environment variables: a commit that does not know one
 * is not stopped by it.
 */
export async function startCheckout(
  { folder }: Checkout,
  { hurry, signal }: Ending,
): Promise<StartedCheckout> {
  await using starting = new AsyncDisposableStack()
  const scratch = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  // Parts that were ended at once may still write for a moment.
  starting.defer(() => rm(scratch, { recursive: true, force: true, maxRetries: 10 }))
  const home = homeAt(join(scratch, 'home'))
  const cache = openCache({ QUARTET_CACHE: join(scratch, 'cache') })
  await copySource(cache.source(benchSlug))
  const ports = await freePorts()
  signal.throwIfAborted()
  const child = spawn(process.execPath, [entryOf(folder), 'start'], {
    cwd: folder,
    // Ctrl-C comes to this process alone, which ends it.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      QUARTET_HOME: home.folder,
      QUARTET_CACHE: cache.root,
      QUARTET_EDGE_PORT: String(ports.edge),
      QUARTET_NODE_PORT: String(ports.node),
      QUARTET_LOCAL_NODES: '1',
      QUARTET_WEIGHTS: weights,
      // `quartet start` ends with the npm that started it: so it does not outlive this process, however that goes.
      npm_lifecycle_event: 'bench',
    },
  })
  const failed = whenEnded(child, folder)
  starting.defer(() => stop(child, { failed, hurry }))
  // It is written once the first answers are there.
  await untilThere(home.localState, { failed, folder, signal })
  const manifest = join(cache.backbone(benchSlug, weights), 'manifest.json')
  const backbone = await readJsonFile(manifest, Manifest).catch(() => undefined)
  const secrets = await readJsonFile(home.secrets, Secrets).catch(() => undefined)
  if (secrets === undefined || backbone === undefined || child.pid === undefined)
    throw new CliFailure(`${folder} keeps its secrets or its backbone where this commit does not look`, {
      remedy: 'compare with a later commit',
    })
  const started = starting.move()
  return {
    edge: `http://${localHost}:${ports.edge}`,
    adminKey: secrets.adminKey,
    backbone,
    pid: child.pid,
    failed,
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}

/** Copies the model's files, so that nothing is downloaded and another commit cannot change what this machine keeps. */
async function copySource(to: string): Promise<void> {
  const from = openCache().source(benchSlug)
  try {
    await cp(from, to, { recursive: true, mode: constants.COPYFILE_FICLONE })
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause
    throw new CliFailure(`the files that ${benchSlug} is made of are not on this machine: ${from}`, {
      remedy: `get them with quartet backbone pull ${benchSlug}`,
    })
  }
}

function whenEnded(child: ChildProcessByStdio<null, null, Readable>, folder: string): Promise<never> {
  const lines: string[] = []
  createInterface(child.stderr).on('line', (line) => {
    lines.push(line)
    if (lines.length > shownLines) lines.shift()
  })
  const failed = new Promise<never>((_, reject) => {
    child.once('error', reject)
    child.once('close', (code, ended) => {
      reject(
        new CliFailure(
          `${folder}: its quartet start ${ended === null ? `exited with code ${code}` : `was ended by ${ended}`}`,
          { remedy: 'run npm ci in it, then node cli/main.ts start to see it by hand', log: lines },
        ),
      )
    })
  })
  failed.catch(() => undefined)
  return failed
}

interface Waiting extends Pick<Checkout, 'folder'>, Pick<StartedCheckout, 'failed'>, Pick<Ending, 'signal'> {}

async function untilThere(file: string, { failed, folder, signal }: Waiting): Promise<void> {
  const deadline = Date.now() + startMs
  while (!existsSync(file)) {
    if (Date.now() > deadline)
      throw new CliFailure(`${folder}: its quartet start was not ready within ${startMs / 60_000} minutes`, {
        remedy: 'run node cli/main.ts start in it to see it by hand',
      })
    await Promise.race([failed, delay(pollMs, undefined, { signal })])
  }
}

/** As a person ends it: a second time ends all its parts at once. */
async function stop(
  child: ChildProcessByStdio<null, null, Readable>,
  { failed, hurry }: Pick<StartedCheckout, 'failed'> & Pick<Ending, 'hurry'>,
): Promise<void> {
  const ended = failed.catch(() => undefined)
  child.kill('SIGTERM')
  await Promise.race([ended, delay(stopMs, undefined, { ref: false, signal: hurry }).catch(() => undefined)])
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
  const killing = setTimeout(() => child.kill('SIGKILL'), killMs)
  await ended
  clearTimeout(killing)
}
