import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type AdminClient, adminClient } from '../../cli/edge/admin-client.ts'
import { readConfig } from '../../gpu-node/config.ts'
import { startNode } from '../../gpu-node/node.ts'
import { serializeAdapterFile } from '../../shared/adapter-file.ts'
import { ChatCompletion } from '../../shared/api/chat-completions.ts'
import { TokenizeAnswer } from '../../shared/api/tokenize.ts'
import { type AdapterDigest, type BackboneDigest, BackboneSlug, TenantId } from '../../shared/ids.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { randomAdapter } from '../parity/random-adapter.ts'
import { openBackend, tinyBackbone } from '../parity/tiny-backbone.ts'
import { nodeClient, nodeId, readEvents, refusal, secret, tenant } from './node-client.ts'
import { startWorkerProcess, type WorkerProcess } from './worker-process.ts'

/**
 * One prefill for all of a tenant's adapters whose rows are late or stand in front of the newest turn: over HTTP, at a real
 * node with a small random backbone.
 */

const adminKey = 'an-admin-key-of-some-length'
const aliases = ['safe', 'topic', 'answer', 'tone'] as const
/** Aliases of adapters with rows in front of the newest turn. */
const turnAliases = ['style', 'shape'] as const
const window = 16
/** A late alias whose generator reads more than the others'. */
const broad = { alias: 'broad', window: 80 } as const
/** Rows of each adapter. */
const rows = 4
/** `<|im_start|>assistant\n` by the tiny tokenizer. */
const tail = 1 + 'assistant\n'.length
/** Tokens of a block of the prefix cache. */
const block = 32

const started: (() => PromiseLike<unknown>)[] = []
let edge: WorkerProcess
let node: ReturnType<typeof nodeClient>
let backboneDigest: BackboneDigest
let admin: AdminClient
let keys: { readonly acme: string; readonly other: string }

beforeAll(async () => {
  const tiny = await tinyBackbone({ config: { vocab: 512 } })
  started.push(() => rm(dirname(tiny.folder), { recursive: true }))
  const { manifest } = tiny
  const slug = BackboneSlug.parse(manifest.slug)
  const config = readConfig(['--port', '0', '--id', nodeId], { QUARTET_NODE_SECRET: secret })
  const running = await startNode(config, {
    log: () => undefined,
    openModel: async () => ({ slug, backend: await openBackend(tiny) }),
  })
  started.push(() => running.close())
  await running.ready
  node = nodeClient(running.url)
  backboneDigest = manifest.digest
  edge = await startWorkerProcess({
    QUARTET_NODES: JSON.stringify([{ id: nodeId, url: running.url }]),
    QUARTET_NODE_SECRET: secret,
    QUARTET_ADMIN_KEY: adminKey,
    QUARTET_LOG_LEVEL: 'warn',
  })
  started.push(() => edge[Symbol.asyncDispose]())
  admin = adminClient({ edge: edge.url, adminKey })
  const { contextLength, d, layers, vocab } = manifest.config
  const backbone = {
    slug,
    digest: manifest.digest,
    tokens: { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd] },
    chat: tinyChat,
    contextLength,
    d,
    layers,
    vocab,
  }
  await admin.putBackbone({ backbone, tokenizer: tinyTokenizer })
  const files = [
    ...aliases.map((alias, seed) => ({ alias, seed, placement: 'late', tail })),
    ...turnAliases.map((alias, at) => ({ alias, seed: 10 + at, placement: 'turn' })),
    { ...broad, seed: 20, placement: 'late', tail },
  ].map(({ alias, ...metadata }) => ({
    alias,
    file: serializeAdapterFile(randomAdapter(manifest, { window, ...metadata, anchor: 'own' })),
  }))
  const tenantWithAliases = async (name: string) => {
    const id = TenantId.parse(name)
    await admin.createTenant(id)
    const { key } = await admin.createKey(id)
    for (const { alias, file } of files) {
      const published = await fetch(`${edge.url}/v1/adapters?alias=${alias}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}` },
        body: file,
      })
      expect(published.status, await published.text()).toBe(201)
    }
    return key
  }
  keys = { acme: await tenantWithAliases('acme'), other: await tenantWithAliases('other') }
}, 120_000)

afterAll(async () => {
  for (const stop of started.splice(0).reverse()) await stop()
})

async function ask(
  key: string,
  body: object,
): Promise<{ prompt: number; cached: number; choices: ChatCompletion['choices'] }> {
  const answer = await fetch(`${edge.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ max_tokens: 2, ignore_eos: true, ...body }),
  })
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  const { choices, usage } = ChatCompletion.parse(JSON.parse(text))
  return { prompt: usage.prompt_tokens, cached: usage.prompt_tokens_details?.cached_tokens ?? 0, choices }
}

/** Its system message is its own: for the backbone the template would write one, for adapters it writes none. */
const conversation = (about: string) => [
  { role: 'system', content: 'Be short.' },
  { role: 'user', content: `${about}: ${'what is it? '.repeat(30)}` },
]

/** The whole blocks in front of a late adapter's window. */
const blocksBeforeWindow = (prompt: number, of = window) => Math.floor((prompt - tail - of) / block) * block

test('a late alias reads only its window, rows and header of a conversation that the backbone has read', async () => {
  const messages = conversation('first')
  expect(await ask(keys.acme, { model: 'tiny', messages })).toMatchObject({ cached: 0 })
  for (const model of aliases) {
    const { cached, prompt } = await ask(keys.acme, { model, messages })
    expect(prompt).toBeGreaterThan(300)
    expect(cached, model).toBe(blocksBeforeWindow(prompt))
  }
})

test('a late alias reads no more of a conversation that another late alias has read, in several turns as well', async () => {
  const messages = conversation('second')
  expect(await ask(keys.acme, { model: 'safe', messages })).toMatchObject({ cached: 0 })
  const { cached, prompt } = await ask(keys.acme, { model: 'topic', messages })
  expect(cached).toBe(blocksBeforeWindow(prompt))
  const turns = [
    ...messages,
    { role: 'assistant', content: 'A box.' },
    { role: 'user', content: 'Since when?' },
  ]
  const next = await ask(keys.acme, { model: 'answer', messages: turns })
  expect(next.prompt).toBeGreaterThan(prompt)
  // What stood in front of the earlier rows, the earlier window too.
  expect(next.cached).toBe(Math.floor((prompt - tail) / block) * block)
})

test('four late aliases that come at once share one prefill, also of a conversation that is new', async () => {
  const read = conversation('third')
  await ask(keys.acme, { model: 'tiny', messages: read })
  const known = await Promise.all(aliases.map((model) => ask(keys.acme, { model, messages: read })))
  for (const { cached, prompt } of known) expect(cached).toBe(blocksBeforeWindow(prompt))
  const fresh = conversation('fourth')
  const atOnce = await Promise.all(aliases.map((model) => ask(keys.acme, { model, messages: fresh })))
  const counts = atOnce.map(({ cached }) => cached).toSorted((a, b) => a - b)
  const all = blocksBeforeWindow(atOnce[0]?.prompt ?? 0)
  expect(counts).toEqual([0, all, all, all])
})

test('several models of one request read a new conversation once, and each its own window, rows and header', async () => {
  const models = [...aliases]
  const read = async () => ({
    tokens: await node.metric('quartet_node_prefill_tokens_total'),
    rows: await node.metric('quartet_node_prompt_rows_total'),
  })
  const askAll = async (about: string) => {
    const before = await read()
    const { choices, prompt } = await ask(keys.acme, { models, messages: conversation(about) })
    expect(choices.map(({ model }) => model)).toEqual(models)
    const after = await read()
    expect(after.rows - before.rows).toBe(rows * models.length)
    return { tokens: after.tokens - before.tokens, prompt }
  }
  const behindBlocks = (prompt: number) => prompt - blocksBeforeWindow(prompt)
  const fresh = await askAll('seventh')
  expect(fresh.tokens).toBe(fresh.prompt + (models.length - 1) * behindBlocks(fresh.prompt))
  await ask(keys.acme, { model: 'tiny', messages: conversation('eighth') })
  const known = await askAll('eighth')
  expect(known.tokens).toBe(models.length * behindBlocks(known.prompt))
})

describe('a stack', () => {
  test('reads its widest window, the rows of all its parts and the header of a conversation that is known', async () => {
    const messages = conversation('ninth')
    const { prompt } = await ask(keys.acme, { model: 'answer', messages })
    for (const [model, widest] of [
      ['safe+topic', window],
      ['topic+safe+broad', broad.window],
    ] as const) {
      expect((await ask(keys.acme, { model, messages })).cached, model).toBe(
        blocksBeforeWindow(prompt, widest),
      )
      const parts = model.split('+').length
      const used = async () =>
        (await admin.usage({ tenant: TenantId.parse('acme') })).find((row) => row.model === model)
      await expect
        .poll(used, { timeout: 20_000 })
        .toMatchObject({ requests: 1, errors: 0, prompt_tokens: prompt, prompt_rows: rows * parts })
    }
  })

  test('leaves what it has read to others, and finds what it has read itself', async () => {
    const messages = conversation('tenth')
    const { cached, prompt } = await ask(keys.acme, { model: 'broad+tone', messages })
    expect(cached).toBe(0)
    expect((await ask(keys.acme, { model: 'safe', messages })).cached).toBe(blocksBeforeWindow(prompt))
    expect((await ask(keys.acme, { model: 'broad+tone', messages })).cached).toBe(
      blocksBeforeWindow(prompt, broad.window),
    )
    expect((await ask(keys.other, { model: 'broad+tone', messages })).cached).toBe(0)
  })

  test('runs only as its token says: no part more, none less and none in another’s place', async () => {
    const { aliases: known } = await admin.showTenant(tenant)
    const [safe, topic, tone] = ['safe', 'topic', 'tone'].map((alias) => {
      const digest = known.find((each) => each.alias === alias)?.digest
      if (digest === undefined) throw new Error(`no alias ${alias}`)
      return digest
    })
    if (safe === undefined || topic === undefined || tone === undefined)
      throw new Error('an alias is missing')
    // The node has them from now on.
    await ask(keys.acme, { model: 'safe+topic+tone', messages: conversation('eleventh') })
    const prompt = Array.from({ length: 40 }, (_, at) => 100 + at)
    const wanted = { backbone: backboneDigest, adapter: safe, prompt, maxTokens: 2 }
    const call = (behind: AdapterDigest[] | undefined, claimed: AdapterDigest[] | undefined) =>
      node.generate(
        { ...wanted, ...(behind && { behind }) },
        { claims: { ...(claimed && { behind: claimed }) } },
      )
    for (const [behind, claimed] of [
      [[topic], undefined],
      [[topic], [tone]],
      [[topic], [topic, tone]],
      [[topic, tone], [topic]],
      [
        [topic, tone],
        [tone, topic],
      ],
      [undefined, [topic]],
    ] as const)
      expect(
        await refusal(await call(behind && [...behind], claimed && [...claimed])),
        `${behind?.length} and ${claimed?.length} behind`,
      ).toMatchObject({ status: 401, code: 'invalid_node_token' })
    const events = await readEvents(await call([topic, tone], [topic, tone]))
    expect(events.at(-1)).toMatchObject({
      type: 'done',
      usage: { promptTokens: prompt.length, promptRows: 3 * rows, completionTokens: 2 },
    })
  })
})

test('of a conversation that others have read, an alias with rows at its newest turn reads that turn and less than a block', async () => {
  const messages = [
    ...conversation('turns'),
    { role: 'assistant', content: 'A box.' },
    { role: 'user', content: `Since when? ${'Say it again. '.repeat(10)}` },
  ]
  const tokenized = await fetch(`${edge.url}/tokenize`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keys.acme}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'style', messages: messages.slice(0, -1), add_generation_prompt: false }),
  })
  const { count } = TokenizeAnswer.parse(await tokenized.json())
  const inFront = Math.floor(count / block) * block
  await ask(keys.acme, { model: 'tiny', messages })
  for (const model of turnAliases)
    expect((await ask(keys.acme, { model, messages })).cached, model).toBe(inFront)
  const { cached, prompt } = await ask(keys.acme, { model: 'safe', messages })
  expect(cached).toBe(blocksBeforeWindow(prompt))
  // Behind its rows an alias finds what it has read itself.
  const again = await ask(keys.acme, { model: 'style', messages })
  expect(again.cached).toBeGreaterThan(inFront)
  expect(again.cached).toBe(Math.floor((prompt - 2) / block) * block)
  expect((await ask(keys.other, { model: 'style', messages })).cached).toBe(0)
  expect((await ask(keys.other, { model: 'shape', messages })).cached).toBe(inFront)
})

test('another tenant never sees that a conversation was read', async () => {
  const messages = conversation('fifth')
  await ask(keys.acme, { model: 'tiny', messages })
  for (const model of ['safe', 'topic']) await ask(keys.acme, { model, messages })
  expect(await ask(keys.other, { model: 'safe', messages })).toMatchObject({ cached: 0 })
  const own = await ask(keys.other, { model: 'topic', messages })
  expect(own.cached).toBe(blocksBeforeWindow(own.prompt))
})

test('a later tenant of the same name never sees what the earlier one read', async () => {
  const id = TenantId.parse('again')
  const messages = conversation('again')
  const asked = async () => {
    // A deleted tenant's name is free some seconds later.
    await vi.waitFor(() => admin.createTenant(id), { timeout: 20_000, interval: 500 })
    const { key } = await admin.createKey(id)
    return [await ask(key, { model: 'tiny', messages }), await ask(key, { model: 'tiny', messages })] as const
  }
  const [first, second] = await asked()
  expect(first.cached).toBe(0)
  expect(second.cached).toBeGreaterThan(0)
  await admin.deleteTenant(id)
  expect((await asked()).map(({ cached }) => cached)).toEqual([0, second.cached])
})

test('a shadow answers on the prefill of the answer that its client got', async () => {
  const acme = TenantId.parse('acme')
  await admin.changeTenant(acme, { policy: { shadowTokensPerDay: 100_000 } })
  const [safe, topic] = (await admin.showTenant(acme)).aliases.filter(({ alias }) => /safe|topic/.test(alias))
  if (safe === undefined || topic === undefined) throw new Error('an alias is missing')
  const deployments = admin.deployments(acme)
  await deployments.setShadow(safe.alias, { digest: topic.digest, percent: 100 })
  const { cached, prompt } = await ask(keys.acme, { model: 'safe', messages: conversation('sixth') })
  expect(cached).toBe(0)
  const kept = async () => (await deployments.shadowAnswers(safe.alias, {})).data
  await expect.poll(async () => (await kept()).length, { timeout: 20_000 }).toBe(1)
  const [answer] = await kept()
  expect(answer?.shadow).toMatchObject({
    adapter: topic.digest,
    error: null,
    completion_tokens: 2,
    cached_tokens: blocksBeforeWindow(prompt),
  })
  for (const { logprob } of answer?.shadow.tokens ?? []) expect(logprob).toBeLessThan(0)
  expect(answer?.shadow.tokens.length).toBe(2)
  const used = async () =>
    (await admin.usage({ tenant: acme })).find(
      ({ model, shadow_tokens }) => model === 'safe' && shadow_tokens > 0,
    )
  await expect.poll(used, { timeout: 20_000 }).toMatchObject({
    shadow_tokens: prompt - blocksBeforeWindow(prompt) + 4 + 2,
  })
})
