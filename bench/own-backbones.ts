import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { note } from '../cli/command/output.ts'
import { type Backbone, openBackbone } from '../model/backbone/backbone-folder.ts'
import { importBackbone } from '../model/import/import.ts'
import { benchBackbone, benchSlug } from './backend.ts'
import { type OwnWeights, type PeerWeights, peerWeights } from './peer-weights.ts'

/** A GGUF file of the peer's, and Quartet's weights that are held against it. */
export interface HeldFile extends PeerWeights {
  readonly gguf: string
  readonly held: OwnWeights | undefined
}

/** The files with what is held against each: among `own`, the nearest that reads a text as well. */
export async function heldFiles(
  ggufs: readonly string[],
  own: readonly OwnWeights[],
): Promise<readonly HeldFile[]> {
  const files: HeldFile[] = []
  for (const gguf of ggufs) {
    const weights = await peerWeights(gguf)
    files.push({ gguf, ...weights, held: weights.asGood.find((name) => own.includes(name)) })
  }
  return files
}

/** The 4-bit weights that can be made of these files, each with the first file that has them. */
export async function fourBitFiles(ggufs: readonly string[]): Promise<ReadonlyMap<OwnWeights, string>> {
  const files = new Map<OwnWeights, string>()
  for (const gguf of ggufs) {
    const { inFourBits } = await peerWeights(gguf)
    if (inFourBits !== undefined && !files.has(inFourBits)) files.set(inFourBits, gguf)
  }
  return files
}

/** Backbones that are made for one comparison; their folders go when this is disposed of. */
export class OwnBackbones implements AsyncDisposable {
  readonly #folders: string[] = []

  /** The benchmarks' backbone in 8 bits, or one in 4 bits that is made of a file now. */
  async open(gguf: string | undefined): Promise<Backbone> {
    if (gguf === undefined) return await benchBackbone()
    const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
    this.#folders.push(folder)
    const destination = join(folder, 'backbone')
    note(`importing ${gguf} in q4`)
    await importBackbone({ path: gguf, slug: benchSlug, weights: 'q4', destination })
    return await openBackbone(destination)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true })
  }
}
