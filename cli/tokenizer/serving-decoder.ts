import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { backboneCodec } from '../../model/import/backbone-tokenizer.ts'

/** Token ids as text, without control tokens. */
export async function servingDecoder(backbone: Backbone): Promise<(ids: readonly number[]) => string> {
  const { vocabulary } = await backboneCodec(backbone)
  return (ids) => vocabulary.text(ids)
}
