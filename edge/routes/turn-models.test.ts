import { beforeAll, beforeEach, expect, test } from 'vitest'
import { ErrorBody } from '../../shared/api/error.ts'
import { adapterKey, TenantId } from '../../shared/ids.ts'
import { GenerateRequest } from '../../shared/wire.ts'
import { makeAdapter, type TestAdapter } from '../../test/edge/adapter.ts'
import { stubs, TestEdge, type TestTenant, workerBackbone } from '../../test/edge/edge.ts'
import { rankNodes } from '../../test/edge/rank-nodes.ts'
import { byteIds, tinySpecials } from '../../test/fakes/tiny-tokenizer.ts'

/** Adapters whose rows stand in front of a prompt's newest turn. */

const edge = new TestEdge()
const tail = 1 + 'assistant\n'.length
let tenant: TestTenant
let style: TestAdapter
let late: TestAdapter

beforeAll(async () => {
  await edge.seedBackbone()
  tenant = await edge.seedTenant()
  style = await makeAdapter({ backbone: workerBackbone, seed: 201, placement: 'turn' })
  late = await makeAdapter({ backbone: workerBackbone, seed: 202, tail })
  for (const [alias, { file }] of [
    ['style', style],
    ['safe', late],
  ] as const)
    expect((await edge.own(tenant, 'POST', `/adapters?alias=${alias}`, file)).status).toBe(201)
})

beforeEach(() => stubs.behave({ tokens: byteIds('yes'), reason: 'stop' }))

const asked = { role: 'user', content: 'Is it up?' }
const answered = { role: 'assistant', content: 'Yes.' }
const next = { role: 'user', content: 'Since when?' }
const system = { role: 'system', content: 'Be brief.' }
const turnIds = ({ content, role }: { content: string; role: string }) => [
  tinySpecials.imStart,
  ...byteIds(`${role}\n${content}`),
  tinySpecials.imEnd,
  ...byteIds('\n'),
]

const ask = (body: object) =>
  edge.post('/v1/chat/completions', { key: tenant.key, body: { model: 'style', max_tokens: 8, ...body } })
const sent = async () =>
  (await stubs.calls())
    .filter(({ kind }) => kind === 'generate')
    .map(({ body }) => GenerateRequest.parse(body))

test.each([
  [
    [asked, answered, next],
    [asked, answered],
  ],
  [
    [system, asked, answered, next],
    [system, asked, answered],
  ],
  [[system, asked], [system]],
  [
    [asked, answered, next, { role: 'assistant', content: 'Since' }],
    [asked, answered],
  ],
])('a node is told where the newest turn begins: %j', async (messages, front) => {
  const continued = messages.at(-1)?.role === 'assistant' ? { continue_final_message: true } : {}
  expect((await ask({ messages, ...continued })).status).toBe(200)
  const [{ adapter, prompt = [], tail: toldTail, turn } = {}] = await sent()
  expect({ adapter, toldTail }).toEqual({ adapter: style.digest })
  expect(prompt.slice(0, turn)).toEqual(front.flatMap(turnIds))
})

test('is told nothing where the whole prompt is the newest turn: a first turn, a raw prompt, and for other adapters', async () => {
  for (const body of [{ messages: [asked] }, { model: 'safe', messages: [asked, answered, next] }])
    expect((await ask(body)).status).toBe(200)
  expect((await edge.complete(tenant, { model: 'style', prompt: 'a raw prompt' })).status).toBe(200)
  expect((await sent()).map(({ turn }) => turn)).toEqual([undefined, undefined, undefined])
})

test('an answer in the responses and messages APIs has its rows at the newest turn too', async () => {
  const input = [asked, answered, next]
  for (const [path, body] of [
    ['/v1/responses', { input, max_output_tokens: 8 }],
    ['/v1/messages', { messages: input, max_tokens: 8 }],
  ] as const)
    expect((await edge.post(path, { key: tenant.key, body: { model: 'style', ...body } })).status).toBe(200)
  for (const { prompt, turn } of await sent())
    expect(prompt.slice(0, turn)).toEqual([asked, answered].flatMap(turnIds))
})

test('goes to the node of the tenant’s late adapters where something stands in front of the newest turn, else to its own', async () => {
  const nodeOf = async (body: object) => (await ask(body)).headers.get('x-quartet-node')
  const home = await nodeOf({ model: 'safe', messages: [asked, answered, next] })
  for (let seed = 210; ; seed++) {
    const adapter = await makeAdapter({ backbone: workerBackbone, seed, placement: 'turn' })
    const [own] = rankNodes(adapterKey(TenantId.parse(tenant.id), adapter.digest), stubs.addresses())
    if (own?.id === home) continue
    expect((await edge.own(tenant, 'POST', '/adapters?alias=far', adapter.file)).status).toBe(201)
    expect(await nodeOf({ model: 'far', messages: [asked, answered, next] })).toBe(home)
    expect(await nodeOf({ model: 'far', messages: [asked] })).toBe(own?.id)
    break
  }
})

test('is listed with its placement', async () => {
  const { data } = (await (await edge.own(tenant, 'GET', '/adapters')).json()) as {
    data: { digest: string; placement?: string; tail?: number }[]
  }
  const placed = new Map(data.map(({ digest, placement, tail }) => [digest, { placement, tail }]))
  expect(placed.get(style.digest)).toEqual({ placement: 'turn', tail: undefined })
  expect(placed.get(late.digest)).toEqual({ placement: undefined, tail })
})

test.each([
  [{ model: 'safe+style' }, 'model'],
  [{ models: ['safe', 'style'], model: undefined }, 'models[1]'],
])('%j is refused: only late rows are stacked or answer together', async (body, param) => {
  const response = await ask({ messages: [asked], ...body })
  expect(response.status).toBe(400)
  const { error } = ErrorBody.parse(await response.json())
  expect(error).toMatchObject({ code: 'invalid_request', param })
  expect(error.message).toMatch(/style.* rows in front of the newest turn.*--placement late/)
})

test('has no shadow and is none', async () => {
  await edge.admin('PATCH', `/tenants/${tenant.id}`, { policy: { shadowTokensPerDay: 1000 } })
  for (const [alias, digest] of [
    ['style', late.digest],
    ['safe', style.digest],
  ] as const) {
    const response = await edge.own(tenant, 'PUT', `/aliases/${alias}/shadow`, { digest, percent: 20 })
    expect(response.status).toBe(409)
    const { error } = ErrorBody.parse(await response.json())
    expect(error.message).toMatch(
      new RegExp(`${style.digest} has rows in front of the newest turn.*late rows`),
    )
  }
})
