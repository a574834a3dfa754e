import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeHuggingFace } from '../../test/model-files.ts'
import { openHuggingFace } from './huggingface.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'quartet-hf-tokens-'))
})
afterAll(() => rm(root, { recursive: true }))

async function refusal(folder: string): Promise<string> {
  try {
    await (await openHuggingFace(folder)).close()
  } catch (error) {
    if (error instanceof Error) return error.message
  }
  throw new Error(`${folder} was accepted`)
}

async function described(folder: string) {
  const opened = await openHuggingFace(folder)
  await opened.close()
  return { tokens: opened.tokens, template: opened.chat.template }
}

const files = (folder: string) => (name: string, value: unknown) =>
  writeFile(join(root, folder, name), JSON.stringify(value))

test('a chat template is taken from whichever file has it', async () => {
  await writeHuggingFace(join(root, 'templates'))
  const write = files('templates')
  const template = async () => {
    const opened = await openHuggingFace(join(root, 'templates'))
    await opened.close()
    return opened.chat.template
  }
  const text = (name: string) => `${name}{{ messages[0].content }}`
  await write('tokenizer_config.json', { eos_token: '<|im_end|>' })
  expect(await template()).toBe('')
  await write('tokenizer_config.json', {
    eos_token: '<|im_end|>',
    chat_template: [
      { name: 'tool_use', template: text('tools') },
      { name: 'default', template: text('config') },
    ],
  })
  expect(await template()).toBe(text('config'))
  await write('chat_template.json', { chat_template: text('json') })
  expect(await template()).toBe(text('json'))
  await write('chat_template.json', { chat_template: [{ name: 'default', template: text('list') }] })
  expect(await template()).toBe(text('list'))
  await writeFile(join(root, 'templates', 'chat_template.jinja'), text('jinja'))
  expect(await template()).toBe(text('jinja'))
})

test('a blank chat template hides none that stands elsewhere', async () => {
  await writeHuggingFace(join(root, 'blank'))
  const write = files('blank')
  const text = '{{ messages[0].content }}'
  await writeFile(join(root, 'blank', 'chat_template.jinja'), ' \n')
  await write('chat_template.json', { chat_template: '' })
  await write('tokenizer_config.json', {
    eos_token: '<|im_end|>',
    chat_template: [{ name: 'default', template: '' }],
  })
  expect((await described(join(root, 'blank'))).template).toBe('')
  await write('processor_config.json', { chat_template: text })
  expect((await described(join(root, 'blank'))).template).toBe(text)
  await write('tokenizer_config.json', {
    eos_token: '<|im_end|>',
    chat_template: { default: `of config${text}`, rag: 'x' },
  })
  expect((await described(join(root, 'blank'))).template).toBe(`of config${text}`)
})

test('several chat templates without a default one are refused, with their names', async () => {
  await writeHuggingFace(join(root, 'no-default'))
  await files('no-default')('chat_template.json', {
    chat_template: ['rag', 'tool_use'].map((name) => ({ name, template: 'x' })),
  })
  expect(await refusal(join(root, 'no-default'))).toMatch(
    /chat_template.json: .*rag, tool_use and none named default/,
  )
})

test('a chat template of the folder of additional ones is taken where nothing else names one, and several without a default are refused', async () => {
  await writeHuggingFace(join(root, 'additional'))
  await files('additional')('tokenizer_config.json', { eos_token: '<|im_end|>' })
  const folder = join(root, 'additional', 'additional_chat_templates')
  await mkdir(folder)
  for (const name of ['rag', 'tool_use']) await writeFile(join(folder, `${name}.jinja`), name)
  expect(await refusal(join(root, 'additional'))).toMatch(
    /additional_chat_templates: .*rag, tool_use and none named default/,
  )
  await writeFile(join(folder, 'default.jinja'), '{{ messages[0].content }}')
  const opened = await openHuggingFace(join(root, 'additional'))
  expect(opened.chat.template).toBe('{{ messages[0].content }}')
  await opened.close()
})

test('tokens that begin and end a text are taken from special_tokens_map.json where nothing else names them', async () => {
  await writeHuggingFace(join(root, 'special'), { config: { eos_token_id: null } })
  const write = files('special')
  await write('tokenizer_config.json', {})
  await write('special_tokens_map.json', {
    bos_token: { content: '<|im_start|>', lstrip: false },
    eos_token: '<|endoftext|>',
  })
  expect((await described(join(root, 'special'))).tokens).toEqual({ bos: 301, eos: [300, 302] })
  // A text that is no token says nothing.
  await write('tokenizer_config.json', { bos_token: '<s>', eos_token: { content: '</end>' } })
  expect((await described(join(root, 'special'))).tokens).toEqual({ bos: 301, eos: [300, 302] })
})

test('tokens that end a text are all those that any file states, −1 for none', async () => {
  const folder = join(root, 'ends')
  await writeHuggingFace(folder, { config: { eos_token_id: -1, text_config: { eos_token_id: [256] } } })
  const write = files('ends')
  await write('tokenizer_config.json', {})
  await write('generation_config.json', { eos_token_id: [257, 258] })
  expect((await described(folder)).tokens).toEqual({ bos: null, eos: [257, 258, 256, 300, 302] })
})

test.for([
  ['generation_config.json', [302, 320]],
  ['generation_config.json', 1e6],
  ['config.json', -7],
] as const)(
  'an end token of %s that the model does not have is refused by file and key',
  async ([file, ids]) => {
    const folder = join(root, `unknown-${String(ids)}`)
    await writeHuggingFace(folder, file === 'config.json' ? { config: { eos_token_id: ids } } : {})
    if (file !== 'config.json') await writeFile(join(folder, file), JSON.stringify({ eos_token_id: ids }))
    expect(await refusal(folder)).toMatch(
      new RegExp(`${file}: eos_token_id names token ${[ids].flat().at(-1)}, and the model has 320`),
    )
  },
)
