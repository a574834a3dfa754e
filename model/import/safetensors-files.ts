import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import { requireJsonFile } from '../backbone/json-file.ts'

const indexName = 'model.safetensors.index.json'
/** `model.safetensors.index.json`: which file has each tensor. */
const ShardIndex = z.object({ weight_map: z.record(z.string(), z.string()) })
const shardName = /^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$/
const maxShards = 1000

/**
 * Names of a folder's weight files, sorted. A shard index may only name files that lie in the folder itself.
 * Throws `backbone_invalid`.
 */
export async function weightFiles(folder: string): Promise<string[]> {
  const present = await readdir(folder)
  if (present.includes('model.safetensors')) return ['model.safetensors']
  if (!present.includes(indexName)) {
    const pickle = present.find((name) => /\.(bin|pt|pth)$/.test(name))
    throw invalidBackbone(
      folder,
      pickle === undefined
        ? 'there is neither model.safetensors nor model.safetensors.index.json'
        : `${pickle} is a pickle file, which can run code when read; convert the model to safetensors`,
    )
  }
  const path = join(folder, indexName)
  const names = await shardsOf(path)
  const missing = names.filter((name) => !present.includes(name))
  if (missing.length > 0)
    throw invalidBackbone(
      path,
      `it names ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ` and ${missing.length - 3} more` : ''}, which the folder does not have; download what is missing`,
    )
  return names
}

/** The files that an index names, each once, sorted. Throws `backbone_invalid`. */
export async function shardsOf(path: string): Promise<string[]> {
  const parsed = ShardIndex.safeParse(await requireJsonFile(path))
  if (!parsed.success)
    throw invalidBackbone(
      path,
      'it has no weight_map from names of tensors to names of files; download it again',
    )
  const names = [...new Set(Object.values(parsed.data.weight_map))].sort()
  if (names.length === 0) throw invalidBackbone(path, 'its weight_map is empty; download it again')
  const outside = names.find((name) => !shardName.test(name))
  if (outside !== undefined)
    throw invalidBackbone(path, `“${outside}” is not the name of a safetensors file beside it`)
  if (names.length > maxShards) throw invalidBackbone(path, `it names ${names.length} files`)
  return names
}
