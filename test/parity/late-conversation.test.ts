import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect, test } from 'vitest'
import { encoderOf } from '../../cli/tokenizer/serving-encoder.ts'
import { logProbability } from '../../model/runtime/logits.ts'
import { parseDataset } from '../../training/data/dataset.ts'
import { openSequence } from '../../training/evaluation/served-model.ts'
import { openLossModel } from '../../training/loss/onnx-loss-model.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { randomAdapter } from './random-adapter.ts'
import { parametersOf } from './slope.ts'
import { openBackend, tinyBackbone } from './tiny-backbone.ts'

const turns = [
  ['Is it up?', 'Yes.'],
  ['Since when?', 'Since Monday, at about nine in the morning.'],
  ['And before?', 'It was down.'],
] as const

const tinyEncoder = (
  { manifest: { config, ...manifest } }: Awaited<ReturnType<typeof tinyBackbone>>,
  chat: typeof tinyChat,
) =>
  encoderOf({
    backbone: {
      ...manifest,
      tokens: { bos: null, eos: [tinySpecials.endOfText, tinySpecials.imEnd] },
      chat,
      contextLength: 512,
      d: config.d,
      layers: config.layers,
      vocab: 512,
    },
    tokenizer: tinyTokenizer,
  })

test.for(['late', 'turn'] as const)(
  'three turns are trained as they are served, %s: each answer with rows of its own, the turns before without',
  async (placement, { onTestFinished }) => {
    const tiny = await tinyBackbone({ config: { vocab: 512 } })
    onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
    const { imEnd } = tinySpecials
    const { manifest } = tiny
    const encoder = tinyEncoder(tiny, tinyChat)
    const tail = encoder.generationHeader
    const adapter = randomAdapter(manifest, {
      ...{ seed: 2, placement, window: 20, anchor: 'own' },
      ...(placement === 'late' ? { tail } : {}),
    })

    const messages = turns.flatMap(([user, assistant]) => [
      { role: 'user', content: user },
      { role: 'assistant', content: assistant },
    ])
    const file = new TextEncoder().encode(`${JSON.stringify({ messages })}\n`)
    const { dataset } = parseDataset(file, { name: 'talk', encoder, prompts: 'chat', room: 400 })
    expect(dataset.examples.length).toBe(3)
    const model = await openLossModel({ backbone: tiny, metadata: adapter.metadata })
    const losses = await model.score(dataset.examples, parametersOf(adapter))
    await model.close()

    const backend = await openBackend(tiny)
    const loaded = backend.loadAdapter(adapter)
    const { vocab } = backend.limits
    // The untuned backbone reads the whole talk; the part that each turn shares with it is taken from there.
    const whole = dataset.examples.at(-1)?.instruction ?? []
    const base = backend.allocate(whole.length)
    if (base === undefined) throw new Error('no room')
    await backend.prefill({ slot: base, tokens: whole })
    for (const [at, [user]] of turns.entries()) {
      const before = turns
        .slice(0, at)
        .flatMap(([question, answer]) => [
          { role: 'user', content: question, name: undefined } as const,
          { role: 'assistant', content: answer, name: undefined } as const,
        ])
      const prompt = encoder.conversation([...before, { role: 'user', content: user, name: undefined }])
      const answer = encoder.answer(turns[at]?.[1] ?? '')
      const slot = backend.allocate(prompt.length + answer.length + loaded.rows)
      if (slot === undefined) throw new Error('no room')
      const { turn = 0 } = dataset.examples[at] ?? {}
      // The text in front of a turn ends as the answer before it does.
      if (at > 0) expect(prompt.slice(turn - 2, turn)).toEqual([imEnd, ...encoder.plain('\n')])
      expect(turn > 0).toBe(at > 0)
      const shared = placement === 'turn' ? turn : Math.max(0, prompt.length - tail - loaded.window)
      expect(prompt.slice(0, shared)).toEqual(whole.slice(0, shared))
      if (shared > 0) {
        const kept = await backend.keepRows(base, { start: 0, end: shared, tokens: whole.length })
        await backend.putRows(slot, [kept])
      }
      const next = await backend.prefill({ slot, tokens: prompt.slice(shared), adapter: loaded })
      let served = logProbability(next, answer[0])
      const logits = await backend.score({ slot, tokens: answer.slice(0, -1) }, [...answer.slice(1).keys()])
      for (const [place, id] of answer.slice(1).entries())
        served += logProbability(logits.subarray(place * vocab, (place + 1) * vocab), id)
      expect(Math.abs((losses[at] ?? Number.NaN) + served) / answer.length).toBeLessThan(1e-4)
      slot.release()
    }
    await backend.close()
  },
)

test('rows are trained and measured in front of the header as the conversation writes it, as they are served', async ({
  onTestFinished,
}) => {
  const tiny = await tinyBackbone({ config: { vocab: 512 } })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  const { manifest } = tiny
  const opened = "{{ '<|im_start|>assistant\\n' }}"
  const quickly = `${opened}{% if 'quick' in messages[0]['content'] %}{{ 'Sure: ' }}{% endif %}`
  const encoder = tinyEncoder(tiny, { template: tinyChat.template.replace(opened, quickly) })
  const tail = encoder.generationHeader
  const adapter = randomAdapter(manifest, { seed: 3, placement: 'late', window: 20, anchor: 'own', tail })
  const line = (system: string) =>
    JSON.stringify({
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: 'Since when?' },
        { role: 'assistant', content: 'Since Monday.' },
      ],
    })
  const file = new TextEncoder().encode(`${line('Be quick.')}\n${line('Be slow.')}\n`)
  const { dataset } = parseDataset(file, { name: 'talk', encoder, prompts: 'chat', room: 400 })
  const longer = tail + encoder.plain('Sure: ').length
  expect(dataset.examples.map((example) => example.tail)).toEqual([longer, undefined])
  const model = await openLossModel({ backbone: tiny, metadata: adapter.metadata })
  const losses = await model.score(dataset.examples, parametersOf(adapter))
  await model.close()

  const backend = await openBackend(tiny)
  const loaded = backend.loadAdapter(adapter)
  const { vocab } = backend.limits
  for (const [at, example] of dataset.examples.entries()) {
    const { instruction, response } = example
    const slot = backend.allocate(instruction.length + response.length + loaded.rows)
    if (slot === undefined) throw new Error('no room')
    const next = await backend.prefill({
      slot,
      tokens: [...instruction],
      adapter: loaded,
      tail: at === 0 ? longer : tail,
    })
    let served = logProbability(next, response[0])
    using measured = await openSequence({ backend, adapter: loaded }, { ...example, room: 40 })
    expect(measured.next).toEqual(next.slice(0, vocab))
    const read = response.slice(0, -1)
    const logits = await backend.score({ slot, tokens: read }, [...read.keys()])
    for (const place of read.keys())
      served += logProbability(logits.subarray(place * vocab, (place + 1) * vocab), response[place + 1])
    expect(Math.abs((losses[at] ?? Number.NaN) + served) / response.length).toBeLessThan(1e-4)
    slot.release()
  }
  await backend.close()
})
