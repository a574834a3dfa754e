import { expect, it } from 'vitest'
import { engineWith, text } from '../../test/fakes/prefix-cache-engine.ts'

/** Blocks of prompts whose newest turn has the prompt rows. */

it('the rows in front of a newest turn serve every adapter of the tenant that leaves it to the backbone', async () => {
  const { generate } = engineWith()
  const late = (identity: number) => ({ identity, window: 40, tail: 4 })
  const ofTurn = (identity: number) => ({ identity, window: 40, placement: 'turn' as const })
  // 31 whole blocks in front of the newest turn: 1000 = 31 · 32 + 8.
  const [prompt, turn] = [text(1200), 1000]
  expect((await generate({ prompt })).cached).toBe(0)
  expect((await generate({ prompt, turn, adapter: ofTurn(1) })).cached).toBe(31 * 32)
  expect((await generate({ prompt, turn, adapter: ofTurn(2) })).cached).toBe(31 * 32)
  // The same adapter again: all but the end, its rows among what is kept.
  expect((await generate({ prompt, turn, adapter: ofTurn(1) })).cached).toBe(37 * 32)
  // The next turn finds what the backbone read of this one, not what the adapter did.
  const longer = [...prompt, ...text(100, 3)]
  expect((await generate({ prompt: longer, turn: 1150, adapter: ofTurn(1) })).cached).toBe(35 * 32)
  expect((await generate({ prompt, adapter: late(3) })).cached).toBe(36 * 32)
  expect((await generate({ prompt, turn, adapter: ofTurn(1), tenant: 'other' })).cached).toBe(0)
  expect((await generate({ prompt, turn, adapter: ofTurn(2), tenant: 'other' })).cached).toBe(31 * 32)
  expect((await generate({ prompt, adapter: late(3), tenant: 'other' })).cached).toBe(31 * 32)
  expect((await generate({ prompt, tenant: 'other' })).cached).toBe(37 * 32)
})

it('the rows behind a newest turn’s prompt rows serve the same adapter with the same window at the same place alone', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 100, placement: 'turn' as const }
  const prompt = text(400)
  expect((await generate({ prompt, turn: 70, adapter })).cached).toBe(0)
  expect((await generate({ prompt, turn: 70, adapter })).cached).toBe(384)
  // Another place of the rows, none, a window with other tokens, another adapter.
  expect((await generate({ prompt, turn: 128, adapter })).cached).toBe(64)
  expect((await generate({ prompt, adapter })).cached).toBe(0)
  expect(
    (await generate({ prompt: [...prompt.slice(0, 160), ...text(90, 5)], turn: 70, adapter })).cached,
  ).toBe(64)
  expect(
    (await generate({ prompt: [...prompt.slice(0, 200), ...text(90, 5)], turn: 70, adapter })).cached,
  ).toBe(192)
  expect((await generate({ prompt, turn: 70, adapter: { ...adapter, identity: 2 } })).cached).toBe(64)
})

it('kept rows leave at least two tokens to run in front of a newest turn, or none', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 10, placement: 'turn' as const }
  await generate({ prompt: text(400) })
  for (const [turn, cached] of [
    [128, 128],
    [129, 96],
    [130, 128],
    [65, 32],
    [33, 0],
  ] as const)
    expect((await generate({ prompt: text(400), turn, adapter })).cached, String(turn)).toBe(cached)
})

it('a newest turn that runs whole is never cut at kept rows where a query of it stands alone', async () => {
  const { generate } = engineWith()
  const adapter = { identity: 1, window: 100, placement: 'turn' as const }
  // 97 tokens, or 93 with 4 rows, are whole groups of queries and one more; 96 are not.
  for (const [seed, own, again] of [
    [1, 97, 128],
    [2, 93, 128],
    [3, 96, 192],
  ] as const) {
    const ask = { prompt: text(128 + own, seed), turn: 128, adapter }
    expect((await generate(ask)).cached).toBe(0)
    expect((await generate(ask)).cached, String(own)).toBe(again)
  }
})

it('adapters with rows at a newest turn that ask at once take one prefill of what is in front of it', async () => {
  const { prefilled, read } = engineWith()
  const [prompt, turn] = [text(1500), 1400]
  const answers = await Promise.all(
    [1, 2, 3].map((identity) => read({ prompt, turn, adapter: { identity, window: 40, placement: 'turn' } })),
  )
  expect(answers.map(({ cached }) => cached)).toEqual([0, 43 * 32, 43 * 32])
  expect(prefilled()).toBe(1500 + 2 * (1500 - 43 * 32))
})
