import { monitorEventLoopDelay } from 'node:perf_hooks'
import { readConfig } from '../gpu-node/config.ts'
import { startNode } from '../gpu-node/node.ts'
import { nodeId, secret } from '../test/contract/node-client.ts'
import { benchBackbone } from './backend.ts'
import { threadCpuMs } from './thread-cpu.ts'

/** Milliseconds between two looks at the clock. */
const every = 5

/**
 * Child of the engine benchmark: a node as it is by default. It sends its URL, and on each message the longest that its
 * event loop, which also sends the heartbeats, was held up since the last one, in milliseconds, and the most CPU time
 * that its thread took meanwhile.
 */
const { folder } = await benchBackbone()
const config = readConfig(['--port', '0', '--id', nodeId, '--backbone', folder], {
  QUARTET_NODE_SECRET: secret,
})
const node = await startNode(config, { log: () => {} })
await node.ready
const delay = monitorEventLoopDelay({ resolution: every })
delay.enable()
let cpu = 0
let last = threadCpuMs() ?? Number.NaN
setInterval(() => {
  const now = threadCpuMs() ?? Number.NaN
  cpu = Math.max(cpu, now - last)
  last = now
}, every)
process.on('message', () => {
  process.send?.({ wall: Math.max(0, delay.max / 1e6 - every), cpu })
  delay.reset()
  cpu = 0
})
process.on('disconnect', () => process.exit(0))
process.send?.(node.url)
