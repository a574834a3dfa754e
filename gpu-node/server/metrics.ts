import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { ErrorCode } from '../../shared/errors.ts'
import type { EngineObserver } from '../engine/reports.ts'
import type { LoadedModel, Serving } from './serving.ts'

const stepSeconds = [0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2, 5]
const waitSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

/** Each gauge reads this from the model at the moment it is scraped. */
const gauges: Record<string, { help: string; read: (model: LoadedModel) => number }> = {
  queue_length: { help: 'Requests that wait for a place', read: ({ engine }) => engine.waiting },
  running: { help: 'Requests in prefill or decode', read: ({ engine }) => engine.running },
  running_max: { help: 'Places in the batch', read: ({ limits }) => limits.maxBatch },
  cache_rows_used: {
    help: 'KV cache rows that running requests take',
    read: ({ engine }) => engine.takenRows,
  },
  cache_rows_max: { help: 'KV cache rows in all', read: ({ limits }) => limits.cacheRows },
  prefix_bytes: { help: 'Memory of KV rows of earlier prompts', read: ({ engine }) => engine.prefixBytes },
  adapters_resident: { help: 'Adapters in memory', read: ({ adapters }) => adapters.count },
  adapters_resident_bytes: { help: 'Memory of resident adapters', read: ({ adapters }) => adapters.bytes },
}

/** Counts that the model keeps itself, as of the moment of the scrape. */
const modelCounters: Record<string, { help: string; read: (model: LoadedModel) => number }> = {
  adapter_loads_total: { help: 'Adapters loaded', read: ({ adapters }) => adapters.loads },
  adapter_evictions_total: {
    help: 'Adapters dropped to make room',
    read: ({ adapters }) => adapters.evictions,
  },
}

export interface NodeMetrics {
  /** The text exposition format. */
  text(): Promise<string>
  readonly contentType: string
  /** Counts a generation that was refused before it had a stream. */
  refused(code: ErrorCode): void
  readonly engine: Pick<EngineObserver, 'stepped' | 'ended'>
  /** A heartbeat reached the edge, or did not. */
  heartbeat(outcome: 'taken' | 'failed'): void
}

/** Sources beside the model that are read at a scrape. */
export interface NodeGauges {
  /** Lines that the log could not write, as on a full disk. */
  readonly droppedLines: () => number
  /** Settlements that no edge has acknowledged. */
  readonly pendingSettlements: () => number
  /** Tokens per second over the last seconds. */
  readonly tokensPerSecond: () => number
}

/** A registry of its own for each node, so that several can live in one process. */
export function nodeMetrics(
  serving: Serving,
  { droppedLines, pendingSettlements, tokensPerSecond }: NodeGauges,
): NodeMetrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `quartet_node_${name}`, help, buckets, registers })
  const counter = (name: string, help: string) =>
    new Counter({ name: `quartet_node_${name}`, help, registers })

  const requests = new Counter({
    name: 'quartet_node_requests_total',
    help: 'Generations by outcome: stop, length or an error code',
    labelNames: ['outcome'],
    registers,
  })
  const prefillTokens = counter('prefill_tokens_total', 'Prompt tokens that were run')
  const promptRows = counter('prompt_rows_total', 'Prompt rows of adapters that were made')
  const decodeTokens = counter('decode_tokens_total', 'Tokens that decode steps chose')
  const jumpTokens = counter('jump_tokens_total', 'Tokens of texts that a form forced, run at once')
  const prefillSeconds = histogram('prefill_step_seconds', "Duration of a step's prefill", stepSeconds)
  const decodeSeconds = histogram('decode_step_seconds', "Duration of a step's decode", stepSeconds)
  const batch = histogram('decode_batch_size', 'Sequences in a decode step', [1, 2, 4, 8, 12, 16, 24, 32, 64])
  const queueSeconds = histogram('queue_seconds', 'From arrival to admission', waitSeconds)
  const firstTokenSeconds = histogram(
    'time_to_first_token_seconds',
    'From arrival to first token',
    waitSeconds,
  )
  const tokenSeconds = histogram(
    'time_per_output_token_seconds',
    "Between a request's tokens after the first, on average",
    stepSeconds,
  )

  const heartbeats = new Counter({
    name: 'quartet_node_heartbeats_total',
    help: 'Heartbeats by outcome: taken by the edge, or failed',
    labelNames: ['outcome'],
    registers,
  })
  new Counter({
    name: 'quartet_node_log_lines_dropped_total',
    help: 'Log lines that could not be written, as on a full disk',
    registers,
    collect() {
      this.reset()
      this.inc(droppedLines())
    },
  })
  new Gauge({
    name: 'quartet_node_settlements_pending',
    help: 'Settlements that no edge has acknowledged',
    registers,
    collect() {
      this.set(pendingSettlements())
    },
  })
  new Gauge({
    name: 'quartet_node_tokens_per_second',
    help: 'Tokens generated per second, over the last ten',
    registers,
    collect() {
      this.set(tokensPerSecond())
    },
  })
  for (const [name, { help, read }] of Object.entries(gauges))
    new Gauge({
      name: `quartet_node_${name}`,
      help,
      registers,
      collect() {
        this.set(serving.model === undefined ? 0 : read(serving.model))
      },
    })

  for (const [name, { help, read }] of Object.entries(modelCounters))
    new Counter({
      name: `quartet_node_${name}`,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(serving.model === undefined ? 0 : read(serving.model))
      },
    })

  return {
    text: () => registry.metrics(),
    contentType: registry.contentType,
    refused: (code) => requests.inc({ outcome: code }),
    heartbeat: (outcome) => heartbeats.inc({ outcome }),
    engine: {
      stepped(step) {
        if (step.prefillTokens > 0) {
          prefillTokens.inc(step.prefillTokens)
          promptRows.inc(step.prefillRows - step.prefillTokens)
          prefillSeconds.observe(step.prefillSeconds)
        }
        jumpTokens.inc(step.jumpTokens)
        if (step.decodeTokens + step.jumpTokens > 0) decodeSeconds.observe(step.decodeSeconds)
        if (step.decodeTokens > 0) {
          decodeTokens.inc(step.decodeTokens)
          batch.observe(step.decodeTokens)
        }
      },
      ended({ outcome, timings, usage }) {
        requests.inc({ outcome })
        queueSeconds.observe(timings.queueMs / 1000)
        if (usage.completionTokens > 0)
          firstTokenSeconds.observe((timings.queueMs + timings.prefillMs) / 1000)
        if (usage.completionTokens > 1)
          tokenSeconds.observe(timings.decodeMs / 1000 / (usage.completionTokens - 1))
      },
    },
  }
}
