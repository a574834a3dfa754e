import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Backbone } from '../../model/import/backbone-folder.ts'
import { loadTokenizer, parseTokenizer } from '../../model/import/tokenizer.ts'

/** Token ids as text, without control tokens. */
export async function servingDecoder({ folder }: Backbone): Promise<(ids: readonly number[]) => string> {
  const json: unknown = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8'))
  const tokenizer = loadTokenizer(parseTokenizer(json))
  return (ids) => (ids.length === 0 ? '' : tokenizer.decode([...ids], { skip_special_tokens: true }))
}
