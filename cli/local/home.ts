import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

/** What lies where under QUARTET_HOME. */
export interface Home {
  readonly folder: string
  /** Held by the `quartet start` that runs here. */
  readonly lock: string
  readonly secrets: string
  /** For people and tools: URLs, tenants and their keys. */
  readonly localState: string
  /** The worker's KV and Durable Objects. */
  readonly edgeState: string
  /** Compiled demo adapters. */
  readonly demoAdapters: string
  readonly logs: string
}

export function homeAt(folder: string): Home {
  return {
    folder,
    lock: join(folder, 'lock.sqlite'),
    secrets: join(folder, 'secrets.json'),
    localState: join(folder, 'local.json'),
    edgeState: join(folder, 'edge'),
    demoAdapters: join(folder, 'demo-adapters'),
    logs: join(folder, 'logs'),
  }
}

export async function makeHome({ folder, edgeState, demoAdapters, logs }: Home): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const inner of [edgeState, demoAdapters, logs]) await mkdir(inner, { recursive: true, mode: 0o700 })
}
