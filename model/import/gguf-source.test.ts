import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toByteCharacters } from '../../shared/tokenizer/byte-characters.ts'
import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { tinyVocabulary, writeGguf } from '../../test/model-files.ts'
import { openGgufSource } from './gguf-source.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-gguf-source-'))
})
afterAll(() => rm(folder, { recursive: true }))

const at = (name: string) => join(folder, `${name}.gguf`)

test('a BOM in tokens, merges and the template is kept down to the token ids', async () => {
  const bom = [...toByteCharacters(new TextEncoder().encode('\ufeff'))]
  const tokens = tinyVocabulary
    .with(310, bom.slice(0, 2).join(''))
    .with(311, bom.join(''))
    .with(312, `${bom.join('')}!`)
  const merges = [`${bom[0]} ${bom[1]}`, `${bom[0]}${bom[1]} ${bom[2]}`, `${bom.join('')} !`]
  await writeGguf(at('bom-tokens'), {
    metadata: {
      'tokenizer.ggml.tokens': tokens.with(300, '\ufeff<|end|>'),
      'tokenizer.ggml.merges': merges,
      'tokenizer.ggml.bos_token_id': 300,
      'tokenizer.chat_template': '\ufeff{{ bos_token }}{{ messages[0].content }}',
    },
  })
  const source = await openGgufSource(at('bom-tokens'))
  const codec = TextCodec.compile(source.tokenizer)
  const encoded = (text: string) => codec.encodeRendered(text, { tokens: 64, param: 'prompt' })
  expect(encoded('\ufeff!')).toEqual([312])
  expect(encoded('h')).toHaveLength(1)
  const backbone = { chat: source.chat, tokens: source.tokens }
  const asked = [{ role: 'user', content: 'h', name: undefined }] as const
  expect(new ChatTemplate(backbone, codec).encode(asked, { tuned: true, room: 64 })).toEqual([
    311,
    300,
    ...encoded('h'),
  ])
  await source.close()
})

test('token ids that are -1 as 32 bits stand for none, and those beyond the model are refused by key', async () => {
  await writeGguf(at('ids'), {
    metadata: { 'tokenizer.ggml.bos_token_id': 2 ** 32 - 1, 'tokenizer.ggml.eot_token_id': 2 ** 32 - 1 },
  })
  const source = await openGgufSource(at('ids'))
  expect(source.tokens).toEqual({ bos: null, eos: [302, 300] })
  await source.close()
  await writeGguf(at('ids'), { metadata: { 'tokenizer.ggml.eot_token_id': 320 } })
  await expect(openGgufSource(at('ids'))).rejects.toThrow(
    /tokenizer.ggml.eot_token_id names token 320, and the model has 320, from 0 on/,
  )
})

test('a blank chat template hides none that has a name, and one that is no text is refused', async () => {
  const named = {
    'tokenizer.chat_template': '',
    'tokenizer.chat_template.default': 'd{{ messages[0].content }}',
  }
  await writeGguf(at('named'), { metadata: named })
  const source = await openGgufSource(at('named'))
  expect(source.chat.template).toBe('d{{ messages[0].content }}')
  await source.close()
  await writeGguf(at('named'), { metadata: { ...named, 'tokenizer.chat_template.default': 7 } })
  await expect(openGgufSource(at('named'))).rejects.toThrow(/tokenizer.chat_template.default is not a text/)
})
