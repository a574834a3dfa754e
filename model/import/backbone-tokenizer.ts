import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compileTokenizer } from '../../shared/tokenizer/compile-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { isCompiledTokenizer, readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import type { Backbone } from '../backbone/backbone-folder.ts'
import { requireJsonFile } from '../backbone/json-file.ts'

/** An import compiles tokenizer.json into it. */
export const compiledTokenizerName = 'tokenizer.bin'

/** A backbone's compiled tokenizer. It is compiled anew where the folder has tables of another format, or none. */
export async function compiledTokenizer({ folder, manifest }: Backbone): Promise<Uint8Array> {
  if (Object.hasOwn(manifest.files, compiledTokenizerName)) {
    const bytes = await readFile(join(folder, compiledTokenizerName))
    if (isCompiledTokenizer(bytes)) return bytes
  }
  return compileTokenizer(await requireJsonFile(join(folder, 'tokenizer.json'), JSON.parse))
}

export async function backboneCodec(backbone: Backbone): Promise<TextCodec> {
  return new TextCodec(readTables(await compiledTokenizer(backbone)))
}
