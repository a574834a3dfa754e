import { createWriteStream } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { QuartetError } from '../../shared/errors.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import type { PinnedFile } from './origin.ts'

export interface PinnedDownload {
  readonly file: PinnedFile
  /** The path of the whole file. The bytes that have arrived so far lie in `{target}.part`. */
  readonly target: string
  /** The file's bytes from `offset` on. */
  open(offset: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  readonly onBytes?: ((done: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** Whether the file is there with its pinned size and hash. */
export async function isWhole(path: string, { bytes, sha256 }: PinnedFile): Promise<boolean> {
  return (await sizeOf(path)) === bytes && (await fileSha256(path)) === sha256
}

/**
 * Downloads a file, going on where an earlier attempt stopped, and gives it its name when its hash is right.
 * Throws `digest_mismatch` (and forgets the bytes) when it is not.
 */
export async function downloadPinned(download: PinnedDownload): Promise<void> {
  const { file, target } = download
  if (await isWhole(target, file)) return
  await mkdir(dirname(target), { recursive: true })
  const part = `${target}.part`
  while ((await sizeOf(part)) !== file.bytes) {
    const before = await sizeOf(part)
    try {
      await receive(download, part)
      if ((await sizeOf(part)) < file.bytes) throw new Error(`the connection closed early (${file.name})`)
    } catch (error) {
      if (download.signal?.aborted || isStorageError(error)) throw error
      if (error instanceof TooLong) {
        await rm(part, { force: true })
        if (before === 0) throw error
      } else if ((await sizeOf(part)) <= before) throw error
    }
  }
  const found = await fileSha256(part)
  if (found !== file.sha256) {
    await rm(part, { force: true })
    throw new QuartetError(
      'digest_mismatch',
      `${file.name} has the SHA-256 ${found} instead of ${file.sha256}`,
    )
  }
  await flush(part)
  await rename(part, target)
}

const stallMs = 30_000

/**
 * The answer has more bytes than the file: it is another file, or it starts at the beginning although a later part was
 * asked for.
 */
class TooLong extends Error {}

/** Appends to `part` what arrives. Throws when nothing arrives for 30 s or more than the file's bytes do. */
async function receive({ file, open, onBytes, signal }: PinnedDownload, part: string): Promise<void> {
  let done = await sizeOf(part)
  if (done > file.bytes) {
    await rm(part)
    done = 0
  }
  const stalled = new AbortController()
  const stop = signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal])
  const timer = setTimeout(() => stalled.abort(new Error(`no data for ${stallMs / 1000} s`)), stallMs)
  try {
    const body = await open(done, stop)
    const count = new Transform({
      transform(chunk: Uint8Array, _encoding, callback) {
        timer.refresh()
        done += chunk.length
        if (done > file.bytes) return callback(new TooLong(`${file.name} is longer than ${file.bytes} bytes`))
        onBytes?.(done)
        callback(null, chunk)
      },
    })
    await pipeline(body, count, createWriteStream(part, { flags: 'a' }), { signal: stop })
  } catch (error) {
    throw stalled.signal.aborted ? stalled.signal.reason : error
  } finally {
    clearTimeout(timer)
  }
}

/** A failure of the disk, which no other source would mend. */
export function isStorageError(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    ['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EPERM', 'EIO'].includes(String(error.code))
  )
}

/** Bytes of a file; 0 where there is none. */
export function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  )
}

async function flush(path: string): Promise<void> {
  const handle = await open(path)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
