import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { z } from 'zod'
import { issuesOf } from '../../shared/issues.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import type { BackboneSource, SourceOptions } from './backbone-source.ts'
import { chosenTemplate, type StatedTemplate } from './chat-template.ts'
import { describeConversation, statedTokens } from './conversation.ts'
import { openGguf } from './gguf.ts'
import type { GgufMetadata } from './gguf-header.ts'
import { tokenizerFromGguf } from './gguf-tokenizer.ts'
import { checkTokenizer, tokenizerIn } from './tokenizer.ts'

const tokenId = z.union([z.int(), z.bigint().transform(Number)]).optional()
const Metadata = z.object({
  'tokenizer.ggml.bos_token_id': tokenId,
  'tokenizer.ggml.eos_token_id': tokenId,
  'tokenizer.ggml.eot_token_id': tokenId,
  'tokenizer.ggml.eom_token_id': tokenId,
  'tokenizer.chat_template': z.string().default(''),
})

/** The chat template of a file that has several and no usual one: `tokenizer.chat_template.NAME`. */
function namedTemplate(path: string, metadata: GgufMetadata): StatedTemplate {
  const prefix = 'tokenizer.chat_template.'
  const named = Object.entries(metadata).flatMap(([key, value]) => {
    if (!key.startsWith(prefix)) return []
    if (typeof value !== 'string') throw invalidBackbone(path, `${key} is not a text`)
    return [[key.slice(prefix.length), value] as const]
  })
  return { template: chosenTemplate(new Map(named), path), place: path }
}

/** A GGUF file as a source of a backbone. Throws `backbone_invalid`. */
export async function openGgufSource(path: string, { chat }: SourceOptions = {}): Promise<BackboneSource> {
  const model = await openGguf(path)
  try {
    const parsed = Metadata.safeParse(model.metadata)
    if (!parsed.success) throw invalidBackbone(path, issuesOf(parsed.error))
    const { 'tokenizer.chat_template': usual, ...ids } = parsed.data
    const stated = (name: 'bos' | 'eos' | 'eot' | 'eom') => {
      const key = `tokenizer.ggml.${name}_token_id` as const
      const id = ids[key]
      return statedTokens(id === undefined ? [] : [id], { key, path, vocab: model.config.vocab })
    }
    const [begin] = stated('bos')
    const end = [...stated('eos'), ...stated('eot'), ...stated('eom')]
    const usualKey = `${path}: tokenizer.chat_template`
    const own = () =>
      usual.trim() === '' ? namedTemplate(path, model.metadata) : { template: usual, place: usualKey }
    const { tokenizer, ...conversation } = tokenizerIn(path, () => {
      const tokenizer = tokenizerFromGguf(model.metadata)
      checkTokenizer(tokenizer, model.config.vocab)
      return { tokenizer, ...describeConversation(tokenizer, { begin, end, chat: chat ?? own() }) }
    })
    return {
      tensors: model,
      tokenizer,
      ...conversation,
      origin: async () => ({ kind: 'gguf', name: basename(path), sha256: await partsSha256(model.paths) }),
      close: () => model.close(),
    }
  } catch (error) {
    await model.close()
    throw error
  }
}

/** The hash of one file, or the hash of the list of hashes of several. */
async function partsSha256(paths: readonly string[]): Promise<string> {
  const [path] = paths
  if (paths.length === 1 && path !== undefined) return fileSha256(path)
  const hash = createHash('sha256')
  for (const part of paths) hash.update(`${await fileSha256(part)}  ${basename(part)}\n`)
  return hash.digest('hex')
}
