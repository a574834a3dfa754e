import type { Backbone } from '../../gpu-node/model/backbone-folder.ts'
import type { Home } from './home.ts'
import { localHost } from './port.ts'
import type { LocalSecrets } from './secrets.ts'
import { type Service, startService } from './service.ts'
import { untilAnswers } from './until-answers.ts'

export interface StackOptions {
  readonly home: Home
  readonly edgePort: number
  readonly nodePort: number
  readonly secrets: LocalSecrets
  readonly backbone: Backbone
  /** Gives up starting. */
  readonly signal: AbortSignal
}

/** A node and an edge on this machine, as two processes. */
export interface Stack extends AsyncDisposable {
  readonly edge: string
  readonly node: string
  /** Rejects when one of the processes ends; never resolves. */
  readonly failed: Promise<never>
  /** Ends both at once, without waiting for what they do. */
  kill(): void
}

const drainSeconds = 3
const nodeStopGraceMs = 5000
const edgeStopGraceMs = 3000

/** Starts both and returns once both answer; what was started is stopped when one of them does not. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { edgePort, nodePort } = options
  const edge = `http://${localHost}:${edgePort}`
  const node = `http://${localHost}:${nodePort}`
  const services: Service[] = []
  const stop = async () => {
    await Promise.all(services.map((service) => service.stop()))
  }
  try {
    services.push(await startNode(options))
    services.push(await startEdge(options, node))
    const failed = Promise.race(services.map((service) => service.failed))
    failed.catch(() => undefined)
    const { signal } = options
    await Promise.race([
      failed,
      Promise.all([untilAnswers(`${node}/ready`, signal), untilAnswers(`${edge}/health`, signal)]),
    ])
    return {
      edge,
      node,
      failed,
      kill: () => {
        for (const service of services) service.kill()
      },
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function startNode({ home, nodePort, secrets, backbone }: StackOptions): Promise<Service> {
  return startService({
    name: 'node',
    entry: new URL('../../gpu-node/main.ts', import.meta.url),
    home,
    stopGraceMs: nodeStopGraceMs,
    env: {
      QUARTET_NODE_PORT: String(nodePort),
      QUARTET_NODE_HOST: localHost,
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_BACKBONE: backbone.folder,
      QUARTET_DRAIN_SECONDS: String(drainSeconds),
    },
  })
}

function startEdge({ home, edgePort, secrets }: StackOptions, node: string): Promise<Service> {
  return startService({
    name: 'edge',
    entry: new URL('./worker-process.ts', import.meta.url),
    home,
    stopGraceMs: edgeStopGraceMs,
    env: {
      QUARTET_EDGE_PORT: String(edgePort),
      QUARTET_EDGE_STATE: home.edgeState,
      QUARTET_NODES: JSON.stringify([{ id: 'local', url: node }]),
      QUARTET_NODE_SECRET: secrets.nodeSecret,
      QUARTET_ADMIN_KEY: secrets.adminKey,
    },
  })
}
