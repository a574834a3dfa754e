import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { AnswerCalls } from '../../edge/tools/answer-calls.ts'
import { joined } from '../../edge/tools/answered.ts'
import { toolFormatNamed } from '../../edge/tools/tool-format.ts'
import { Random } from '../../shared/prng.ts'

/** Answers with calls in each format: as a model wrote them, or as its family's template or documents show them. */
const Streams = z.array(
  z.object({
    format: z.enum([
      ...['hermes', 'llama3-json', 'pythonic', 'mistral', 'mistral-args', 'granite', 'phi-4', 'json'],
    ] as const),
    source: z.string(),
    tokens: z.array(z.string()),
    text: z.string(),
    calls: z.array(z.object({ name: z.string(), arguments: z.string() })),
  }),
)
const fixture = new URL('../fixtures/tool-calls/streams.json', import.meta.url)
const streams = Streams.parse(JSON.parse(await readFile(fixture, 'utf8')))

function read({ calls, format }: (typeof streams)[number], pieces: readonly string[]) {
  const offered = new Set(calls.map(({ name }) => name))
  const reader = new AnswerCalls({
    format: toolFormatNamed(format),
    offered,
    isParallel: true,
    isExact: false,
    isHeld: false,
  })
  return [...pieces.flatMap((piece) => reader.push(piece)), ...reader.finish()]
}

/** A text cut in front of these characters. */
const cutAt = (text: string, places: readonly number[]) =>
  [0, ...places].map((from, at) => text.slice(from, places[at] ?? text.length))

describe.each(streams)('$format: $source', (stream) => {
  const whole = stream.tokens.join('')

  test('has the calls and the text of it, cut at any place, at several, and at every token', () => {
    const expected = { text: stream.text, calls: stream.calls }
    const random = new Random(whole.length)
    const places = Array.from({ length: whole.length - 1 }, (_, at) => at + 1)
    const cuts = [
      ...[[whole], stream.tokens, [...whole]],
      ...places.map((place) => cutAt(whole, [place])),
      ...stream.tokens.map((_, at) => [
        stream.tokens.slice(0, at).join(''),
        stream.tokens.slice(at).join(''),
      ]),
      ...Array.from({ length: 100 }, (_, seed) =>
        cutAt(
          whole,
          places.filter(() => random.next() < (seed + 1) / 120),
        ),
      ),
    ]
    for (const cut of cuts) expect(joined(read(stream, cut)), JSON.stringify(cut)).toEqual(expected)
  })

  test('tells of a call in front of its arguments, which are JSON', () => {
    const pieces = read(stream, stream.tokens)
    const begun = new Set<number>()
    for (const piece of pieces) {
      if (piece.type === 'call') begun.add(piece.call)
      if (piece.type === 'arguments') expect(begun).toContain(piece.call)
    }
    expect(begun).toEqual(new Set(stream.calls.keys()))
    for (const call of stream.calls) expect(JSON.parse(call.arguments)).toBeTypeOf('object')
  })
})
