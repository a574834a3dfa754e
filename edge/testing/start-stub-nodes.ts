import type { TestProject } from 'vitest/node'
import { startStubNode } from '../../test/stub-node.ts'

/** Two nodes for all tests of the project; each test says how they behave. */
export default async function startStubNodes(project: TestProject): Promise<() => Promise<void>> {
  const nodes = await Promise.all([startStubNode(), startStubNode()])
  project.provide(
    'stubNodes',
    nodes.map(({ url }, at) => ({ id: `stub-${at}`, url })),
  )
  return async () => {
    await Promise.all(nodes.map((node) => node.close()))
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    stubNodes: { id: string; url: string }[]
  }
}
