import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'
import { describe, expect, test, vi } from 'vitest'
import { defaultPrompt, type Render, renderWithoutDefault } from '../../shared/tokenizer/default-prompt.ts'

type Message = Parameters<Render>[0][number]

const say = (role: Message['role'], content: string): Message => ({ role, content })
const alone = [say('user', 'Hi')]
const systemLater = [say('user', 'Hi'), say('system', 'Be brief.')]
const answered = [say('user', 'Hi'), say('assistant', 'Hello.'), say('user', 'Bye')]

function open(template: string, begin = '') {
  const parsed = new Template(template)
  const render: Render = (messages) =>
    parsed.render({ messages, bos_token: begin, eos_token: '<e>', add_generation_prompt: true })
  const prompt = defaultPrompt(render, begin)
  return {
    render,
    prompt,
    tuned: (messages: readonly Message[]) => renderWithoutDefault(messages, { render, prompt }),
  }
}

const shipped = (name: string) =>
  readFileSync(join(import.meta.dirname, '../fixtures/chat-templates', `${name}.jinja`), 'utf8')

const chatml = (role: string, content: string) => `<|im_start|>${role}\n${content}<|im_end|>\n`
const llama3 = (role: string, content: string) =>
  `<|start_header_id|>${role}<|end_header_id|>\n\n${content}<|eot_id|>`
const granite = (role: string, content: string) =>
  `<|start_of_role|>${role}<|end_of_role|>${content}<|end_of_text|>\n`
const phi4 = (role: string, content: string) => `<|${role}|>${content}<|end|>`

/** Template, beginning token, how a turn is written, what asks for an answer. */
const withDefault = [
  ['qwen2', '', chatml, '<|im_start|>assistant\n'],
  ['qwen2.5', '', chatml, '<|im_start|>assistant\n'],
  ['smollm2', '<|im_start|>', chatml, '<|im_start|>assistant\n'],
  ['llama-3.1', '<|begin_of_text|>', llama3, '<|start_header_id|>assistant<|end_header_id|>\n\n'],
  ['llama-3.2', '<|begin_of_text|>', llama3, '<|start_header_id|>assistant<|end_header_id|>\n\n'],
  ['granite-3.1', '', granite, '<|start_of_role|>assistant<|end_of_role|>'],
] as const

describe.each(withDefault)('a tuned conversation in the template of %s', (name, begin, turn, ask) => {
  const { prompt, render, tuned } = open(shipped(name), begin)
  const head = begin === '<|im_start|>' ? '' : begin

  test('has no default system prompt, whether a later message is a system one or not', () => {
    expect(prompt?.text).toContain('system')
    expect(tuned(alone)).toBe(`${head}${turn('user', 'Hi')}${ask}`)
    expect(tuned(systemLater)).toBe(`${head}${turn('user', 'Hi')}${turn('system', 'Be brief.')}${ask}`)
    expect(tuned(answered)).toBe(
      `${head}${turn('user', 'Hi')}${turn('assistant', 'Hello.')}${turn('user', 'Bye')}${ask}`,
    )
  })

  test('keeps a system message of its own, the default one’s text too', () => {
    const own = [say('system', 'Be brief.'), ...alone]
    expect(tuned(own)).toBe(render(own))
    expect(tuned(own)).toContain('Be brief.')
    const text = /(You are .*?)(<\||$)/s.exec(prompt?.text ?? '')?.[1]
    const same = [say('system', text ?? 'You are helpful.'), ...alone]
    expect(tuned(same)).toBe(render(same))
  })
})

test('SmolLM3’s and Mistral Small’s default prompts go, dates included', () => {
  const smollm3 = open(shipped('smollm3'))
  expect(smollm3.render(alone)).toContain('Today Date')
  expect(smollm3.tuned(alone)).toBe(`${chatml('user', 'Hi')}<|im_start|>assistant\n`)
  const mistral = open(shipped('mistral-small-3.1'), '<s>')
  expect(mistral.render(systemLater)).toContain('The current date is')
  expect(mistral.tuned(systemLater)).toBe('<s>[INST]Hi[/INST][SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT]')
})

test('a default prompt inside the first user’s turn goes, and the turn stays', () => {
  const { render, tuned } = open(shipped('vigogne-2'), '<s>')
  expect(render(alone)).toContain('Vous êtes Vigogne')
  expect(tuned(alone)).toBe('<s>[INST] Hi [/INST]')
  expect(tuned(answered)).toBe('<s>[INST] Hi [/INST] Hello. <e>[INST] Bye [/INST]')
})

test('a template that looks for a system message anywhere decides by itself', () => {
  const { render, tuned } = open(shipped('deepseek-coder'), '<s>')
  expect(render(systemLater)).not.toContain('Deepseek Coder')
  expect(tuned(systemLater)).toBe(render(systemLater))
  expect(tuned(alone)).toBe('<s>### Instruction:\nHi\n### Response:\n')
})

test('a name that the template gives beside its own system turn goes when nobody adds to that turn', () => {
  const { tuned } = open(shipped('phi-4-mini-reasoning'))
  expect(tuned(alone)).toBe(`${phi4('user', 'Hi')}<|assistant|>`)
})

test.each([
  ['llama-2', '<s>'],
  ['qwen3', ''],
  ['phi-3-mini', '<s>'],
  ['phi-3-small', '<s>'],
  ['phi-4', ''],
  ['phi-4-mini', ''],
  ['granite-3.0', ''],
  ['olmo-2', '<s>'],
  ['gemma-2', '<bos>'],
  ['gemma-3', '<bos>'],
  ['mistral-7b-v0.3', '<s>'],
  ['mistral-nemo', '<s>'],
])('%s has no default prompt: a tuned conversation is the untuned one', (name, begin) => {
  const { prompt, render, tuned } = open(shipped(name), begin)
  expect(prompt).toBeUndefined()
  for (const messages of [alone, answered]) expect(tuned(messages)).toBe(render(messages))
})

test('a default prompt with a date goes on a later day too', () => {
  vi.useFakeTimers({ now: Date.UTC(2026, 1, 3), toFake: ['Date'] })
  try {
    expect(open(shipped('llama-3.2'), '<|begin_of_text|>').prompt?.text).toContain('03 Feb 2026')
    vi.setSystemTime(Date.UTC(2026, 1, 4))
    expect(open(shipped('llama-3.2'), '<|begin_of_text|>').tuned(alone)).not.toContain('2026')
  } finally {
    vi.useRealTimers()
  }
})

test('words that the template puts in front of the first question go with it', () => {
  const inside =
    '{% for m in messages %}{{ m.role }}: {% if loop.first %}(Be kind.) {% endif %}{{ m.content }}\n{% endfor %}'
  expect(open(inside).tuned(alone)).toBe('user: Hi\n')
})

test.each([
  '{{ messages | length }} messages {{ messages[0].content }}',
  "{{ raise_exception('one message only') if messages | length > 1 }}{{ messages[0].content }}",
])('a template that shows no turns has no prefix: %s', (template) => {
  expect(open(template).prompt).toBeUndefined()
})
