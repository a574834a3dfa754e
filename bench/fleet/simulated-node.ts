import type { Beat } from '../../edge/fleet/roster.ts'
import { NodeId } from '../../shared/heartbeat.ts'
import { type AdapterKey, BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { encodeResident } from '../../shared/resident-adapters.ts'
import type { EventQueue } from './event-queue.ts'

export const simulatedBackbone = BackboneDigest.parse('ab'.repeat(32))

/** Milliseconds; about what the engine does with SmolLM2-135M at a busy batch. */
const prefillMs = 60
const pushMs = 30

/** A request at a node. */
export interface SimulatedRequest {
  readonly adapter: AdapterKey
  readonly decodeMs: number
  readonly firstToken: () => void
  readonly finished: () => void
  /** The node died; `started` when the first token had left. */
  readonly died: (started: boolean) => void
}

export interface NodeLimits {
  /** Sequences at once; further ones wait. */
  readonly maxBatch: number
  readonly queue: number
  /** Adapters it holds; the least recently used goes first. */
  readonly adapters: number
}

interface Held extends SimulatedRequest {
  phase: 'waiting' | 'prefilling' | 'decoding' | 'over'
}

/** A node in virtual time: a batch, a queue in front of it and a cache of adapters. */
export class SimulatedNode {
  readonly id: NodeId
  readonly url: string
  readonly #events: EventQueue
  readonly #limits: NodeLimits
  #alive = true
  #stalledUntil = 0
  #instanceId = crypto.randomUUID()
  #sequence = 0
  /** Least recently used first. */
  #resident = new Set<AdapterKey>()
  readonly #requests = new Set<Held>()
  #running = 0
  readonly #waiting: Held[] = []

  constructor(at: number, { events, limits }: { events: EventQueue; limits: NodeLimits }) {
    this.id = NodeId.parse(`node-${at}`)
    this.url = `http://node-${at}`
    this.#events = events
    this.#limits = limits
  }

  get alive(): boolean {
    return this.#alive
  }

  /** Requests here, running and waiting. */
  get load(): number {
    return this.#running + this.#waiting.length
  }

  get status(): Beat {
    const { maxBatch } = this.#limits
    const rows = 1_000_000
    return {
      node: this.id,
      url: this.url,
      region: '',
      instanceId: this.#instanceId,
      sequence: this.#sequence++,
      backbone: { slug: BackboneSlug.parse('simulated'), digest: simulatedBackbone },
      contextLength: 8192,
      maxBatch,
      running: this.#running,
      waiting: this.#waiting.length,
      cacheRows: { free: rows, all: rows },
      resident: encodeResident(this.#resident),
      draining: false,
      rates: { tokensPerSecond: 0, requestsPerSecond: 0, firstTokenMsP50: null, firstTokenMsP95: null },
    }
  }

  /** Takes a request, or says why not; `cancel` ends it early. */
  submit(request: SimulatedRequest): { hit: boolean; cancel: () => void } | 'unreachable' | 'queue_full' {
    if (!this.#alive) return 'unreachable'
    if (this.#waiting.length >= this.#limits.queue) return 'queue_full'
    const hit = this.#resident.delete(request.adapter)
    this.#resident.add(request.adapter)
    const [oldest] = this.#resident
    if (this.#resident.size > this.#limits.adapters && oldest !== undefined) this.#resident.delete(oldest)
    const held: Held = { ...request, phase: 'waiting' }
    this.#requests.add(held)
    if (hit) this.#admit(held)
    else this.#events.after(pushMs, () => this.#admit(held))
    return { hit, cancel: () => this.#end(held) }
  }

  kill(): void {
    this.#alive = false
    this.#resident = new Set()
    const dying = [...this.#requests]
    this.#waiting.length = 0
    for (const request of dying) {
      const started = request.phase === 'decoding'
      this.#end(request)
      request.died(started)
    }
  }

  /** Gives no token for so long, as under a long step; nothing of it fails. */
  stall(ms: number): void {
    this.#stalledUntil = this.#events.now() + ms
  }

  restart(): void {
    this.#alive = true
    this.#instanceId = crypto.randomUUID()
    this.#sequence = 0
  }

  #admit(request: Held): void {
    if (request.phase !== 'waiting') return
    if (this.#running < this.#limits.maxBatch) this.#run(request)
    else this.#waiting.push(request)
  }

  #run(request: Held): void {
    this.#running += 1
    request.phase = 'prefilling'
    this.#after(prefillMs, () => {
      if (request.phase !== 'prefilling') return
      request.phase = 'decoding'
      request.firstToken()
      this.#after(request.decodeMs, () => {
        if (request.phase !== 'decoding') return
        this.#end(request)
        request.finished()
      })
    })
  }

  /** Runs work of the node's after so long, or when the node stalls no longer. */
  #after(ms: number, run: () => void): void {
    this.#events.after(ms, () => {
      const stalledMs = this.#stalledUntil - this.#events.now()
      if (stalledMs > 0) this.#after(stalledMs, run)
      else run()
    })
  }

  #end(request: Held): void {
    if (request.phase === 'over') return
    const wasRunning = request.phase !== 'waiting'
    request.phase = 'over'
    this.#requests.delete(request)
    if (!wasRunning) {
      const at = this.#waiting.indexOf(request)
      if (at !== -1) this.#waiting.splice(at, 1)
      return
    }
    this.#running -= 1
    const next = this.#alive ? this.#waiting.shift() : undefined
    if (next !== undefined) this.#run(next)
  }
}
