import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { QuartetError } from '../../shared/errors.ts'
import type { Backbone } from '../backbone/backbone-folder.ts'
import { graphFiles } from '../graph/export.ts'
import type { CacheType } from '../runtime/cache-type.ts'

interface Variant {
  readonly file: string
  /** The type of cache that the graph is for. */
  readonly type: CacheType
  /** Makes it from the serving graph. */
  readonly make: (model: Uint8Array) => Promise<Uint8Array>
}

/** Writes a variant of the serving graph into the backbone's folder, unless it is there. Throws `backbone_invalid`. */
export async function writeGraph({ folder }: Backbone, { file, make, type }: Variant): Promise<void> {
  const path = join(folder, file)
  if (await isThere(path)) return
  const model = await make(await readFile(join(folder, graphFiles.serving)))
  const unfinished = `${path}.${process.pid}`
  try {
    await writeFile(unfinished, model)
    await rename(unfinished, path)
  } catch (cause) {
    await rm(unfinished, { force: true }).catch(() => {})
    throw new QuartetError(
      'backbone_invalid',
      `cannot write ${path}, the graph for --cache-type ${type} (${cause instanceof Error ? cause.message : cause}); make the folder writable for one start, or use --cache-type f32, which --device cuda does not have`,
      { cause },
    )
  }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
