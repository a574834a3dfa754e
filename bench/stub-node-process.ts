import { startStubNode } from '../test/fakes/stub-node.ts'

/** Child of the edge benchmark: a node that answers at once with one token. */
const node = await startStubNode({ tokens: [504], reason: 'length' })
process.send?.(node.url)
