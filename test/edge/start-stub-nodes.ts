import type { TestProject } from 'vitest/node'
import { startOtlpReceiver } from '../fakes/otlp-receiver.ts'
import { startStubNode } from '../fakes/stub-node.ts'

/** Two nodes and an OTLP receiver for all tests of the project; each test says how they behave. */
export default async function startStubNodes(project: TestProject): Promise<() => Promise<void>> {
  const nodes = await Promise.all([startStubNode(), startStubNode()])
  project.provide(
    'stubNodes',
    nodes.map(({ url }, at) => ({ id: `stub-${at}`, url })),
  )
  const receiver = await startOtlpReceiver()
  project.provide('otlpReceiver', receiver.url)
  project.provide('fuzz', { seed: process.env.QUARTET_FUZZ_SEED, seconds: process.env.QUARTET_FUZZ_SECONDS })
  return async () => {
    await Promise.all([...nodes, receiver].map((each) => each.close()))
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    stubNodes: { id: string; url: string }[]
    otlpReceiver: string
    /** How the fuzzer runs, by environment. */
    fuzz: { seed: string | undefined; seconds: string | undefined }
  }
}
