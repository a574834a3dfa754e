import { describe, expect, it } from 'vitest'
import { QuartetError } from '../../shared/errors.ts'
import type { PromptEncoder } from '../../shared/training/prompt-encoder.ts'
import { type EncodeOptions, ignoredKeys, parseDataset, requireExamples } from './dataset.ts'
import { maxDataLineBytes } from './jsonl.ts'

/** A token per UTF-16 unit; a conversation is its messages behind their roles' initials. */
const encoder: PromptEncoder = {
  conversation: (messages) =>
    [...`${messages.map(({ role, content }) => role[0] + content).join('')}>`].map((c) => c.charCodeAt(0)),
  turnOf: (messages) => messages.slice(0, -1).reduce((sum, { content }) => sum + content.length + 1, 0),
  tailOf: () => undefined,
  prompt: (text) => [...text].map((c) => c.charCodeAt(0)),
  answer: (text) => [...[...text].map((c) => c.charCodeAt(0)), 0],
}

const options: EncodeOptions & { name: string } = { name: 'x.jsonl', encoder, prompts: 'chat', room: 40 }
const read = (text: string | Uint8Array, changes: Partial<EncodeOptions> = {}) =>
  parseDataset(typeof text === 'string' ? new TextEncoder().encode(text) : text, { ...options, ...changes })
const spelled = (ids: readonly number[]) => String.fromCharCode(...ids)

const good = '{"prompt": "Q", "completion": "A"}\n'

describe('a row is', () => {
  it('a prompt, which is a user’s message, and its completion with the token that ends it', () => {
    const { dataset } = read(good)
    expect(dataset.examples.map(({ instruction, response }) => [spelled(instruction), response])).toEqual([
      ['uQ>', [65, 0]],
    ])
  })

  it('a raw prompt where that is asked for', () => {
    const { dataset } = read(good, { prompts: 'raw' })
    expect(spelled(dataset.examples[0]?.instruction ?? [])).toBe('Q')
  })

  const learned = (messages: readonly unknown[], more = {}) => {
    const { dataset, problems } = read(JSON.stringify({ messages, ...more }))
    expect(problems).toEqual([])
    return dataset.examples.map(({ instruction, response }) => [spelled(instruction), response[0]])
  }
  const conversation = [
    { role: 'system', content: 'S' },
    { role: 'user', content: [{ type: 'text', text: 'Q' }] },
    { role: 'assistant', content: 'A' },
    { role: 'user', content: 'R' },
    { role: 'assistant', content: 'B', weight: 1 },
  ]

  it('a conversation, each of whose answers is learned behind all that stands before it', () => {
    expect(learned(conversation)).toEqual([
      ['sSuQ>', 65],
      ['sSuQaAuR>', 66],
    ])
  })

  it('a conversation whose examples know where their newest turns begin', () => {
    const turns = (text: string) => read(text).dataset.examples.map(({ turn }) => turn)
    expect(turns(JSON.stringify({ messages: conversation }))).toEqual([2, 6])
    expect(turns(good)).toEqual([undefined])
  })

  it('a prompt whose example knows the header that it has the template write, as a conversation of it does', () => {
    const quick: PromptEncoder = {
      ...encoder,
      tailOf: (messages) => (messages.at(-1)?.content.endsWith('/no_think') ? 5 : undefined),
    }
    const tails = (prompts: EncodeOptions['prompts']) =>
      read('{"prompt": "Q /no_think", "completion": "A"}', { encoder: quick, prompts }).dataset.examples.map(
        ({ tail }) => tail,
      )
    expect([tails('chat'), tails('raw')]).toEqual([[5], [undefined]])
  })

  it('a conversation without its answers of weight 0, and without one that opens it', () => {
    expect(
      learned(conversation.map((message, at) => (at === 2 ? { ...message, weight: 0 } : message))),
    ).toEqual([['sSuQaAuR>', 66]])
    expect(
      learned(conversation.map((message, at) => (at === 4 ? { ...message, weight: 0 } : message))),
    ).toEqual([['sSuQ>', 65]])
    expect(learned([{ role: 'assistant', content: 'Hi' }, ...conversation.slice(1, 3)])).toEqual([
      ['aHiuQ>', 65],
    ])
  })

  it('a conversation as TRL writes it, of which the completion alone is learned', () => {
    const { dataset, problems } = read(
      JSON.stringify({ prompt: conversation.slice(0, 4), completion: conversation.slice(4) }),
    )
    expect(problems).toEqual([])
    expect(dataset.examples.map(({ instruction, response }) => [spelled(instruction), response[0]])).toEqual([
      ['sSuQaAuR>', 66],
    ])
  })

  it('what it is with keys beside it that are not read, which are counted', () => {
    const { dataset, ignored, problems } = read(
      [
        '{"prompt": "a", "completion": "b", "label": 1, "id": 7}',
        '{"prompt": "a", "completion": "b", "id": 8}',
        JSON.stringify({
          messages: [{ ...conversation[1], turn: 1 }, conversation[2]],
          source: 'web',
        }),
      ].join('\n'),
    )
    expect({ problems, examples: dataset.examples.length }).toEqual({ problems: [], examples: 3 })
    expect(Object.fromEntries(ignored)).toEqual({ label: 1, id: 2, source: 1, 'messages[].turn': 1 })
    expect(ignoredKeys(ignored)).toMatch(/^not read: label \(on one line\), id \(on 2 lines\), /)
  })

  it('a conversation with settings that change nothing', () => {
    const more = { tools: [], functions: [], parallel_tool_calls: false }
    expect(learned(conversation.slice(1, 3), more)).toEqual([['uQ>', 65]])
  })
})

it('a byte-order mark, blank lines, CRLF and a missing last newline are no problem', () => {
  const { dataset, problems } = read(`\ufeff${good.trim()}\r\n\n  \n${good.trim()}`)
  expect(dataset.examples).toHaveLength(2)
  expect(problems).toEqual([])
})

const rows = (value: unknown) => JSON.stringify(value)
const chat = (...messages: unknown[]) => rows({ messages })
const asked = { role: 'user', content: 'Q' }

const refusals: Record<string, [line: string, says: RegExp]> = {
  'not JSON': [
    'prompt,completion',
    /not JSON \(it begins with prompt,completion\); write one JSON object per line/,
  ],
  'JSON over several lines': ['{', /goes on over several lines; write one object per line/],
  'a name that stands twice': [
    '{"prompt": "a", "prompt": "b", "completion": "c"}',
    /the name "prompt" stands there twice; name each thing once/,
  ],
  'a list': ['[1]', /it is a list; write one object per line/],
  'a number': ['3', /it is a number/],
  'of another shape': [
    '{"text": "a"}',
    /neither messages nor prompt \(it has the keys text\); write {"messages"/,
  ],
  'without a completion': ['{"prompt": "a"}', /completion: is missing: a row needs a response to learn/],
  'with an empty completion': [
    '{"prompt": "a", "completion": ""}',
    /completion: is empty: a row needs a response/,
  ],
  'with a number for a prompt': ['{"prompt": 1, "completion": "a"}', /prompt: must be a string/],
  'with an empty prompt': [
    '{"prompt": "", "completion": "b"}',
    /prompt: is empty; write what was asked, or leave the row out/,
  ],
  'with an empty message of the user': [
    chat({ role: 'user', content: '' }, { role: 'assistant', content: 'A' }),
    /messages\[0\]: the user’s message is empty; write what was asked, or leave the row out/,
  ],
  'with an empty list of parts': [
    chat({ role: 'user', content: [] }, { role: 'assistant', content: 'A' }),
    /messages\[0\].content: is empty; write a text, or leave the row out/,
  ],
  'with an empty list of messages to ask': [
    rows({ prompt: [], completion: [{ role: 'assistant', content: 'A' }] }),
    /prompt: is empty; write what was asked, or leave the row out/,
  ],
  'with a completion of two messages': [
    rows({ prompt: [asked], completion: [{ role: 'assistant', content: 'A' }, asked] }),
    /completion.*(must be assistant|one assistant’s message)/,
  ],
  'with half of a surrogate pair in its prompt': [
    '{"prompt": "a\\ud800", "completion": "b"}',
    /prompt: holds a lone surrogate, which UTF-8 cannot encode; remove it/,
  ],
  'with half of a surrogate pair in its completion': [
    '{"prompt": "a", "completion": "\\udc00b"}',
    /completion: holds a lone surrogate/,
  ],
  'with a message that is none': [
    chat(null, { role: 'assistant', content: 'A' }),
    /messages\[0\]: must be a message, such as/,
  ],
  'with messages to ask and a text to answer': [
    rows({ prompt: [asked], completion: 'A' }),
    /completion: must be a list of one assistant’s message, as prompt is a list of messages/,
  ],
  'with a weight that is none': [
    chat(asked, { role: 'assistant', content: 'A', weight: 2 }),
    /messages\[1\].weight: must be 0 or 1/,
  ],
  'without an answer': [chat(asked, asked), /the last message must be the assistant’s answer/],
  'an answer alone': [
    chat({ role: 'assistant', content: 'A' }),
    /messages: must hold a prompt and, last, the answer/,
  ],
  'with an empty answer': [chat(asked, { role: 'assistant', content: '' }), /answer is empty/],
  'with answers of weight 0 alone': [
    chat(asked, { role: 'assistant', content: 'A', weight: 0 }),
    /every answer has weight 0, so nothing is learned/,
  ],
  'with an answer of white space': [
    chat(asked, { role: 'assistant', content: ' \n' }),
    /messages\[1\]: the assistant’s answer is empty/,
  ],
  'with a completion of white space': [
    '{"prompt": "a", "completion": "  "}',
    /completion: is empty: a row needs a response/,
  ],
  'with a message of no role': [
    chat({ content: 'Q' }, asked),
    /messages\[0\].role: is missing: a message has/,
  ],
  'with a call of a tool': [
    chat(asked, { role: 'assistant', content: null, tool_calls: [{ id: 'a' }] }),
    /messages\[1\].tool_calls: calls of tools and functions are not supported; leave the row out/,
  ],
  'with tools to call': [
    rows({ messages: [asked, { role: 'assistant', content: 'A' }], tools: [{ type: 'function' }] }),
    /tools: is not supported/,
  ],
  'with an unknown role': [
    chat({ role: 'robot', content: 'Q' }, { role: 'assistant', content: 'A' }),
    /messages\[0\].*role system, developer, user or assistant/,
  ],
  'with tools': [
    chat({ role: 'tool', content: 'Q' }, { role: 'assistant', content: 'A' }),
    /tools and functions are not/,
  ],
  'with content of a wrong type': [
    chat({ role: 'user', content: 7 }, { role: 'assistant', content: 'A' }),
    /messages\[0\].content: must be a string or an array of text parts/,
  ],
  'longer than the context': [
    rows({ prompt: 'a'.repeat(20), completion: 'b'.repeat(20) }),
    /22 prompt and 21 response tokens; the context leaves room for 40/,
  ],
  'with a response longer than the context': [
    rows({ prompt: 'a', completion: 'b'.repeat(60) }),
    /its response has 61 tokens; the context leaves room for 40/,
  ],
  'of binary data': ['a\0b', /binary data/],
  'too long': [`"${'a'.repeat(maxDataLineBytes)}"`, /a line has at most 4194304/],
}

describe('a line is refused by its number and with what to do when it is', () => {
  it.each(Object.entries(refusals))('%s', (_, [line, says]) => {
    const { problems, dataset } = read(`${good}\n${line}\n${good}`)
    expect(problems).toEqual([{ line: 3, problem: expect.stringMatching(says) }])
    expect(dataset.examples).toHaveLength(2)
  })

  it.each([
    [
      'of no more tokens than stand behind late rows',
      { placement: 'late', tail: 4 },
      'abcd',
      /its last 4,.*lengthen/,
    ],
    [
      'of one token, for rows in front of the newest turn',
      { placement: 'turn' },
      'a',
      /one token,.*lengthen/,
    ],
  ] as const)('a raw prompt %s', (_, places, prompt, says) => {
    const row = (text: string) => rows({ prompt: text, completion: 'A' })
    const text = `${row(`${prompt}e`)}\n${row(prompt)}\n${row(`${prompt}e`)}`
    const { problems, dataset } = read(text, {
      prompts: 'raw',
      readers: [
        { placement: 'first', tail: undefined },
        { tail: undefined, ...places },
      ],
    })
    expect(problems).toEqual([{ line: 2, problem: expect.stringMatching(says) }])
    expect(dataset.examples).toHaveLength(2)
    expect(
      read(text, { prompts: 'raw', readers: [{ placement: 'after-first', tail: undefined }] }).problems,
    ).toEqual([])
  })

  it('not UTF-8', () => {
    const { problems } = read(Uint8Array.of(...new TextEncoder().encode(good), 0xc3, 0x28))
    expect(problems).toEqual([{ line: 2, problem: expect.stringMatching(/not UTF-8/) }])
  })

  it('refused by the encoder', () => {
    const prompt = () => {
      throw new QuartetError('context_length_exceeded', 'the prompt is longer than the 8 tokens')
    }
    const { problems } = read(good, { prompts: 'raw', encoder: { ...encoder, prompt } })
    expect(problems).toEqual([{ line: 1, problem: 'the prompt is longer than the 8 tokens' }])
  })
})

describe('a file is refused by its name and with what to do when it is', () => {
  const bytes = (...values: number[]) => Uint8Array.from(values)
  const files: Record<string, [file: string | Uint8Array, says: RegExp]> = {
    empty: ['', /^x.jsonl: it is empty; write one JSON object per line/],
    'blank lines': ['\n\n', /empty/],
    gzip: [bytes(0x1f, 0x8b, 8, 0), /gzip; unpack it first/],
    zip: [bytes(0x50, 0x4b, 3, 4), /zip archive/],
    parquet: [bytes(0x50, 0x41, 0x52, 0x31), /Parquet file; export it as JSONL/],
    'UTF-16': [bytes(0xff, 0xfe, 0x7b, 0), /UTF-16 text; save it as UTF-8/],
    'a JSON array': [
      `[\n  ${good.trim()}\n]\n`,
      /it is a JSON array; write one object per line: jq -c '\.\[\]' FILE > FILE\.jsonl/,
    ],
    'a JSON array in one line': [`[${good.trim()}]`, /it is a JSON array/],
    CSV: [
      'text,label\nWhere is it?,shipping\n',
      /it is a table with the columns text, label; write each row as one line {"prompt"/,
    ],
    'a table without a header': [
      '"Where is it, ""please""?",shipping\n',
      /it is a table; write each row as one line {"prompt"/,
    ],
    'JSON over several lines': [
      '{\n  "prompt": "a",\n  "completion": "b"\n}\n',
      /its JSON goes on over several lines; write one object per line: jq -c \. FILE/,
    ],
    TSV: ['"text"\t"label"\na\tb\n', /a table with the columns text, label/],
    'one example': [good, /one example; at least 2 are needed/],
    'half wrong': [`${good}[]\nno\n`, /x.jsonl, line 2: it is a list.* \(and 1 more\)/],
  }
  it.each(Object.entries(files))('%s', (_, [file, says]) => {
    const reading = () => requireExamples(read(file), { least: 2 })
    expect(reading).toThrow(says)
    expect(reading).toThrow(QuartetError)
  })
})
