import { startStubNode } from './stub-node.ts'

/** A stub node as a process that can be killed: its behaviour by argument, its URL by message. */
const node = await startStubNode(JSON.parse(process.argv[2] ?? '{}'))
process.send?.(node.url)
