import { monitorEventLoopDelay } from 'node:perf_hooks'
import { readConfig } from '../gpu-node/config.ts'
import { startNode } from '../gpu-node/node.ts'
import { nodeId, secret } from '../test/contract/node-client.ts'
import { benchBackbone } from './backend.ts'

/**
 * Child of the engine benchmark: a node as it is by default. It sends its URL, and on each message the longest that
 * its event loop, which also sends the heartbeats, was held up since the last one, in milliseconds.
 */
const { folder } = await benchBackbone()
const config = readConfig(['--port', '0', '--id', nodeId, '--backbone', folder], {
  QUARTET_NODE_SECRET: secret,
})
const node = await startNode(config, { log: () => {} })
await node.ready
const resolution = 5
const delay = monitorEventLoopDelay({ resolution })
delay.enable()
process.on('message', () => {
  process.send?.(Math.max(0, delay.max / 1e6 - resolution))
  delay.reset()
})
process.on('disconnect', () => process.exit(0))
process.send?.(node.url)
