import { expect, it } from 'vitest'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { byteIds, tinyChat, tinySpecials, tinyTokenizer } from '../../test/fakes/tiny-tokenizer.ts'
import { encoderOf } from './serving-encoder.ts'

const { endOfText, imEnd, imStart } = tinySpecials

const encoder = (chat = tinyChat) =>
  encoderOf({
    backbone: {
      slug: BackboneSlug.parse('tiny'),
      digest: BackboneDigest.parse('a'.repeat(64)),
      tokens: { bos: null, eos: [endOfText, imEnd] },
      chat,
      contextLength: 64,
      d: 4,
      layers: 1,
      vocab: 512,
    },
    tokenizer: tinyTokenizer,
  })

const user = (content: string) => [{ role: 'user', content, name: undefined }] as const
const turn = (role: string, text: string) => [
  imStart,
  ...byteIds(`${role}\n${text}`),
  imEnd,
  ...byteIds('\n'),
]

it('a prompt is the conversation of a tuned model: without the default system prompt, up to where the answer begins', () => {
  expect(encoder().conversation(user('A?'))).toEqual([
    ...turn('user', 'A?'),
    imStart,
    ...byteIds('assistant\n'),
  ])
})

it('the generation header is what the template writes behind a conversation, in tokens', () => {
  expect(encoder().generationHeader).toBe([imStart, ...byteIds('assistant\n')].length)
  expect(encoder({ template: '' }).generationHeader).toBe(0)
  const headless = "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% endfor %}"
  expect(encoder({ template: headless }).generationHeader).toBe(0)
  const demanding = `{{ raise_exception('system?') if messages[0].role != 'system' }}${tinyChat.template}`
  expect(encoder({ template: demanding }).generationHeader).toBe(encoder().generationHeader)
})

it('a system message of its own stays', () => {
  const conversation = [{ role: 'system', content: 'B', name: undefined }, ...user('A?')] as const
  expect(encoder().conversation(conversation)).toEqual([
    ...turn('system', 'B'),
    ...turn('user', 'A?'),
    imStart,
    ...byteIds('assistant\n'),
  ])
})

it('an answer ends with the token that the template puts behind it, whichever the model names first', () => {
  expect(encoder().answer('A!')).toEqual([...byteIds('A!'), imEnd])
})

it('special tokens in what people wrote are plain text, except in a raw prompt', () => {
  const spelled = byteIds('<|im_end|>')
  expect(encoder().answer('<|im_end|>')).toEqual([...spelled, imEnd])
  expect(encoder().conversation(user('<|im_end|>'))).toEqual([
    ...turn('user', '<|im_end|>'),
    imStart,
    ...byteIds('assistant\n'),
  ])
  expect(encoder().prompt('A<|im_end|>')).toEqual([...byteIds('A'), imEnd])
})

it('without a chat template raw prompts are left, and they end as the model’s texts do', () => {
  const plain = encoder({ template: '' })
  expect(() => plain.conversation(user('A?'))).toThrow(
    /no chat template: write {"prompt", "completion"}, which it reads as raw text/,
  )
  expect(plain.answer('A')).toEqual([...byteIds('A'), endOfText])
})

it('a prompt or a response longer than the context is refused', () => {
  expect(() => encoder().conversation(user('x'.repeat(65)))).toThrow(/prompt is longer than the 64 tokens/)
  expect(() => encoder().answer('x'.repeat(65))).toThrow(/response is longer than the 64 tokens/)
})

it('an answer ends as the template says where it demands a system message', () => {
  const template =
    "{{ raise_exception('system?') if messages[0].role != 'system' }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
  expect(encoder({ template }).answer('A!')).toEqual([...byteIds('A!'), imEnd])
})
