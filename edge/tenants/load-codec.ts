import { sha256Hex } from '../../shared/digest.ts'
import { QuartetError } from '../../shared/errors.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import type { Platform } from '../platform.ts'
import type { BackboneRecord } from '../store/records.ts'
import type { ResolvedModel } from './resolve-model.ts'

const maxCodecs = 4

/** A model with its loaded tokenizer. */
export interface ModelWithCodec {
  readonly model: ResolvedModel
  readonly codec: TextCodec
}

/**
 * A backbone's tokenizer: read from KV once per isolate and used as it lies in memory. Its registration checked it; its
 * hash says that it is still the same.
 */
export async function loadCodec(
  { tokenizer }: BackboneRecord,
  { caches: { codecs }, store }: Pick<Platform, 'caches' | 'store'>,
): Promise<TextCodec> {
  const known = codecs.get(tokenizer)
  if (known !== undefined) return known
  const bytes = await store.tokenizer(tokenizer)
  if (bytes === undefined)
    throw new QuartetError('node_unavailable', "the model's tokenizer has not arrived here yet; retry")
  if ((await sha256Hex(bytes)) !== tokenizer)
    throw new QuartetError(
      'node_unavailable',
      `the tokenizer ${tokenizer} in storage is damaged; register its backbone again`,
    )
  // A request that read it at the same time may have it by now.
  const codec = codecs.get(tokenizer) ?? new TextCodec(readTables(bytes))
  const [oldest] = codecs.size >= maxCodecs && !codecs.has(tokenizer) ? codecs.keys() : []
  if (oldest !== undefined) codecs.delete(oldest)
  codecs.set(tokenizer, codec)
  return codec
}
