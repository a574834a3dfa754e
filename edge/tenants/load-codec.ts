import { QuartetError } from '../../shared/errors.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import type { Platform } from '../platform.ts'
import { type BackboneRecord, storeKeys } from '../store/records.ts'

const maxCodecs = 4

/** A backbone's tokenizer: read from KV and parsed once per isolate, 0.1 to 0.2 s. */
export async function loadCodec(
  { tokenizer }: BackboneRecord,
  { caches: { codecs }, store }: Pick<Platform, 'caches' | 'store'>,
): Promise<TextCodec> {
  const known = codecs.get(tokenizer)
  if (known !== undefined) return known
  const text = await store.get(storeKeys.tokenizer(tokenizer), 'text')
  if (text === null)
    throw new QuartetError('node_unavailable', "the model's tokenizer has not arrived here yet; retry", {
      retryAfterSeconds: 5,
    })
  // A request that read it at the same time may have parsed it by now.
  const codec = codecs.get(tokenizer) ?? new TextCodec(JSON.parse(text))
  const [oldest] = codecs.size >= maxCodecs && !codecs.has(tokenizer) ? codecs.keys() : []
  if (oldest !== undefined) codecs.delete(oldest)
  codecs.set(tokenizer, codec)
  return codec
}
