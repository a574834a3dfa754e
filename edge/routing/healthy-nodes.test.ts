import { beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { content, textsOf } from '../../test/edge/chat-answers.ts'
import { stubs, TestEdge, type TestTenant } from '../../test/edge/edge.ts'
import { tenantAndNodes } from '../../test/edge/preferred-nodes.ts'
import { byteIds } from '../../test/fakes/tiny-tokenizer.ts'

let tenant: TestTenant
let edge: TestEdge
let first: { id: string; url: string }

beforeAll(async () => {
  ;({ tenant, first } = await tenantAndNodes())
})
beforeEach(async () => {
  edge = new TestEdge()
  await stubs.behave({ tokens: byteIds('fine') })
})

test('requests of one adapter go to the same node', async () => {
  for (let i = 0; i < 5; i++) expect((await edge.chat(tenant)).headers.get('x-quartet-node')).toBe(first.id)
})

test('calls of a node share its connections, so that none pays for a new one', async () => {
  await stubs.behave({ tokens: byteIds('fine') })
  for (let i = 0; i < 6; i++) {
    expect(await content(await edge.chat(tenant))).toBe('fine')
    expect(await textsOf(await edge.chat(tenant, { stream: true }))).toEqual(['fine'])
  }
  await vi.waitFor(async () => expect(await stubs.calls()).toHaveLength(12))
  expect(new Set((await stubs.calls()).map(({ connection }) => connection)).size).toBeLessThan(6)
})

test('a node that says no end behind its last event is left after a moment', async () => {
  await stubs.behave({ tokens: byteIds('fine'), neverEnds: true })
  expect(await content(await edge.chat(tenant))).toBe('fine')
  await vi.waitFor(async () => expect((await stubs.calls())[0]?.aborted).toBe(true))
})

test('a node that closes its idle connections is no failed node', async () => {
  await stubs.behave({ tokens: byteIds('fine'), cutsReused: true })
  for (let i = 0; i < 6; i++) {
    const response = await edge.chat(tenant)
    expect(response.headers.get('x-quartet-node')).toBe(first.id)
    expect(response.headers.get('x-quartet-retries')).toBe('0')
    expect(await content(response)).toBe('fine')
  }
})

test('requests of the untuned model spread', async () => {
  const nodes = new Set<string | null>()
  for (let i = 0; i < 20; i++)
    nodes.add((await edge.chat(tenant, { model: 'tiny' })).headers.get('x-quartet-node'))
  expect(nodes.size).toBe(2)
})
