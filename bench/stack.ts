import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { adminClient } from '../cli/edge/admin-client.ts'
import { homeAt, makeHome } from '../cli/local/home.ts'
import { edgeBackbone } from '../cli/local/local-backbone.ts'
import { ensureLocalSecrets } from '../cli/local/secrets.ts'
import { startStack } from '../cli/local/stack.ts'
import { AliasName, TenantId } from '../shared/ids.ts'
import { benchBackbone } from './backend.ts'
import { closedLoop, type LoadTarget, request } from './load.ts'
import { loraFiles, startPeer, storyPrompt, storyTokens } from './peer.ts'
import { publishRandomAdapter } from './publish-random-adapter.ts'
import { type Figure, report } from './report.ts'
import { median } from './statistics.ts'

const edgePort = 18_787
const nodePort = 18_788
const clients = 8
const requests = 48
const rounds = 3
const adapterCount = 24

export interface StackBenchOptions {
  /** Folder of llama.cpp's `llama-server`; without it only Quartet is driven. */
  readonly peer?: string
  readonly gguf?: string
  readonly loras?: string
}

/** A local stack of its own, with one tenant. */
export interface Quartet extends AsyncDisposable {
  readonly edge: string
  readonly key: string
  /** Completions of 48 tokens by the given model for each request. */
  target(modelOf: (i: number) => string, maxTokens?: number): LoadTarget
  readonly backbone: string
  readonly adapters: readonly string[]
}

/** A whole local stack of its own, with one tenant and so many adapters that no node has seen. */
export async function startQuartet(adapterCount: number): Promise<Quartet> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  const home = homeAt(folder)
  await makeHome(home)
  const secrets = await ensureLocalSecrets(home)
  const backbone = await benchBackbone()
  const signal = AbortSignal.timeout(120_000)
  const stack = await startStack({ home, edgePort, nodePort, secrets, backbone, signal })
  const admin = adminClient({ edge: stack.edge, adminKey: secrets.adminKey })
  const tenant = TenantId.parse('bench')
  await admin.putBackbone(await edgeBackbone(backbone))
  await admin.createTenant(tenant)
  const { key } = await admin.createKey(tenant)
  const adapters: AliasName[] = []
  for (let seed = 0; seed < adapterCount; seed++) {
    const alias = AliasName.parse(`adapter-${seed}`)
    await publishRandomAdapter(admin, { tenant, alias, manifest: backbone.manifest, seed })
    adapters.push(alias)
  }
  return {
    edge: stack.edge,
    key,
    backbone: backbone.manifest.slug,
    adapters,
    target: (modelOf, maxTokens = storyTokens) => ({
      url: `${stack.edge}/v1/completions`,
      headers: { authorization: `Bearer ${key}` },
      body: (i) => ({
        ...storyPrompt(i),
        model: modelOf(i),
        max_tokens: maxTokens,
        ignore_eos: true,
        temperature: 0,
        stream: true,
      }),
      isToken: () => true,
    }),
    async [Symbol.asyncDispose]() {
      await stack[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Time to first token: an adapter's first use at the node, its second, and the untuned backbone. */
async function firstUse(quartet: Quartet): Promise<Figure[]> {
  const first: number[] = []
  const repeat: number[] = []
  const base: number[] = []
  const untuned = quartet.target(() => quartet.backbone, 1)
  await request(untuned, 0)
  for (const [i, alias] of quartet.adapters.entries()) {
    const tuned = quartet.target(() => alias, 1)
    first.push((await request(tuned, i)).firstTokenMs)
    repeat.push((await request(tuned, i)).firstTokenMs)
    base.push((await request(untuned, i)).firstTokenMs)
  }
  return [
    { name: 'first token, untuned', value: median(base), unit: 'ms' },
    { name: 'first token, adapter in use before', value: median(repeat), unit: 'ms' },
    {
      name: 'first use of an adapter adds',
      value: median(first.map((ms, i) => ms - (repeat[i] ?? 0))),
      unit: 'ms',
      bound: { kind: 'at most', value: 60 },
    },
    {
      name: 'a repeat adds, against untuned',
      value: median(repeat.map((ms, i) => ms - (base[i] ?? 0))),
      unit: 'ms',
      bound: { kind: 'at most', value: 5 },
    },
  ]
}

async function tokensPerSecond(target: LoadTarget): Promise<number> {
  const { requestsPerSecond } = await closedLoop(target, { clients, requests })
  return requestsPerSecond * storyTokens
}

async function againstPeer(quartet: Quartet, options: Required<StackBenchOptions>): Promise<Figure[]> {
  const server = { peer: options.peer, gguf: options.gguf, slots: clients }
  await using plain = await startPeer({ ...server, port: 18_789, loras: [] })
  await using tuned = await startPeer({
    ...server,
    port: 18_790,
    loras: loraFiles(options.loras).slice(0, 8),
  })
  const ours = quartet.target((i) => quartet.adapters[i % 8] ?? quartet.backbone)
  for (const target of [ours, plain.target, tuned.target]) await request(target, 0)
  const results: { ours: number; plain: number; tuned: number }[] = []
  for (let round = 0; round < rounds; round++)
    results.push({
      ours: await tokensPerSecond(ours),
      plain: await tokensPerSecond(plain.target),
      tuned: await tokensPerSecond(tuned.target),
    })
  return [
    { name: 'Quartet, eight adapters', value: median(results.map((r) => r.ours)), unit: 'tok/s' },
    { name: 'llama-server, eight LoRAs', value: median(results.map((r) => r.tuned)), unit: 'tok/s' },
    { name: 'llama-server, no LoRA', value: median(results.map((r) => r.plain)), unit: 'tok/s' },
    {
      name: 'Quartet / llama-server with LoRAs',
      value: median(results.map((r) => r.ours / r.tuned)),
      unit: '×',
      bound: { kind: 'at least', value: 2.5 },
    },
    {
      name: 'Quartet / llama-server without',
      value: median(results.map((r) => r.ours / r.plain)),
      unit: '×',
      bound: { kind: 'at least', value: 1.2 },
    },
  ]
}

async function alone(quartet: Quartet): Promise<Figure[]> {
  const tuned = quartet.target((i) => quartet.adapters[i % 8] ?? quartet.backbone)
  const untuned = quartet.target(() => quartet.backbone)
  const results: { tuned: number; untuned: number }[] = []
  for (let round = 0; round < rounds; round++)
    results.push({ tuned: await tokensPerSecond(tuned), untuned: await tokensPerSecond(untuned) })
  return [
    { name: 'Quartet, eight adapters', value: median(results.map((r) => r.tuned)), unit: 'tok/s' },
    {
      name: 'Quartet, eight adapters / untuned',
      value: median(results.map((r) => r.tuned / r.untuned)),
      unit: '×',
    },
  ]
}

export async function benchStack({ peer, gguf, loras }: StackBenchOptions): Promise<boolean> {
  await using quartet = await startQuartet(adapterCount)
  const figures = await firstUse(quartet)
  if (peer !== undefined && gguf !== undefined && loras !== undefined)
    figures.push(...(await againstPeer(quartet, { peer, gguf, loras })))
  else figures.push(...(await alone(quartet)))
  return report(`stack: ${clients} clients, about 70 prompt tokens, ${storyTokens} new tokens each`, figures)
}
