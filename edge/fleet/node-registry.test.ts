import { evictDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import { nodeStatus } from '../../test/edge/node-status.ts'

test('a registry that restarts knows that a node drains, so that one which has left gets no requests', async () => {
  const registry = env.REGISTRY.get(env.REGISTRY.idFromName('restarted'))
  const { epoch } = await registry.heartbeat(nodeStatus(), '')
  await registry.heartbeat(nodeStatus({ node: 'stays' }), epoch)
  await registry.heartbeat(nodeStatus({ node: 'leaves' }), epoch)
  await registry.heartbeat(nodeStatus({ node: 'leaves', sequence: 1, draining: true, running: 0 }), epoch)
  await evictDurableObject(registry)
  const { nodes } = await registry.snapshot({})
  expect(nodes.map(({ status: { draining, node } }) => [node, draining])).toEqual([
    ['leaves', true],
    ['stays', false],
  ])
})
