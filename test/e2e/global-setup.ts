import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { freePorts, localState, quartetStart, stop, untilReady } from './quartet-start.ts'

/** One `quartet start` that most end-to-end tests share: a fresh home, free ports, the real backbone. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const home = await mkdtemp(join(tmpdir(), 'quartet-e2e-'))
  const ports = await freePorts()
  // The tests wait for the trainer, and measure nothing beside it.
  const started = quartetStart({
    home,
    ports,
    env: { QUARTET_TRAINER_THREADS: '1', QUARTET_TRAINER_NICE: '0' },
  })
  const teardown = async () => {
    await stop(started)
    await rm(home, { recursive: true, force: true })
  }
  try {
    await untilReady(started)
    project.provide('stack', {
      home,
      printed: started.output().stdout,
      ...(await localState(home)),
    })
  } catch (error) {
    await teardown()
    throw error
  }
  return teardown
}

declare module 'vitest' {
  export interface ProvidedContext {
    stack: SharedStack
  }
}

export interface SharedStack {
  readonly home: string
  /** The text that `quartet start` wrote to stdout. */
  readonly printed: string
  readonly edge: string
  readonly node: string
  readonly backbone: string
  readonly tenants: readonly {
    readonly id: string
    readonly key: string
    readonly aliases: readonly string[]
  }[]
}
