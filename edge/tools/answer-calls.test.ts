import { describe, expect, test } from 'vitest'
import { AnswerCalls } from './answer-calls.ts'
import { joined } from './answered.ts'
import type { AnswerPiece } from './call-pieces.ts'
import { type ToolFormat, toolFormat, toolFormatNamed } from './tool-format.ts'

const offered = new Set(['get_weather', 'get_time'])

function read(
  name: ToolFormat['name'],
  pieces: readonly string[],
  { isExact = false, isParallel = true } = {},
): AnswerPiece[] {
  const calls = new AnswerCalls({
    format: toolFormatNamed(name),
    offered,
    isParallel,
    isExact,
    isHeld: isExact,
  })
  return [...pieces.flatMap((piece) => calls.push(piece)), ...calls.finish()]
}

const weather = (city: string) => ({ name: 'get_weather', arguments: `{"city": "${city}"}` })
const call = (city: string, key = 'arguments') => `{"name": "get_weather", "${key}": {"city": "${city}"}}`

/** Answers in the words of each family's own description, as tokens, with the text and the calls of each. */
const streams: [format: ToolFormat['name'], tokens: string[], text: string, calls: object[]][] = [
  [
    'hermes',
    [
      '<tool_call>',
      '\n',
      '{"',
      'name',
      '":',
      ' "',
      'get',
      '_weather',
      '",',
      ' "',
      'arguments',
      '":',
      ' {"',
      'city',
      '":',
      ' "',
      'Ulm',
      '"}}\n',
      '</tool_call>',
    ],
    '',
    [weather('Ulm')],
  ],
  [
    'hermes',
    [
      'I',
      ' will',
      ' look',
      '.\n\n',
      '<tool_call>',
      '\n',
      call('Ulm'),
      '\n',
      '</tool_call>',
      '\n',
      '<tool_call>',
      '\n',
      call('Bonn'),
      '\n',
      '</tool_call>',
    ],
    'I will look.',
    [weather('Ulm'), weather('Bonn')],
  ],
  ['hermes', [call('Ulm'), '\n', call('Bonn')], '', [weather('Ulm'), weather('Bonn')]],
  ['hermes', ['```', 'json', '\n', call('Ulm'), '\n', '```'], '', [weather('Ulm')]],
  ['hermes', ['<tools>', '\n', call('Ulm'), '\n', '</tools>'], '', [weather('Ulm')]],
  ['granite', ['[', call('Ulm'), ']'], '', [weather('Ulm')]],
  [
    'llama3-json',
    [
      '{"',
      'name',
      '":',
      ' "',
      'get',
      '_weather',
      '",',
      ' "',
      'parameters',
      '":',
      ' {"',
      'city',
      '":',
      ' "',
      'Ulm',
      '"}}',
    ],
    '',
    [weather('Ulm')],
  ],
  [
    'llama3-json',
    [
      '<|python_tag|>',
      '{"',
      'name',
      '": "get_weather", "parameters": {"city": "Ulm"}}; ',
      call('Bonn', 'parameters'),
    ],
    '',
    [weather('Ulm'), weather('Bonn')],
  ],
  [
    'pythonic',
    [
      '[',
      'get',
      '_weather',
      '(city',
      "='",
      'Ulm',
      "',",
      ' days',
      '=',
      '3',
      ',',
      ' tags',
      '=[',
      '"a"',
      ', None',
      ']),',
      ' get',
      '_time',
      '()]',
    ],
    '',
    [
      { name: 'get_weather', arguments: '{"city": "Ulm", "days": 3, "tags": ["a",null]}' },
      { name: 'get_time', arguments: '{}' },
    ],
  ],
  [
    'mistral',
    [
      '[TOOL_CALLS]',
      ' [{"',
      'name',
      '": "get_weather", "arguments": {"city": "Ulm"}, "id": "abc',
      'DEF',
      '123"}',
      ', ',
      call('Bonn'),
      ']',
    ],
    '',
    [weather('Ulm'), weather('Bonn')],
  ],
  [
    'mistral-args',
    ['Sure.', '[TOOL_CALLS]', 'get', '_weather', '[ARGS]', '{"', 'city', '": "', 'Ulm"}'],
    'Sure.',
    [weather('Ulm')],
  ],
  [
    'mistral-args',
    [
      ...['[TOOL_CALLS]', 'get_weather', '[CALL_ID]', 'abcDEF123', '[ARGS]', '{"city": "Ulm"}'],
      ...['[TOOL_CALLS]', 'get_time', '[ARGS]', '{"a": "}\\"[", "b": [{}]}'],
    ],
    '',
    [weather('Ulm'), { name: 'get_time', arguments: '{"a": "}\\"[", "b": [{}]}' }],
  ],
  [
    'mistral-args',
    ['[TOOL_CALLS]', '[', call('Ulm'), ', ', call('Bonn'), ']'],
    '',
    [weather('Ulm'), weather('Bonn')],
  ],
  [
    'granite',
    ['<|tool_call|>', '[{"', 'arguments": {"city": "Ulm"}, "', 'name', '":', ' "get_weather"}]'],
    '',
    [weather('Ulm')],
  ],
  ['phi-4', ['<|tool_call|>', '[', call('Ulm'), ']', '<|/tool_call|>'], '', [weather('Ulm')]],
  [
    'phi-4',
    ['funct', 'ools', '[{"name": "get_weather", "arguments": {"city": "Ulm"}}]'],
    '',
    [weather('Ulm')],
  ],
  ['json', [call('Ulm')], '', [weather('Ulm')]],
  ['json', ['[', call('Ulm'), ', ', call('Bonn'), ']'], '', [weather('Ulm'), weather('Bonn')]],
  ['json', ['```', 'json', '\n', call('Ulm'), '\n```'], '', [weather('Ulm')]],
  ['json', ['{"name": "get_weather", "arguments": "{\\"city\\": \\"Ulm\\"}"}'], '', [weather('Ulm')]],
  ['json', ['{"name": "get_time"}'], '', [{ name: 'get_time', arguments: '{}' }]],
  [
    'json',
    ['{"name": "get_time", "arguments": {"a": "}\\"{", "b": [{}]}}'],
    '',
    [{ name: 'get_time', arguments: '{"a": "}\\"{", "b": [{}]}' }],
  ],
]

describe('calls are told from text, wherever it is cut:', () => {
  test.each(streams)('%s %j', (format, tokens, text, calls) => {
    const whole = tokens.join('')
    for (const cut of [tokens, [whole], [...whole], whole.match(/[\s\S]{1,3}/g) ?? []])
      expect(joined(read(format, cut))).toEqual({ text, calls })
  })
})

/** Texts that look like a call and are none. */
const texts: [format: ToolFormat['name'], text: string][] = [
  ['hermes', 'Use <tool_call> with care, or <tool'],
  ['hermes', '<tool_call>\n{"name": "rm", "arguments": {"path": "/"}}\n</tool_call>'],
  ['hermes', '<tool_call>'],
  ['hermes', ' leading and trailing space \n'],
  ['hermes', '```json\n{"city": "Ulm"}\n```'],
  ['hermes', ' ```python\nprint({"name": "get_weather"})\n```'],
  ['hermes', '```js'],
  ['hermes', `A call: ${call('Ulm')}`],
  ['llama3-json', '{"name": "Bob", "age": 3}'],
  ['llama3-json', '{"city": "Ulm"}'],
  ['mistral-args', 'Use [TOOL_CALLS] with care, or [TOOL'],
  ['mistral-args', '[TOOL_CALLS]rm[ARGS]{"path": "/"}'],
  ['mistral-args', '[TOOL_CALLS]get_weather'],
  ['mistral-args', '[TOOL_CALLS]get_weather[AR'],
  ['pythonic', '[1, 2, 3]'],
  ['pythonic', '[unknown(a=1)]'],
  ['json', '[1, {"a": 2}]'],
  ['json', '{'],
  ['json', '{"name": "get_weather"'.slice(0, 18)],
  ['json', '{"name": 5, "arguments": {}}'],
  ['json', '{"arguments": {"a": 1}, "title": "x"}'],
]

describe('text without a call of an offered function stays text, every character of it:', () => {
  test.each(texts)('%s %j', (format, text) => {
    for (const cut of [[text], [...text]]) expect(joined(read(format, cut))).toEqual({ text, calls: [] })
  })
})

test('a template that renders calls with [ARGS] tells the newer form of Mistral', () => {
  const name = (sample: string) => toolFormat({ sample }).name
  expect(name('[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"}')).toBe('mistral-args')
  expect(name('[TOOL_CALLS][{"name": "get_weather"}]')).toBe('mistral')
})

test('arguments come piece by piece, behind the name', () => {
  const pieces = read('hermes', [
    '<tool_call>\n{"name": "get_weather", "arguments": {"ci',
    'ty": "U',
    'lm"}}',
  ])
  expect(pieces).toEqual([
    { type: 'call', call: 0, name: 'get_weather' },
    { type: 'arguments', call: 0, text: '{"ci' },
    { type: 'arguments', call: 0, text: 'ty": "U' },
    { type: 'arguments', call: 0, text: 'lm"}' },
  ])
})

test('a call that is cut off keeps what it has', () => {
  const { calls } = joined(read('hermes', ['<tool_call>\n{"name": "get_weather", "arguments": {"city": "U']))
  expect(calls).toEqual([{ name: 'get_weather', arguments: '{"city": "U' }])
})

test('without parallel calls there is one, and nothing behind it', () => {
  const text = `Now.<tool_call>${call('Ulm')}</tool_call><tool_call>${call('Bonn')}</tool_call>More.`
  for (const cut of [[text], [...text]])
    expect(joined(read('hermes', cut, { isParallel: false }))).toEqual({
      text: 'Now.',
      calls: [weather('Ulm')],
    })
})

test('where a grammar holds calls to schemas, nothing is a call that the grammar does not know', () => {
  const loose = `{ "name": "get_weather", "arguments": {}}`
  expect(joined(read('json', [...loose], { isExact: true }))).toEqual({ text: loose, calls: [] })
  expect(joined(read('json', [...call('Ulm')], { isExact: true })).calls).toEqual([weather('Ulm')])
  expect(joined(read('phi-4', [`functools[${call('Ulm')}]`], { isExact: true })).calls).toEqual([])
})

test('where a grammar holds calls to schemas, a call that is cut off in front of its name is no text', () => {
  for (const [format, text] of [
    ['hermes', '<tool_call>\n{"name": "get_'],
    ['json', '[{"name": "ge'],
    ['granite', '<|tool_call|>['],
  ] as const)
    expect(joined(read(format, [...text], { isExact: true }))).toEqual({ text: '', calls: [] })
})

test('behind calls, text is text again, and a call of another function too', () => {
  const text = `<tool_call>${call('Ulm')}</tool_call>\nDone.`
  expect(joined(read('hermes', [...text]))).toEqual({ text: '\nDone.', calls: [weather('Ulm')] })
  const second = `[${call('Ulm')}, {"name": "rm", "arguments": {}}]`
  const { calls, text: rest } = joined(read('json', [...second]))
  expect(calls).toEqual([weather('Ulm')])
  expect(rest).toBe('{"name": "rm", "arguments": {}}]')
})
