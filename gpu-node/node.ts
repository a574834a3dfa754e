import { setTimeout as delay } from 'node:timers/promises'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import type { Backend } from '../model/runtime/backend.ts'
import { checkCacheType, defaultCacheType, layoutFor } from '../model/runtime/cache-layout.ts'
import { isDeviceLoss } from '../model/runtime/device-loss.ts'
import type { PrefillWeights } from '../model/runtime/prefill-weights.ts'
import { maxWindow } from '../shared/adapter-file.ts'
import { QuartetError } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'
import { nodeTokenKey } from '../shared/node-token.ts'
import { AdapterStore } from './adapters/store.ts'
import { cacheRowsOf } from './cache-rows.ts'
import type { NodeConfig } from './config.ts'
import { Engine } from './engine/engine.ts'
import { findBackbone } from './find-backbone.ts'
import { EdgeClock } from './fleet/edge-clock.ts'
import { Heartbeats } from './fleet/heartbeats.ts'
import { assertReachable, membershipOf, nodeIdOf, nodeStatus } from './fleet/membership.ts'
import { Rates } from './fleet/rates.ts'
import { Grammars } from './grammar/grammars.ts'
import type { GrammarVocabulary } from './grammar/messages.ts'
import { grammarVocabulary } from './grammar/vocabulary.ts'
import { nodeApp } from './server/app.ts'
import { Authorization } from './server/authorization.ts'
import { listen } from './server/listen.ts'
import { failureText } from './server/log.ts'
import { nodeMetrics } from './server/metrics.ts'
import { Serving } from './server/serving.ts'
import { Settlements } from './settlements/settlements.ts'
import { Tracing } from './telemetry/tracing.ts'

export interface RunningNode {
  readonly url: string
  /** Resolves when the backbone is loaded and requests are answered; rejects when it cannot be loaded. */
  readonly ready: Promise<void>
  /**
   * Resolves when the device that computes is lost: requests end with an error that sends them elsewhere, new ones are
   * refused, and only a new process can serve again.
   */
  readonly lost: Promise<void>
  /**
   * Refuses new requests, lets running ones go on for up to `drainSeconds`, then frees everything. A second call resolves with
   * the first.
   */
  close(): Promise<void>
}

export interface NodeParts {
  readonly log: Log
  /** Lines that the log could not write. */
  readonly droppedLines?: () => number
  /** Opens the model that the node runs; by default the real one. */
  readonly openModel?: (config: NodeConfig) => Promise<LoadedModel>
}

interface LoadedModel {
  readonly slug: Backbone['manifest']['slug']
  readonly backend: Backend
  readonly vocabulary?: GrammarVocabulary | undefined
  readonly prefillWeights?: PrefillWeights
}

/** How long connections may stay open once every request is over. */
const connectionGraceMs = 1000

/** Listens at once and loads the backbone meanwhile. Throws `conflict` when the port is taken. */
export async function startNode(
  config: NodeConfig,
  { droppedLines = () => 0, log, openModel = openOnnxModel }: NodeParts,
): Promise<RunningNode> {
  assertReachable(config)
  const serving = new Serving()
  const key = nodeTokenKey(config.secret)
  const clock = new EdgeClock()
  const authorization = new Authorization({ key, node: () => nodeIdOf(config, listener.url), now: clock.now })
  const rates = new Rates()
  const instanceId = crypto.randomUUID()
  const tracing = new Tracing(config.telemetry, { instance: instanceId, log })
  const settlements = new Settlements({ forgot: (count) => log('warn', 'settlements_forgotten', { count }) })
  const metrics = nodeMetrics(serving, {
    droppedLines,
    pendingSettlements: () => settlements.count,
    tokensPerSecond: () => rates.current.tokensPerSecond,
  })
  const app = nodeApp({ authorization, serving, metrics, log, tracing, settlements })
  const listener = await listen(app.fetch, config)
  log('info', 'listening', { url: listener.url })
  const heartbeats = joinFleet()
  const loss = Promise.withResolvers<void>()
  let isLost = false
  let closed: Promise<void> | undefined

  const loading = loadModel()
  loading.catch(() => undefined)
  return {
    url: listener.url,
    ready: loading.then(() => undefined),
    lost: loss.promise,
    close: () => (closed ??= close()),
  }

  async function loadModel(): Promise<Engine> {
    const start = performance.now()
    const { backend, prefillWeights, slug, vocabulary } = await openModel(config)
    const total = config.queue
    const engine = new Engine({
      backend,
      queue: { total, perTenant: Math.min(total, config.tenantQueue ?? Math.ceil(total / 2)) },
      chunkTokens: config.chunkTokens,
      stepMs: config.stepMs,
      prefixBytes: config.prefixBytes,
      observer: {
        stepped(step) {
          metrics.engine.stepped(step)
          rates.stepped(step)
        },
        ended(request) {
          metrics.engine.ended(request)
          tracing.generated(request)
          rates.ended(request)
          settlements.ended(request)
          const { outcome, requestId, timings, usage } = request
          log('info', 'request', { requestId, outcome, ...usage, ...rounded(timings) })
        },
        failed(error) {
          log('error', 'step_failed', { reason: failureText(error) })
          if (isDeviceLoss(error)) lose()
        },
      },
    })
    const adapters = new AdapterStore(backend, {
      bytes: config.adapterCacheBytes,
      count: config.adapterCacheCount,
    })
    const grammars = vocabulary && new Grammars({ vocabulary })
    serving.loaded({
      grammars,
      slug,
      digest: backend.backbone,
      limits: backend.limits,
      engine,
      adapters,
      stack: (parts) => backend.stack(parts),
    })
    log('info', 'ready', {
      backbone: slug,
      digest: backend.backbone,
      device: config.device,
      prefillWeights,
      seconds: Math.round(performance.now() - start) / 1000,
    })
    heartbeats?.start()
    return engine
  }

  function lose(): void {
    if (isLost) return
    isLost = true
    log('error', 'device_lost', { device: config.device })
    void serving.drain()
    loss.resolve()
  }

  function joinFleet(): Heartbeats | undefined {
    const membership = membershipOf(config, listener.url)
    if (membership === undefined) return undefined
    const { edge, node, region, url } = membership
    log('info', 'joining', { edge, node, region, url })
    const status = nodeStatus(membership, { serving, rates })
    return new Heartbeats({
      edge,
      instanceId,
      key,
      status,
      settlements,
      clock,
      log,
      sent: metrics.heartbeat,
    })
  }

  async function close(): Promise<void> {
    log('info', 'draining', { running: serving.model?.engine.running ?? 0, seconds: config.drainSeconds })
    const patience = new AbortController()
    const drained = serving.drain()
    heartbeats?.hurry()
    await Promise.race([drained, delay(config.drainSeconds * 1000, undefined, { signal: patience.signal })])
    patience.abort()
    const engine = await loading.catch(() => undefined)
    await engine?.close()
    await serving.model?.grammars?.close()
    settlements.leave()
    if (engine !== undefined) await heartbeats?.stop()
    await listener.close(connectionGraceMs)
    await tracing.close()
    log('info', 'stopped')
  }
}

async function openOnnxModel(config: NodeConfig): Promise<LoadedModel> {
  const { createBackend } = await import('../model/runtime/create-backend.ts')
  const { checkDecoding } = await import('../model/runtime/decode-check.ts')
  const { checkLongChunks } = await import('../model/runtime/long-chunk-check.ts')
  const { prepareCacheGraph } = await import('../model/calibration/cache-graph.ts')
  const { usualPrefillWeights } = await import('../model/runtime/prefill-weights.ts')
  const { folder, manifest } = await findBackbone(config)
  const { device, maxBatch, prefixBytes: keptBytes, threads } = config
  const { cacheType = defaultCacheType[device] } = config
  const layout = layoutFor(manifest.config, device)
  checkCacheType(cacheType, { device, layout })
  const { cudaLibrary, freeCudaMemory } = await import('../model/runtime/ort/cuda.ts')
  // Before graphs are written for it, and scales are measured on the CPU, which takes minutes for a large backbone.
  if (device === 'cuda') cudaLibrary()
  const freeBytes = device === 'cuda' ? freeCudaMemory() : undefined
  const cacheRows = cacheRowsOf(config, { freeBytes, layout, manifest, type: cacheType })
  const contextLength = Math.min(manifest.config.contextLength, cacheRows)
  const chunkTokens = Math.max(config.chunkTokens, maxWindow)
  const limits = { contextLength, chunkTokens, maxBatch, cacheRows }
  await prepareCacheGraph({ folder, manifest }, { device, layout, type: cacheType })
  const decodeGraph = device === 'cuda' && config.cudaGraphs === 'on'
  const prefillWeights = config.prefillWeights ?? (await usualPrefillWeights(manifest, { device }))
  const on = { device, threads, decodeGraph, prefillWeights }
  const opening = { folder, manifest, limits, cacheType, keptBytes, ...on }
  await using failing = new AsyncDisposableStack()
  const backend = failing.adopt(await createBackend(opening), (refused) => refused.close())
  await warmUp(backend)
  await checkLongChunks(backend, device)
  await checkDecoding(backend, device)
  const vocabulary = await grammarVocabulary({ folder, manifest })
  failing.move()
  return { slug: manifest.slug, backend, vocabulary, prefillWeights }
}

/** Runs both kinds of call once: a backend that cannot is found out now, and the first request is not the slow one. */
async function warmUp(backend: Backend): Promise<void> {
  const slot = backend.allocate(8)
  if (slot === undefined)
    throw new QuartetError('invalid_request', '--cache-rows leaves no room for a request')
  try {
    await backend.prefill({ slot, tokens: [0, 1, 2, 3] })
    await backend.decode([{ slot, token: 4 }])
  } finally {
    slot.release()
  }
}

function rounded<T extends Readonly<Record<string, number>>>(numbers: T): Record<string, number> {
  return Object.fromEntries(
    Object.entries(numbers).map(([name, number]) => [name, Math.round(number * 10) / 10]),
  )
}
