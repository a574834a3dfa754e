import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../shared/digest.ts'
import {
  Heartbeat,
  type HeartbeatResponse,
  maxSettlementsPerHeartbeat,
  NodeId,
  type NodeStatus,
} from '../../shared/heartbeat.ts'
import { verifyHeartbeat } from '../../shared/heartbeat-token.ts'
import { BackboneDigest, BackboneSlug, RequestId, settlementId, TenantId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import type { Settlement } from '../../shared/settlement.ts'
import { EdgeClock } from './edge-clock.ts'
import { Heartbeats } from './heartbeats.ts'

const key = nodeTokenKey('s'.repeat(32))
const status: NodeStatus = {
  node: NodeId.parse('n'),
  url: 'http://10.0.0.1',
  region: '',
  backbone: { slug: BackboneSlug.parse('tiny'), digest: BackboneDigest.parse('ab'.repeat(32)) },
  contextLength: 512,
  maxBatch: 4,
  running: 1,
  waiting: 0,
  cacheRows: { free: 10, all: 20 },
  resident: '',
  draining: false,
  rates: { tokensPerSecond: 0, requestsPerSecond: 0, firstTokenMsP50: null, firstTokenMsP95: null },
}
const requestId = RequestId.parse(`req_${'0'.repeat(32)}`)
const settlement: Settlement = {
  id: settlementId({ requestId, choice: 0, attempt: 0 }),
  requestId,
  tenant: TenantId.parse('t'),
  terms: 'm',
  usage: { promptTokens: 1, completionTokens: 1 },
  outcome: 'stop',
  firstTokenMs: 1,
  endedAt: 1,
}

interface Received {
  readonly heartbeat: Heartbeat
  readonly epoch: string
  readonly at: number
}

/** An edge that checks each heartbeat as the real one does. */
class StubEdge {
  readonly received: Received[] = []
  epoch = 'one'
  isDown = false
  redirectsTo: string | undefined
  /** Closes a connection under the second heartbeat that comes on it. */
  closesReused = false
  readonly #used = new WeakSet<object>()
  requests = 0
  acknowledges = true
  /** It answers when this is over. */
  busy: Promise<void> | undefined
  time = () => Date.now()
  #server: Server | undefined

  async open(): Promise<string> {
    const server = createServer(async (request, response) => {
      if (this.closesReused && this.#used.has(request.socket)) return void request.socket.destroy()
      this.#used.add(request.socket)
      this.requests++
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(Buffer.from(chunk))
      const body = Buffer.concat(chunks).toString()
      const claims = await verifyHeartbeat(key, {
        edge: `http://${request.headers.host}`,
        token: (request.headers.authorization ?? '').slice('Bearer '.length),
      })
      expect(claims.body).toBe(await sha256Hex(body))
      const heartbeat = Heartbeat.parse(JSON.parse(body))
      this.received.push({ heartbeat, epoch: claims.epoch, at: performance.now() })
      await this.busy
      const accepted = claims.epoch === this.epoch
      const answer: HeartbeatResponse = {
        accepted,
        epoch: this.epoch,
        time: Math.round(this.time()),
        acknowledged: accepted && this.acknowledges ? heartbeat.settlements.map(({ id }) => id) : [],
      }
      if (this.redirectsTo !== undefined) response.setHeader('location', this.redirectsTo)
      response
        .writeHead(this.redirectsTo !== undefined ? 307 : this.isDown ? 503 : 200)
        .end(JSON.stringify(answer))
    })
    this.#server = server
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    return `http://127.0.0.1:${port}`
  }

  close() {
    this.#server?.close()
    this.#server?.closeAllConnections()
  }
}

describe('heartbeats', () => {
  it('go on at once over a connection that the edge has closed, and none has failed', async () => {
    edge.closesReused = true
    heartbeats.start()
    while (edge.received.length < 4) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(logged).toEqual([])
    expect(edge.received.map(({ heartbeat }) => heartbeat.sequence)).toEqual(
      edge.received.map(({ heartbeat }) => heartbeat.sequence).toSorted((a, b) => a - b),
    )
  })

  let edge: StubEdge
  let url: string
  const logged: string[] = []
  const clock = new EdgeClock()
  let kept: Settlement[]
  let current: NodeStatus
  let heartbeats: Heartbeats

  beforeEach(async () => {
    edge = new StubEdge()
    url = await edge.open()
    logged.length = 0
    kept = []
    current = status
    heartbeats = heartbeatsOf(() => current)
  })

  const heartbeatsOf = (state: () => NodeStatus) =>
    new Heartbeats({
      instanceId: crypto.randomUUID(),
      edge: url,
      key,
      status: state,
      settlements: {
        unacknowledged: (limit) => kept.slice(0, limit),
        acknowledge: (ids) => {
          kept = kept.filter(({ id }) => !ids.includes(id))
        },
        get count() {
          return kept.length
        },
      },
      clock,
      log: (_level, event) => logged.push(event),
    })
  afterEach(async () => {
    await heartbeats.stop()
    edge.close()
  })

  const arrived = (count: number) =>
    expect.poll(() => edge.received.length, { timeout: 8_000 }).toBeGreaterThanOrEqual(count)

  it('learn the registry’s epoch with the first and go on each second, counting up', async () => {
    heartbeats.start()
    await arrived(4)
    expect(edge.received.map(({ epoch }) => epoch).slice(0, 4)).toEqual(['', 'one', 'one', 'one'])
    const sequences = edge.received.map(({ heartbeat }) => heartbeat.sequence)
    expect(sequences.slice(0, 4)).toEqual([0, 1, 2, 3])
    const [, second, third] = edge.received.map(({ at }) => at)
    expect((third ?? 0) - (second ?? 0)).toBeGreaterThan(800)
  })

  it('go on at once in another epoch', async () => {
    heartbeats.start()
    await arrived(2)
    edge.epoch = 'two'
    await arrived(4)
    expect(edge.received.slice(2, 4).map(({ epoch }) => epoch)).toEqual(['one', 'two'])
  })

  it('say once that the edge is down, and find it again', async () => {
    edge.isDown = true
    heartbeats.start()
    await arrived(3)
    edge.isDown = false
    await expect.poll(() => logged, { timeout: 8_000 }).toEqual(['heartbeat_failed', 'edge_reached'])
  })

  it('follow no redirect', async () => {
    const other = new StubEdge()
    edge.redirectsTo = `${await other.open()}/fleet/v1/heartbeat`
    heartbeats.start()
    await arrived(2)
    other.close()
    expect(other.requests).toBe(0)
    expect(logged).toEqual(['heartbeat_failed'])
  })

  it('hurry when the node drains, and say goodbye', async () => {
    heartbeats.start()
    await arrived(2)
    const before = edge.received.length
    const at = performance.now()
    current = { ...status, draining: true }
    heartbeats.hurry()
    await arrived(before + 1)
    expect((edge.received[before]?.at ?? 0) - at).toBeLessThan(500)
    expect(edge.received[before]?.heartbeat.draining).toBe(true)
    await heartbeats.stop()
    expect(edge.received.at(-1)?.heartbeat.draining).toBe(true)
    const after = edge.received.length
    await new Promise((resolve) => setTimeout(resolve, 1_300))
    expect(edge.received.length).toBe(after)
  })

  it('hurry also when the node drains while one is on its way, which knows nothing of it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    edge.busy = promise
    edge.epoch = ''
    const other = heartbeatsOf(() => ({ ...status, node: NodeId.parse('other') }))
    other.start()
    await arrived(1)
    heartbeats.start()
    await arrived(2)
    current = { ...status, draining: true }
    heartbeats.hurry()
    resolve()
    await arrived(4)
    await other.stop()
    expect(edge.received[2]?.heartbeat).toMatchObject({ node: 'n', draining: true })
  })

  it('carry settlements until they are acknowledged', async () => {
    kept = [settlement]
    heartbeats.start()
    await expect.poll(() => kept).toEqual([])
    expect(edge.received.at(-1)?.heartbeat.settlements).toEqual([settlement])
  })

  it('hand over all settlements in the end, however many, though an answer fails', async () => {
    kept = Array.from({ length: 2 * maxSettlementsPerHeartbeat + 1 }, (_, choice) => ({
      ...settlement,
      id: settlementId({ requestId, choice, attempt: 0 }),
    }))
    edge.isDown = true
    const stopped = heartbeats.stop()
    await arrived(1)
    edge.isDown = false
    await stopped
    expect(kept).toEqual([])
    expect(logged).toEqual([])
  })

  it('say in the end how many settlements nobody took', async () => {
    kept = [settlement]
    edge.acknowledges = false
    await heartbeats.stop()
    expect(logged).toEqual(['settlements_lost'])
    kept = []
  }, 30_000)

  it('tell the node the edge’s time', async () => {
    edge.time = () => Date.now() + 180_000
    heartbeats.start()
    await arrived(3)
    expect(Math.abs(clock.offsetMs - 180_000)).toBeLessThan(2_000)
    edge.time = () => Date.now() + 3_600_000
    await arrived(5)
    expect(clock.offsetMs).toBe(0)
  })
})
