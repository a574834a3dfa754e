import type { Beat } from '../../edge/fleet/roster.ts'
import { Heartbeat } from '../../shared/heartbeat.ts'

const instanceIds = ['a', 'b', 'c', 'd'].map((digit) => `${digit.repeat(8)}-0000-4000-8000-000000000000`)

/** A node's status in a test; `process` tells its instance ids apart. */
export function nodeStatus({
  process = 0,
  ...more
}: Partial<Record<keyof Beat, unknown>> & { process?: number } = {}): Beat {
  const { settlements: _, ...status } = Heartbeat.parse({
    node: 'node-1',
    url: 'http://10.0.0.1:8788',
    region: 'eu',
    instanceId: instanceIds[process],
    sequence: 0,
    backbone: { slug: 'tiny', digest: 'ab'.repeat(32) },
    contextLength: 512,
    maxBatch: 16,
    running: 0,
    waiting: 0,
    cacheRows: { free: 1000, all: 1000 },
    resident: '',
    draining: false,
    rates: { tokensPerSecond: 0, requestsPerSecond: 0, firstTokenMsP50: null, firstTokenMsP95: null },
    settlements: [],
    ...more,
  })
  return status
}
