import { spawn } from 'node:child_process'
import { accessSync, constants, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'

/**
 * `npm test`: the checks of one phase run at once, as the end-to-end tests wait more than they compute. The first of a
 * phase prints as it goes, the others when they have ended. The next phase begins when all have passed.
 */
const phases: readonly (readonly (readonly [command: string, ...args: string[]])[])[] = [
  [
    ['npm', 'run', 'lint'],
    ['npm', 'run', 'types'],
  ],
  [
    ['vitest', 'run', '--project', 'node', '--project', 'process'],
    ['vitest', 'run', '--project', 'edge'],
    ['vitest', 'run', '--project', 'e2e'],
  ],
]

/** Most of the processes that tests start would otherwise spend their first second on compiling. */
const env = {
  ...process.env,
  NODE_COMPILE_CACHE: join(import.meta.dirname, '../node_modules/.cache/compiled'),
}

/** The worker's tests write thousands of small databases, each to the disk for good. Absent where memory has no room for them. */
function memoryFolder(): string | undefined {
  const folder = '/dev/shm'
  const leastBytes = 2 * 1024 ** 3
  try {
    accessSync(folder, constants.W_OK)
    const { bavail, bsize } = statfsSync(folder)
    return bavail * bsize >= leastBytes ? folder : undefined
  } catch {
    return undefined
  }
}

const folder = memoryFolder()
const inMemory = folder === undefined ? env : { ...env, TMPDIR: folder }

interface Ended {
  readonly name: string
  readonly status: number | string
  readonly seconds: number
}

function check(words: readonly [string, ...string[]], isFirst: boolean): Promise<Ended> {
  const [command, ...args] = words
  const name = words.join(' ')
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: words.includes('edge') ? inMemory : env,
      stdio: ['ignore', isFirst ? 'inherit' : 'pipe', isFirst ? 'inherit' : 'pipe'],
    })
    const printed: Buffer[] = []
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (piece: Buffer) => {
        printed.push(piece)
      })
    child.once('error', reject)
    child.once('close', (code, signal) => {
      process.stdout.write(Buffer.concat(printed))
      resolve({ name, status: code ?? signal ?? 'unknown', seconds: (performance.now() - start) / 1000 })
    })
  })
}

for (const phase of phases) {
  const ended = await Promise.all(phase.map((command, at) => check(command, at === 0)))
  for (const { name, seconds, status } of ended)
    console.log(`${status === 0 ? 'passed' : `FAILED (${status})`} in ${seconds.toFixed(0)} s: ${name}`)
  if (ended.every(({ status }) => status === 0)) continue
  process.exitCode = 1
  break
}
