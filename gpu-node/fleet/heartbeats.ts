import { setTimeout as delay } from 'node:timers/promises'
import { throughClosedConnections } from '../../shared/closed-connection.ts'
import { sha256Hex } from '../../shared/digest.ts'
import {
  type Heartbeat,
  HeartbeatResponse,
  heartbeatMs,
  maxSettlementsPerHeartbeat,
  type NodeStatus,
} from '../../shared/heartbeat.ts'
import { signHeartbeat } from '../../shared/heartbeat-token.ts'
import type { SettlementId } from '../../shared/ids.ts'
import type { Log } from '../../shared/log.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { failureText } from '../server/log.ts'
import type { EdgeClock } from './edge-clock.ts'

const firstBackoffMs = 250
const maxBackoffMs = 2_000
const answerTimeoutMs = 5_000
/** The last heartbeat may delay the end of a process by this much. */
const farewellMs = 1_000
/** Settlements are handed over for as long as an edge takes some; after so long without any the process ends. */
const handOverMs = 5_000

/** The edge was reached and did not take a heartbeat. */
class HeartbeatRefusal extends Error {
  readonly status: number

  constructor(status: number, body: string) {
    super(`the edge answered ${status}: ${body.slice(0, 500)}`)
    this.status = status
  }
}

/** Settlements that no edge has acknowledged (gpu-node/settlements). */
interface SettlementSource {
  unacknowledged(limit: number): readonly Settlement[]
  acknowledge(ids: readonly SettlementId[]): void
  /** How many wait to be acknowledged. */
  readonly count: number
}

export interface HeartbeatOptions {
  /** The identity of this process. */
  readonly instanceId: string
  readonly edge: string
  readonly key: Uint8Array
  readonly status: () => NodeStatus
  readonly settlements: SettlementSource
  readonly clock: EdgeClock
  readonly log: Log
  /** Called for each heartbeat: says whether the edge took it. */
  readonly sent?: (outcome: 'taken' | 'failed') => void
}

/**
 * Tells the edge every second how the node is, from `start` to `stop`. An edge that is down is asked again after a
 * quarter of a second, doubled up to two seconds; the node serves the edges that reach it meanwhile.
 */
export class Heartbeats {
  readonly #options: HeartbeatOptions
  readonly #stopped = new AbortController()
  #sequence = 0
  #epoch = ''
  /** The kind of failure that the last heartbeat met; each is logged once. */
  #trouble: string | undefined
  #loop: Promise<void> = Promise.resolve()
  #wake = () => {}
  /** The node's state has changed since the last heartbeat was written. */
  #isDue = false

  constructor(options: HeartbeatOptions) {
    this.#options = options
  }

  start(): void {
    this.#loop = this.#run()
  }

  /** Sends the next heartbeat now, or right behind the one that is on its way: the node's state has changed. */
  hurry(): void {
    this.#isDue = true
    this.#wake()
  }

  /** Sends a last heartbeat, if the edge takes it quickly, and more until every settlement is acknowledged. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#loop
    await this.#farewell()
    const { log, settlements } = this.#options
    for (let left = settlements.count, since = performance.now(); left > 0; ) {
      await this.#farewell()
      if (settlements.count < left) since = performance.now()
      else if (performance.now() - since >= handOverMs) break
      else await delay(firstBackoffMs)
      left = settlements.count
    }
    if (settlements.count > 0) log('error', 'settlements_lost', { count: settlements.count })
  }

  async #farewell(): Promise<void> {
    await this.#beat(AbortSignal.timeout(farewellMs)).catch(() => undefined)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped
    for (let backoff = firstBackoffMs; !signal.aborted; ) {
      this.#isDue = false
      try {
        await this.#beat(AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]))
        this.#options.sent?.('taken')
        if (this.#trouble !== undefined) this.#options.log('info', 'edge_reached')
        this.#trouble = undefined
        backoff = firstBackoffMs
        await this.#pause(heartbeatMs)
      } catch (thrown) {
        if (signal.aborted) return
        this.#options.sent?.('failed')
        this.#report(thrown)
        // Nodes that lost one edge at the same moment do not come back to it at the same moment.
        await this.#pause(backoff * (0.75 + Math.random() / 2))
        backoff = Math.min(maxBackoffMs, backoff * 2)
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isDue) return
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    const signal = AbortSignal.any([woken.signal, this.#stopped.signal])
    await delay(ms, undefined, { signal }).catch(() => undefined)
  }

  #report(thrown: unknown): void {
    const { edge, log } = this.#options
    const trouble = thrown instanceof HeartbeatRefusal ? String(thrown.status) : 'unreachable'
    if (trouble !== this.#trouble) log('warn', 'heartbeat_failed', { edge, reason: failureText(thrown) })
    this.#trouble = trouble
  }

  /** Throws when the edge does not take it. */
  async #beat(signal: AbortSignal): Promise<void> {
    // Each has a number of its own, so that one that did arrive does no harm.
    const send = () => throughClosedConnections(() => this.#send(signal))
    const answer = await send()
    this.#epoch = answer.epoch
    const settled = answer.accepted ? answer : await send()
    this.#epoch = settled.epoch
    if (!settled.accepted) throw new Error('the registry restarts again and again')
    this.#options.settlements.acknowledge(settled.acknowledged)
  }

  async #send(signal: AbortSignal): Promise<HeartbeatResponse> {
    const { clock, edge, instanceId, key, settlements, status } = this.#options
    const heartbeat: Heartbeat = {
      ...status(),
      instanceId,
      sequence: this.#sequence++,
      settlements: [...settlements.unacknowledged(maxSettlementsPerHeartbeat)],
    }
    const body = JSON.stringify(heartbeat)
    const token = await signHeartbeat(key, {
      edge,
      node: heartbeat.node,
      epoch: this.#epoch,
      body: await sha256Hex(body),
      now: new Date(clock.now()),
    })
    const askedAt = Date.now()
    const response = await fetch(`${edge}/fleet/v1/heartbeat`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body,
      // Its content is for that edge alone.
      redirect: 'manual',
      signal,
    })
    const text = await response.text()
    if (!response.ok) throw new HeartbeatRefusal(response.status, text)
    const answer = HeartbeatResponse.parse(JSON.parse(text))
    clock.heard(answer.time, askedAt)
    return answer
  }
}
