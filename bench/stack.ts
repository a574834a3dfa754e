import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { adminClient } from '../cli/edge/admin-client.ts'
import { homeAt, makeHome } from '../cli/local/home.ts'
import { edgeBackbone } from '../cli/local/local-backbone.ts'
import { ensureLocalSecrets } from '../cli/local/secrets.ts'
import { startStack } from '../cli/local/stack.ts'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import { AliasName, TenantId } from '../shared/ids.ts'
import { benchBackbone, weightFormat } from './backend.ts'
import { closedLoop, type LoadTarget, request } from './load.ts'
import { startPeer } from './peer.ts'
import { firstLoras, type PeerFiles, type PeerOptions, peerFiles } from './peer-files.ts'
import { peerWeights } from './peer-weights.ts'
import { publishRandomAdapter } from './publish-random-adapter.ts'
import { type Figure, report } from './report.ts'
import { median } from './statistics.ts'
import { freshStory, storyTokens } from './story.ts'

const edgePort = 18_787
const nodePort = 18_788
const clients = 8
const requests = 48
const rounds = 3
const adapterCount = 24
/** Against the peer, which takes half a minute for these with LoRAs. */
const peerRequests = 24
const peerAdapters = 8
const firstPeerPort = 18_789

/** A local stack of its own, with one tenant. */
export interface Quartet extends AsyncDisposable {
  readonly edge: string
  readonly key: string
  /** Completions of 48 tokens by the given model for each request. */
  target(modelOf: (i: number) => string, maxTokens?: number): LoadTarget
  readonly backbone: string
  readonly adapters: readonly string[]
}

/**
 * A whole local stack of its own, with one tenant and so many adapters that no node has seen; of q8 weights where no backbone
 * is given.
 */
export async function startQuartet(adapterCount: number, served?: Backbone): Promise<Quartet> {
  const folder = await mkdtemp(join(tmpdir(), 'quartet-bench-'))
  const home = homeAt(folder)
  await makeHome(home)
  const secrets = await ensureLocalSecrets(home)
  const backbone = served ?? (await benchBackbone())
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
        ...freshStory(),
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

async function tokensPerSecond(target: LoadTarget, requests: number): Promise<number> {
  const { requestsPerSecond } = await closedLoop(target, { clients, requests })
  return requestsPerSecond * storyTokens
}

/** A server under the benchmark's load, and its tokens per second in each round. */
interface Column {
  readonly name: string
  readonly target: LoadTarget
  /** How many times its rate Quartet's is to be at least. */
  readonly bound: number | undefined
  readonly rounds: number[]
}

/** Quartet with eight adapters against `llama-server`: each file without a LoRA, and the first one with eight. */
async function againstPeer(
  { folder, ggufs, loras, rounds }: PeerFiles,
  backbone: Backbone,
): Promise<Figure[]> {
  const eight = loras && firstLoras(loras, peerAdapters)
  await using servers = new AsyncDisposableStack()
  let port = firstPeerPort
  const start = async (gguf: string, loras: readonly string[]) => {
    const server = { folder, gguf, loras, slots: clients, port: port++ }
    return servers.use(await startPeer(server)).target
  }
  const columns: Column[] = []
  for (const gguf of ggufs) {
    const { asGood, name } = await peerWeights(gguf)
    columns.push({
      name: `llama-server ${basename(gguf, '.gguf')} (${name})`,
      target: await start(gguf, []),
      bound: asGood.includes(backbone.manifest.weights) ? 1 : undefined,
      rounds: [],
    })
  }
  if (eight !== undefined)
    columns.push({
      name: `llama-server ${basename(ggufs[0], '.gguf')}, eight LoRAs`,
      target: await start(ggufs[0], eight),
      bound: 3,
      rounds: [],
    })
  const quartet = servers.use(await startQuartet(peerAdapters, backbone))
  const ours = {
    name: `Quartet ${backbone.manifest.weights}, eight adapters`,
    target: tuned(quartet),
    rounds: [] as number[],
  }
  for (const { target } of [ours, ...columns]) await request(target, 0)
  for (let round = 0; round < rounds; round++) {
    const sides = [ours, ...columns]
    for (const { target, rounds } of round % 2 === 0 ? sides : sides.toReversed())
      rounds.push(await tokensPerSecond(target, peerRequests))
  }
  return [
    ...[ours, ...columns].map(({ name, rounds }) => ({ name, value: median(rounds), unit: 'tok/s' })),
    ...columns.map(
      ({ bound, name, rounds }): Figure => ({
        name: `Quartet / ${name}`,
        value: median(ours.rounds.map((rate, round) => rate / (rounds[round] ?? Number.NaN))),
        unit: '×',
        ...(bound === undefined ? {} : { bound: { kind: 'at least', value: bound } }),
      }),
    ),
  ]
}

/** Requests to eight adapters in turn. */
function tuned(quartet: Quartet): LoadTarget {
  return quartet.target((i) => quartet.adapters[i % 8] ?? quartet.backbone)
}

async function alone(quartet: Quartet): Promise<Figure[]> {
  const adapters = tuned(quartet)
  const untuned = quartet.target(() => quartet.backbone)
  const results: { tuned: number; untuned: number }[] = []
  for (let round = 0; round < rounds; round++)
    results.push({
      tuned: await tokensPerSecond(adapters, requests),
      untuned: await tokensPerSecond(untuned, requests),
    })
  return [
    { name: 'Quartet, eight adapters', value: median(results.map((r) => r.tuned)), unit: 'tok/s' },
    {
      name: 'Quartet, eight adapters / untuned',
      value: median(results.map((r) => r.tuned / r.untuned)),
      unit: '×',
    },
  ]
}

/** `npm run bench -- stack`: the whole stack by itself, or with `--peer` against llama.cpp's server. */
export async function benchStack({
  weights,
  ...options
}: PeerOptions & { readonly weights?: string | undefined }): Promise<boolean> {
  const files = peerFiles(options)
  const backbone = await benchBackbone(weightFormat(weights))
  const load = `${clients} clients, about 70 prompt tokens, ${storyTokens} new tokens each`
  if (files !== undefined) {
    const title = `stack against llama.cpp: ${load}, medians of ${files.rounds} rounds`
    return report(title, await againstPeer(files, backbone))
  }
  await using quartet = await startQuartet(adapterCount, backbone)
  return report(`stack: ${load}`, [...(await firstUse(quartet)), ...(await alone(quartet))])
}
