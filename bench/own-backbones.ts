import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { note } from '../cli/command/output.ts'
import { type Backbone, openBackbone } from '../model/backbone/backbone-folder.ts'
import { importBackbone } from '../model/import/import.ts'
import { benchBackbone, benchSlug } from './backend.ts'
import { type OwnWeights, type PeerWeights, peerWeights } from './peer-weights.ts'

/** A GGUF file of the peer's and its weights. */
export interface PeerModel extends PeerWeights {
  readonly gguf: string
}

export async function peerModels(ggufs: readonly string[]): Promise<readonly PeerModel[]> {
  const models: PeerModel[] = []
  for (const gguf of ggufs) models.push({ gguf, ...(await peerWeights(gguf)) })
  return models
}

/** The 4-bit weights that can be made of these files, each with the first file that has them. */
export function fourBitFiles(models: readonly PeerModel[]): ReadonlyMap<OwnWeights, string> {
  const files = new Map<OwnWeights, string>()
  for (const { gguf, inFourBits } of models)
    if (inFourBits !== undefined && !files.has(inFourBits)) files.set(inFourBits, gguf)
  return files
}

/** The weights that are held against a file: among `own`, the nearest that read a text as well, if there are any. */
export function heldAgainst({ asGood }: PeerModel, own: readonly OwnWeights[]): OwnWeights | undefined {
  return asGood.find((name) => own.includes(name))
}

/** The benchmarks' backbone in 8 bits, or one in 4 bits that is made of a file now; its folder goes with `until`. */
export async function ownBackbone(gguf: string | undefined, until: AsyncDisposableStack): Promise<Backbone> {
  if (gguf === undefined) return await benchBackbone()
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  until.defer(() => rm(folder, { recursive: true, force: true }))
  const destination = join(folder, 'backbone')
  note(`importing ${gguf} in q4`)
  await importBackbone({ path: gguf, slug: benchSlug, weights: 'q4', destination })
  return await openBackbone(destination)
}
